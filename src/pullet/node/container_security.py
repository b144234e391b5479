"""Who a container's process is and what it may do: the pod's and the container's securityContext together.

Source: kubernetes pkg/kubelet/kuberuntime/security_context.go, pkg/securitycontext/util.go.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from pullet.cri.types import Capability, Image, LinuxContainerSecurityContext, NamespaceMode, NamespaceOption
from pullet.kube.container import ContainerView, SeccompProfileView
from pullet.kube.pod import PodView
from pullet.node.container_errors import ContainerConfigError


def security_context(
    pod: PodView, container: ContainerView, image: Image | None, *, target_id: str = "", seccomp_root: PurePosixPath
) -> LinuxContainerSecurityContext:
    """The CRI security context.

    Raises:
        ContainerConfigError: runAsNonRoot is asked for, and the user is root or cannot be told.
    """
    own, pods = container.security_context, pod.spec.security_context
    user = own.run_as_user if own.run_as_user is not None else pods.run_as_user
    group = own.run_as_group if own.run_as_group is not None else pods.run_as_group
    is_non_root = own.run_as_non_root if own.run_as_non_root is not None else pods.run_as_non_root
    if is_non_root:
        _check_non_root(pod, container, user, image)
    uid = user if user is not None else image.uid if image is not None else None
    groups = (*((pods.fs_group,) if pods.fs_group is not None else ()), *pods.supplemental_groups)
    return LinuxContainerSecurityContext(
        run_as_user=uid,
        run_as_username="" if uid is not None or image is None else image.username,
        run_as_group=group,
        supplemental_groups=tuple(dict.fromkeys(groups)),
        ignores_image_groups=pods.supplemental_groups_policy == "Strict",
        is_privileged=own.privileged,
        is_readonly_rootfs=own.read_only_root_filesystem,
        capabilities=Capability(add=own.capabilities.add, drop=own.capabilities.drop),
        no_new_privs=own.allow_privilege_escalation is False,
        namespaces=namespaces(pod, target_id=target_id),
        seccomp_profile=_seccomp(own.seccomp_profile or pods.seccomp_profile, seccomp_root, own.privileged),
        masked_paths=() if own.proc_mount == "Unmasked" else None,
        readonly_paths=() if own.proc_mount == "Unmasked" else None,
    )


def namespaces(pod: PodView, *, target_id: str = "") -> NamespaceOption:
    """Which namespaces the pod shares with the machine or among its containers."""
    spec = pod.spec
    pid = NamespaceMode.POD if spec.share_process_namespace else NamespaceMode.CONTAINER
    if spec.host_pid:
        pid = NamespaceMode.NODE
    elif target_id:
        pid = NamespaceMode.TARGET
    return NamespaceOption(
        network=NamespaceMode.NODE if spec.host_network else NamespaceMode.POD,
        pid=pid,
        ipc=NamespaceMode.NODE if spec.host_ipc else NamespaceMode.POD,
        target_id=target_id if pid is NamespaceMode.TARGET else "",
    )


def _check_non_root(pod: PodView, container: ContainerView, user: int | None, image: Image | None) -> None:
    where = f'(pod: "{pod.description}", container: {container.name})'
    if user is not None:
        if user == 0:
            raise ContainerConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if image is None:
        return
    if image.username and not (image.username == "0" or image.uid is not None):
        raise ContainerConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
            f"cannot verify user is non-root {where}"
        )
    if not image.uid:  # no user at all is root
        raise ContainerConfigError(f"container has runAsNonRoot and image will run as root {where}")


def _seccomp(profile: SeccompProfileView | None, root: PurePosixPath, is_privileged: bool) -> str:
    if is_privileged or profile is None or profile.type == "Unconfined":
        return "Unconfined"
    if profile.type == "Localhost":
        if not profile.localhost_profile:
            raise ContainerConfigError("localhostProfile must be set if seccompProfile type is Localhost.")
        return str(root / profile.localhost_profile)
    return "RuntimeDefault"

"""A container of a pod as CRI wants it: command, variables, mounts, limits, identity.

Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_container.go generateContainerConfig, kubelet_pods.go makeMounts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import msgspec

from pullet.base.values import Value
from pullet.cri.types import ContainerConfig, ContainerMetadata, Image, ImageSpec, Mount, MountPropagation
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.container import ContainerView, VolumeMountView
from pullet.kube.pod import PodView
from pullet.node.container_errors import ContainerConfigError
from pullet.node.container_resources import container_resources
from pullet.node.container_security import security_context
from pullet.node.environment import EnvironmentMaker, expand, expand_strict
from pullet.node.hosts_file import write_hosts_file
from pullet.node.pod_paths import PodPaths
from pullet.node.subpath import bind_subpath
from pullet.node.volumes import MountedVolume
from pullet.policy.container_actions import container_hash
from pullet.policy.runtime_status import (
    ANNOTATION_CONTAINER_HASH,
    ANNOTATION_PRE_STOP,
    ANNOTATION_RESTART_COUNT,
    ANNOTATION_TERMINATION_GRACE_PERIOD,
    ANNOTATION_TERMINATION_MESSAGE_PATH,
    ANNOTATION_TERMINATION_MESSAGE_POLICY,
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
)

HOSTS_FILE = "/etc/hosts"
_PROPAGATION = {
    "": MountPropagation.PRIVATE,
    "None": MountPropagation.PRIVATE,
    "HostToContainer": MountPropagation.HOST_TO_CONTAINER,
    "Bidirectional": MountPropagation.BIDIRECTIONAL,
}


class ContainerContext(Value, kw_only=True):
    """What surrounds one run of a container."""

    pod: PodView
    container: ContainerView
    attempt: int
    image_ref: str
    image: Image | None = None
    pod_ips: tuple[str, ...] = ()
    volumes: Mapping[str, MountedVolume]
    target_id: str = ""  # container whose process namespace a debug container joins


class ContainerConfigMaker:
    """Puts a ContainerConfig together. Errors are ContainerConfigError with the kubelet's text."""

    def __init__(
        self,
        *,
        paths: PodPaths,
        environment: EnvironmentMaker,
        threads: WorkerThreads,
        cluster_domain: str,
        memory_capacity_bytes: int,
    ) -> None:
        self._paths, self._environment, self._threads = paths, environment, threads
        self._cluster_domain, self._memory_capacity_bytes = cluster_domain, memory_capacity_bytes

    async def next_attempt_by_logs(self, pod: PodView, container: ContainerView) -> int:
        """The attempt number of a container the runtime no longer knows: one above its newest log file, else 0."""
        directory = self._paths.logs(pod) / container.name
        return await self._threads.run(_next_attempt, directory)

    async def make(self, context: ContainerContext) -> ContainerConfig:
        """The config; the files it mounts are on disk when this returns."""
        pod, container = context.pod, context.container
        variables = await self._environment.make(pod, container, context.pod_ips)
        security = security_context(
            pod,
            container,
            context.image,
            target_id=context.target_id,
            seccomp_root=PurePosixPath(self._paths.root / "seccomp"),
        )
        mounts = await self._mounts(context, variables)
        await self._threads.run(
            self._paths.log_file(pod, container.name, context.attempt).parent.mkdir, parents=True, exist_ok=True
        )
        return ContainerConfig(
            metadata=ContainerMetadata(container.name, context.attempt),
            image=ImageSpec(context.image_ref, user_specified_image=container.image),
            command=tuple(expand(word, variables) for word in container.command),
            args=tuple(expand(word, variables) for word in container.args),
            working_dir=container.working_dir,
            envs=tuple(variables.items()),
            mounts=mounts,
            labels=_labels(pod, container),
            annotations=_annotations(pod, container, context.attempt),
            log_path=f"{container.name}/{context.attempt}.log",
            stdin=container.stdin,
            stdin_once=container.stdin_once,
            tty=container.tty,
            resources=container_resources(pod, container, memory_capacity_bytes=self._memory_capacity_bytes),
            security_context=security,
            stop_signal=container.lifecycle.stop_signal,
        )

    async def _mounts(self, context: ContainerContext, variables: Mapping[str, str]) -> tuple[Mount, ...]:
        pod, container = context.pod, context.container
        mounts = [
            await self._volume_mount(context, number, mount, variables)
            for number, mount in enumerate(container.volume_mounts)
        ]
        taken = {mount.container_path for mount in mounts}
        if HOSTS_FILE not in taken and (context.pod_ips or pod.spec.host_network):
            hosts = self._paths.hosts_file(pod.uid)
            await self._threads.run(write_hosts_file, hosts, pod, context.pod_ips, cluster_domain=self._cluster_domain)
            mounts.append(Mount(container_path=HOSTS_FILE, host_path=str(hosts)))
        if container.termination_message_path:
            message = self._paths.termination_message(pod.uid, container.name, context.attempt)
            await self._threads.run(_make_message_file, message)
            mounts.append(Mount(container_path=container.termination_message_path, host_path=str(message)))
        return tuple(mounts)

    async def _volume_mount(
        self, context: ContainerContext, number: int, mount: VolumeMountView, variables: Mapping[str, str]
    ) -> Mount:
        volume = context.volumes.get(mount.name)
        if volume is None:
            raise ContainerConfigError(
                f'cannot find volume "{mount.name}" to mount into container "{mount.mount_path}"'
            )
        subpath = expand_strict(mount.sub_path_expr, variables) if mount.sub_path_expr else mount.sub_path
        where = mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}"
        result = Mount(
            container_path=where,
            is_readonly=mount.read_only or volume.is_readonly,
            propagation=_PROPAGATION.get(mount.mount_propagation, MountPropagation.PRIVATE),
        )
        if volume.image is not None:
            return msgspec.structs.replace(result, image=volume.image, image_sub_path=subpath)
        path = volume.path
        if subpath:
            target = self._paths.subpaths(context.pod.uid) / mount.name / context.container.name / str(number)
            path = await bind_subpath(path, subpath, target, self._threads)
        return msgspec.structs.replace(result, host_path=str(path))


def _next_attempt(directory: Path) -> int:
    if not directory.is_dir():
        return 0
    numbers = [int(path.name.partition(".")[0]) for path in directory.iterdir() if path.name[:1].isdecimal()]
    return max(numbers, default=-1) + 1


def _make_message_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o666)


def _labels(pod: PodView, container: ContainerView) -> dict[str, str]:
    return {
        LABEL_POD_NAME: pod.name,
        LABEL_POD_NAMESPACE: pod.namespace,
        LABEL_POD_UID: pod.uid,
        LABEL_CONTAINER_NAME: container.name,
    }


def _annotations(pod: PodView, container: ContainerView, attempt: int) -> dict[str, str]:
    annotations = {
        ANNOTATION_CONTAINER_HASH: container_hash(container),
        ANNOTATION_RESTART_COUNT: str(attempt),
        ANNOTATION_TERMINATION_MESSAGE_PATH: container.termination_message_path,
        ANNOTATION_TERMINATION_MESSAGE_POLICY: container.termination_message_policy,
        ANNOTATION_TERMINATION_GRACE_PERIOD: str(pod.spec.termination_grace_period_seconds),
    }
    if container.lifecycle.pre_stop is not None:
        annotations[ANNOTATION_PRE_STOP] = json.dumps(msgspec.to_builtins(container.lifecycle.pre_stop))
    return annotations

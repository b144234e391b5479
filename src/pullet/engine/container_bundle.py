"""The bundle of a container: rootfs and mounts made ready, config.json written. All blocking.

Made in this order: directory, image leases and mounts, config.json, container.json. Removed in the reverse: a crash in
between leaves a directory without container.json, which the next start removes.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from pullet.cri.errors import FailedPreconditionError, NotFoundError
from pullet.cri.types import ContainerConfig, NamespaceMode, NamespaceOption, PodSandboxConfig
from pullet.engine.container_images import ContainerImages, RunnableImage
from pullet.engine.container_mounts import host_devices, resolve_mounts
from pullet.engine.container_spec import (
    Surroundings,
    command_line,
    container_spec,
    effective_capabilities,
    user_text,
)
from pullet.engine.sandbox_files import shared_mounts
from pullet.engine.sandboxes import Sandboxes
from pullet.engine.state_files import ContainerRecord, SandboxRecord, StateFiles
from pullet.kit import faults
from pullet.kit.atomic_file import write_atomic
from pullet.ociruntime import defaults
from pullet.ociruntime.cgroup import CgroupMode
from pullet.ociruntime.monitored_process import read_started
from pullet.ociruntime.process_user import resolve_user
from pullet.ociruntime.runtime import OciRuntime, signal_argument
from pullet.ociruntime.runtime_spec import Namespaces, container_json
from pullet.ociruntime.seccomp import default_profile


class BundleMaker:
    """Makes and removes bundles."""

    def __init__(
        self, *, files: StateFiles, sandboxes: Sandboxes, images: ContainerImages, runtime: OciRuntime
    ) -> None:
        self._files, self._sandboxes, self._images, self._runtime = files, sandboxes, images, runtime

    def make(
        self,
        container_id: str,
        sandbox: SandboxRecord,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
        created_at: int,
    ) -> ContainerRecord:
        """Make all of it and commit it. On failure call `remove`.

        Raises:
            NotFoundError: the image is not here.
            CriError: a mount or the command is impossible.
            OciRuntimeError: the user is not in the image.
        """
        image = self._images.find(config.image.image)
        if image is None:
            raise NotFoundError(f'failed to resolve image "{config.image.image}": not found')
        command_line(config, image.defaults)  # refuse before anything is made
        directory = self._files.container(container_id)
        directory.mkdir(mode=0o700)
        rootfs = self._images.prepare(container_id, image)
        faults.hit("container.rootfs")
        security = config.security_context
        user = resolve_user(
            rootfs,
            user_text(security, image.defaults),
            gid=security.run_as_group,
            supplemental_groups=security.supplemental_groups,
            ignores_memberships=security.ignores_image_groups,
        )
        cgroups_path = f"{self._sandboxes.cgroup_parent(sandbox).rstrip('/')}/{container_id}"
        machine, available = os.uname().machine, _own_capabilities()
        spec = container_spec(
            config,
            image.defaults,
            user,
            Surroundings(
                rootfs=str(rootfs),
                namespaces=self._namespaces(sandbox, config),
                hostname=self._sandboxes.hostname(sandbox.config),
                sandbox_mounts=shared_mounts(self._sandboxes.directory(sandbox.id), sandbox.config),
                mounts=resolve_mounts(container_id, config.mounts, self._images),
                cgroups_path=cgroups_path,
                cgroup_is_unified=self._runtime.cgroup_mode is CgroupMode.UNIFIED,
                machine=machine,
                available_capabilities=available,
                seccomp=_seccomp(
                    security.seccomp_profile, effective_capabilities(security, available=available), machine
                ),
                host_devices=host_devices() if security.is_privileged else (),
            ),
        )
        _make_working_directory(rootfs, spec.process.cwd)
        write_atomic(directory / "config.json", json.dumps(container_json(spec)).encode(), durable=False)
        log_path = _log_path(sandbox_config.log_directory or sandbox.config.log_directory, config.log_path)
        record = ContainerRecord(
            id=container_id,
            sandbox_id=sandbox.id,
            pod_uid=sandbox.config.metadata.uid,
            config=config,
            created_at=created_at,
            image_id=image.id,
            image_name=_image_name(image),
            image_ref=next(iter(image.digests), image.id),
            cgroups_path=cgroups_path,
            stop_signal=signal_argument(config.stop_signal or image.defaults.stop_signal),
            log_path=log_path,
            uid=user.uid,
            gid=user.gid,
            groups=user.additional_gids,
        )
        faults.hit("container.bundle")
        self._files.write_container(record)
        faults.hit("container.created")
        return record

    def remove(self, container_id: str) -> None:
        """Remove all of it; its processes are gone. Idempotent."""
        directory = self._files.container(container_id)
        self._files.forget_container(container_id)
        faults.hit("container.forgotten")
        self._images.release(container_id)
        self._files.remove_directory(directory)

    def _namespaces(self, sandbox: SandboxRecord, config: ContainerConfig) -> Namespaces:
        wanted = config.security_context.namespaces
        kept = self._sandboxes.directory(sandbox.id) / "ns"
        of_pod = sandbox.config.namespaces
        own_network = of_pod.network is not NamespaceMode.NODE
        return Namespaces(
            network=str(kept / "net") if own_network else "",
            uts=str(kept / "uts") if own_network else "",
            ipc=str(kept / "ipc") if of_pod.ipc is not NamespaceMode.NODE else "",
            pid=self._pid_namespace(kept, of_pod.pid, wanted),
        )

    def _pid_namespace(self, kept: Path, of_pod: NamespaceMode, wanted: NamespaceOption) -> str | None:
        """The machine's (empty), the pod's, another container's, or one of its own (None)."""
        match wanted.pid:
            case NamespaceMode.NODE:
                return ""
            case NamespaceMode.TARGET:
                target = read_started(self._files.container(wanted.target_id))
                if target is None:
                    raise FailedPreconditionError(f'target container "{wanted.target_id}" is not running')
                return f"/proc/{target.pid}/ns/pid"
            case NamespaceMode.POD:
                return str(kept / "pid") if of_pod is NamespaceMode.POD else None
            case NamespaceMode.CONTAINER:
                return None


def _make_working_directory(rootfs: Path, cwd: str) -> None:
    """The runtimes differ on a working directory that is not in the image; containerd's makes it."""
    path = Path(os.path.normpath(f"/{cwd}"))
    where = rootfs
    for part in path.parts[1:]:
        where = where / part
        if where.is_symlink():
            return  # it leads somewhere the runtime resolves inside the container
        with suppress(FileExistsError, OSError):
            where.mkdir(mode=0o755)


def _log_path(log_directory: str, log_path: str) -> str:
    if not log_directory or not log_path:
        return ""
    path = Path(log_directory, log_path)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return str(path)


def _seccomp(profile: str, capabilities: list[str], machine: str) -> dict[str, object] | None:
    if profile in ("", "Unconfined"):
        return None
    if profile == "RuntimeDefault":
        return default_profile(capabilities=capabilities, machine=machine)
    text = Path(profile).read_bytes()
    decoded: dict[str, object] = json.loads(text)
    return decoded


def _own_capabilities() -> tuple[str, ...]:
    """Source: proc(5), CapEff."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            mask = int(value, 16)
            return tuple(name for number, name in enumerate(defaults.ALL_CAPABILITIES) if mask >> number & 1)
    return defaults.ALL_CAPABILITIES


def _image_name(image: RunnableImage) -> str:
    """Its first tag, else its id, whatever the pod called it.

    Source: containerd internal/cri/server/container_status.go, toCRIContainerStatus: "Based on current behavior of
    dockershim, this field should be image tag".
    """
    return next(iter(image.tags), image.id)

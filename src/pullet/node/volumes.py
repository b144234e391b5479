"""The volumes of a pod on disk: made before its containers, kept fresh, removed after them.

emptyDir and hostPath are directories; configMap, secret, downwardAPI and projected volumes are payloads written
atomically and refreshed at every sync; image volumes are left to the runtime (kubelet-images spec 13).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from pullet.base.errors import PulletError
from pullet.base.quote import go_quote
from pullet.base.values import Value
from pullet.cri.types import ImageSpec
from pullet.kit.clock import Clock
from pullet.kit.process import CommandMissingError, CommandTimeoutError, run_command
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.pod import PodView
from pullet.kube.quantity import parse_quantity
from pullet.kube.volume import EmptyDirView, HostPathView, VolumeView
from pullet.node.container_errors import ContainerConfigError
from pullet.node.payload_volume import PayloadFile, PayloadPathError, write_payload
from pullet.node.pod_paths import PodPaths
from pullet.node.volume_payloads import PayloadSources


class VolumeError(PulletError):
    """A volume could not be made; the text is what a FailedMount event shows."""

    reason: ClassVar[str] = "FailedMount"


class MountedVolume(Value):
    """Where a volume's content is; `image` volumes have no path of their own."""

    path: Path
    is_readonly: bool = False
    image: ImageSpec | None = None


class VolumeManager:
    """Makes and removes volumes. File work happens on `threads`."""

    def __init__(self, *, paths: PodPaths, payloads: PayloadSources, threads: WorkerThreads, clock: Clock) -> None:
        self._paths, self._payloads, self._threads, self._clock = paths, payloads, threads, clock

    async def mount(self, pod: PodView, pod_ips: tuple[str, ...]) -> dict[str, MountedVolume]:
        """Every volume of the pod except image volumes, made or refreshed.

        Raises:
            VolumeError: names the first volume that could not be made; the others before it stay.
        """
        mounted: dict[str, MountedVolume] = {}
        for volume in pod.spec.volumes:
            if volume.image is not None:
                continue
            try:
                mounted[volume.name] = await self._mount(pod, volume, pod_ips)
            except (OSError, PulletError) as error:
                text = error.message if isinstance(error, ContainerConfigError) else str(error)
                raise VolumeError(f"MountVolume.SetUp failed for volume {go_quote(volume.name)} : {text}") from error
        return mounted

    async def unmount(self, pod_uid: str) -> None:
        """Remove the pod's directory with everything mounted below it; absent is success.

        Raises:
            VolumeError: something below is still busy.
        """
        directory = self._paths.pod(pod_uid)
        await unmount_below(directory, self._threads)
        try:
            await self._threads.run(_remove_tree, directory)
        except OSError as error:
            raise VolumeError(f"{directory}: cannot be removed: {error.strerror}") from error

    async def _mount(self, pod: PodView, volume: VolumeView, pod_ips: tuple[str, ...]) -> MountedVolume:
        if volume.host_path is not None:
            return MountedVolume(await self._threads.run(prepare_host_path, volume.host_path))
        fs_group = pod.spec.security_context.fs_group
        if volume.empty_dir is not None:
            path = self._paths.volume(pod.uid, "empty-dir", volume.name)
            await self._empty_dir(path, volume.empty_dir, fs_group)
            return MountedVolume(path)
        plugin = _payload_plugin(volume)
        if plugin is None:
            raise VolumeError("no volume plugin matched: this kind of volume is not supported here")
        payload = await self._payloads.payload(pod, volume, pod_ips)
        path = self._paths.volume(pod.uid, plugin, volume.name)
        await self._threads.run(_write, path, payload, self._clock, fs_group)
        return MountedVolume(path, is_readonly=True)

    async def _empty_dir(self, path: Path, source: EmptyDirView, fs_group: int | None) -> None:
        await self._threads.run(_make_empty_dir, path, fs_group)
        if source.medium == "Memory" and not await self._threads.run(os.path.ismount, path):
            options = "mode=0777" if fs_group is None else f"mode=2777,gid={fs_group}"
            if source.size_limit is not None:
                options += f",size={parse_quantity(source.size_limit).units}"
            await _mount_command("-t", "tmpfs", "-o", options, "tmpfs", str(path))
        elif source.medium not in ("", "Memory"):
            raise VolumeError(f"unknown storage medium {go_quote(source.medium)}")


def _payload_plugin(volume: VolumeView) -> str | None:
    if volume.config_map is not None:
        return "configmap"
    if volume.secret is not None:
        return "secret"
    if volume.downward_api is not None:
        return "downward-api"
    return "projected" if volume.projected is not None else None


def _write(path: Path, payload: Mapping[str, PayloadFile], clock: Clock, fs_group: int | None) -> None:
    try:
        write_payload(path, payload, now=clock.now(), fs_group=fs_group)
    except PayloadPathError as error:
        raise VolumeError(str(error)) from error


def _make_empty_dir(path: Path, fs_group: int | None) -> None:
    path.mkdir(parents=True, exist_ok=True)
    if path.stat().st_mode & 0o777 != 0o777:
        path.chmod(0o777 | (0o2000 if fs_group is not None else 0))
        if fs_group is not None:
            os.chown(path, -1, fs_group)


_HOST_PATH_CHECKS: dict[str, tuple[Callable[[int], bool], str]] = {
    "Directory": (stat.S_ISDIR, "is not a directory"),
    "DirectoryOrCreate": (stat.S_ISDIR, "is not a directory"),
    "File": (stat.S_ISREG, "is not a file"),
    "FileOrCreate": (stat.S_ISREG, "is not a file"),
    "Socket": (stat.S_ISSOCK, "is not a socket file"),
    "CharDevice": (stat.S_ISCHR, "is not a character device"),
    "BlockDevice": (stat.S_ISBLK, "is not a block device"),
}


def prepare_host_path(source: HostPathView) -> Path:
    """The machine's path, checked or made as its type says. Blocking.

    Raises:
        VolumeError: it is not what the type asks for. Source: kubernetes pkg/volume/hostpath/host_path.go.
    """
    path = Path(source.path)
    if not source.type:
        return path
    if source.type not in _HOST_PATH_CHECKS:
        raise VolumeError(f"unknown hostPath type {go_quote(source.type)}")
    if source.type == "DirectoryOrCreate" and not path.exists():
        path.mkdir(parents=True, mode=0o755)
    if source.type == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    check, text = _HOST_PATH_CHECKS[source.type]
    if not path.exists() or not check(path.stat().st_mode):
        raise VolumeError(f"hostPath type check failed: {source.path} {text}")
    return path


async def unmount_below(directory: Path, threads: WorkerThreads) -> None:
    """Unmount everything at or below the directory; what is in use by a process goes when that ends.

    Raises:
        VolumeError: the kernel refused one; the ones further in are gone.
    """
    for mount_point in await threads.run(mount_points_below, directory):
        await _umount(mount_point)


def mount_points_below(directory: Path) -> list[Path]:
    """Mount points at or below the directory, innermost first. Blocking."""
    prefix = os.fsencode(directory.resolve())
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        point = line.split(b" ")[4].decode("unicode_escape").encode("latin-1")
        if point == prefix or point.startswith(prefix + b"/"):
            found.append(Path(os.fsdecode(point)))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


async def _mount_command(*arguments: str) -> None:
    try:
        result = await run_command(["mount", *arguments])
    except (CommandMissingError, CommandTimeoutError) as error:
        raise VolumeError(str(error)) from error
    if result.exit_code:
        raise VolumeError(f"mount failed: {result.stderr_tail}")


async def _umount(path: Path) -> None:
    try:
        result = await run_command(["umount", "-l", str(path)])
    except (CommandMissingError, CommandTimeoutError) as error:
        raise VolumeError(str(error)) from error
    if result.exit_code:
        raise VolumeError(f"umount {path} failed: {result.stderr_tail}")


def _remove_tree(directory: Path) -> None:
    if not directory.exists():
        return
    left = mount_points_below(directory)
    if left:
        raise VolumeError(f"{left[0]} is still mounted")
    shutil.rmtree(directory)

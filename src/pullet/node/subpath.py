"""Parts of a volume mounted by subPath, safe against links that lead out of the volume.

A container may plant a symbolic link in a volume that another one mounts by subPath. So the path is opened step by
step below the volume's own descriptor, no link followed, and what is handed to the runtime is a bind mount of that
very descriptor. Source: kubernetes pkg/volume/util/subpath/subpath_linux.go (CVE-2017-1002101).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from pullet.kit.process import run_command
from pullet.kit.worker_threads import WorkerThreads
from pullet.node.container_errors import ContainerConfigError
from pullet.node.payload_volume import PayloadPathError, check_relative


async def bind_subpath(volume: Path, subpath: str, target: Path, threads: WorkerThreads) -> Path:
    """Bind `volume/subpath` to `target` (made if absent) and give `target`; done before: nothing to do.

    Raises:
        ContainerConfigError: the path leaves the volume or goes through a link.
    """
    try:
        check_relative(subpath)
    except PayloadPathError as error:
        raise ContainerConfigError(f"subPath: {error}") from error
    descriptor = await threads.run(_open_or_report, volume, subpath)
    try:
        if await threads.run(_prepare_target, descriptor, target):
            return target
        source = f"/proc/self/fd/{descriptor}"
        result = await run_command(
            ["mount", "--no-canonicalize", "--bind", source, str(target)], pass_fds=(descriptor,)
        )
        if result.exit_code:
            raise ContainerConfigError(f"failed to prepare subPath for volumeMount: {result.stderr_tail}")
    finally:
        os.close(descriptor)
    return target


def _open_or_report(volume: Path, subpath: str) -> int:
    try:
        return open_below(volume, subpath)
    except OSError as error:
        raise ContainerConfigError(
            f"failed to prepare subPath for volumeMount: {subpath!r}: {error.strerror}"
        ) from error


def open_below(volume: Path, subpath: str) -> int:
    """An O_PATH descriptor of `volume/subpath`; missing directories are made, links are refused. Blocking.

    The links that a payload volume itself consists of (`file → ..data/file`) are resolved first, inside the volume.
    """
    parts = PurePosixPath(_resolve_payload_link(volume, subpath)).parts
    current = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mode = stat.S_IMODE(os.fstat(current).st_mode)
    try:
        for number, part in enumerate(parts):
            following = _step(current, part, mode, is_last=number == len(parts) - 1)
            os.close(current)
            current = following
    except BaseException:
        os.close(current)
        raise
    return current


def _resolve_payload_link(volume: Path, subpath: str) -> str:
    data = volume / "..data"
    if not data.is_symlink():
        return subpath
    generation = PurePosixPath(os.readlink(data))
    return str(PurePosixPath(generation.name) / subpath)


def _step(directory: int, name: str, new_mode: int, *, is_last: bool) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        # what is missing becomes a directory that whoever may write the volume may write, as the kubelet makes it
        os.mkdir(name, 0o700, dir_fd=directory)
        opened = os.open(name, flags, dir_fd=directory)
        os.chmod(f"/proc/self/fd/{opened}", new_mode)
    mode = os.fstat(opened).st_mode
    if stat.S_ISLNK(mode) or (not is_last and not stat.S_ISDIR(mode)):
        os.close(opened)
        raise NotADirectoryError(20, "is a symbolic link or not a directory")
    return opened


def _prepare_target(descriptor: int, target: Path) -> bool:
    """Make the mount point; True when the very same thing is mounted there already."""
    wanted = os.fstat(descriptor)
    if target.exists():
        there = target.stat()
        if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    if stat.S_ISDIR(wanted.st_mode):
        target.mkdir(exist_ok=True, mode=0o750)
    else:
        target.touch(mode=0o640)
    return False

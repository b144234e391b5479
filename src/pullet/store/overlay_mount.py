"""Mounting an overlay, layer by layer where the kernel takes them so, by one string of options on older ones.

`fsopen`/`fsconfig` take one option at a time, so an overlay of hundreds of layers does not meet the one-page limit of
mount(2)'s option string; overlayfs takes its layers so since Linux 6.8. The calls go by their numbers, which all of
Linux's 64-bit machines share.
Source: Linux include/uapi/linux/mount.h; Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from pullet.store.errors import MountError
from pullet.store.mounts import MS_RDONLY, mount, system_call

_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC = 1, 1
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_MOVE_MOUNT_F_EMPTY_PATH = 4
_AT_FDCWD = -100
_MOUNT_ATTR_RDONLY = 1
_PAGE_BYTES = 4096
_SEPARATOR = re.compile(r"[\\:,]")  # what means something in an option string


def mount_overlay(
    target: Path,
    lower: Sequence[Path],
    *,
    upper: Path | None = None,
    work: Path | None = None,
    userxattr: bool = False,
    is_volatile: bool = False,
) -> None:
    """Mount an overlay of `lower` (topmost first), writable when `upper` and `work` are given. Raises MountError."""
    writable = [] if upper is None or work is None else [("upperdir", upper), ("workdir", work)]
    flags = [name for name, given in (("userxattr", userxattr), ("volatile", is_volatile)) if given]
    try:
        if overlay_takes_layers_singly():
            mount_singly(target, [*(("lowerdir+", path) for path in lower), *writable], flags)
        else:
            mount_by_one_string(target, lower, writable, flags)
    except OSError as error:
        raise MountError(f"cannot mount overlay of {len(lower)} layers at {target}", error) from error


@cache
def overlay_takes_layers_singly() -> bool:
    """Whether this kernel's overlayfs knows `lowerdir+` (Linux 6.8); asked once, as each refusal goes to its log."""
    context = -1
    try:
        context = system_call(_FSOPEN, b"overlay", _FSOPEN_CLOEXEC)
        if _takes(context, b"not-an-option"):  # before Linux 6.5 options are gathered, and read only when all are there
            return False
        return _takes(context, b"lowerdir+")
    except OSError:
        return False
    finally:
        if context >= 0:
            os.close(context)


def _takes(context: int, option: bytes) -> bool:
    try:
        system_call(_FSCONFIG, context, _SET_STRING, option, b"/", 0)
    except OSError:
        return False
    return True


def mount_singly(target: Path, paths: Sequence[tuple[str, Path]], flags: Sequence[str]) -> None:
    """One option at a time: `paths` are pairs of option and value, in order. Raises OSError with the kernel's words."""
    context = system_call(_FSOPEN, b"overlay", _FSOPEN_CLOEXEC)
    try:
        for key, path in paths:
            system_call(_FSCONFIG, context, _SET_STRING, key.encode(), os.fsencode(path), 0)
        system_call(_FSCONFIG, context, _SET_STRING, b"source", b"overlay", 0)
        for flag in flags:
            system_call(_FSCONFIG, context, _SET_FLAG, flag.encode(), None, 0)
        system_call(_FSCONFIG, context, _CREATE, None, None, 0)
        is_writable = any(key == "upperdir" for key, _ in paths)
        made = system_call(_FSMOUNT, context, _FSMOUNT_CLOEXEC, 0 if is_writable else _MOUNT_ATTR_RDONLY)
        try:
            system_call(_MOVE_MOUNT, made, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
        finally:
            os.close(made)
    except OSError as error:
        if said := _kernel_words(context):
            raise OSError(error.errno, f"{error.strerror} ({said})") from error
        raise
    finally:
        os.close(context)


def mount_by_one_string(
    target: Path, lower: Sequence[Path], writable: Sequence[tuple[str, Path]], flags: Sequence[str]
) -> None:
    """Older kernels take one page of options: directories go by the numbers of open files where names do not fit.

    Raises:
        MountError: the kernel refused.
        OSError: E2BIG for more than about two hundred layers.
    """
    with ExitStack() as stack:

        def number(path: Path) -> str:
            descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            return f"/proc/self/fd/{descriptor}"

        options = _option_string(lower, writable, flags, str)
        if len(os.fsencode(options)) >= _PAGE_BYTES or _SEPARATOR.search("".join(map(str, [*lower, target]))):
            options = _option_string(lower, writable, flags, number)
        if len(options) >= _PAGE_BYTES:
            raise OSError(errno.E2BIG, f"{len(lower)} layers are more than this kernel takes; Linux 6.8 takes 500")
        mount("overlay", target, "overlay", 0 if writable else MS_RDONLY, options)


def _option_string(
    lower: Sequence[Path],
    writable: Sequence[tuple[str, Path]],
    flags: Sequence[str],
    write: Callable[[Path], str],
) -> str:
    pairs = [("lowerdir", ":".join(map(write, lower))), *((key, write(path)) for key, path in writable)]
    return ",".join([*(f"{key}={value}" for key, value in pairs), *flags])


def _kernel_words(context: int) -> str:
    """What the kernel wrote about the failure."""
    words: list[str] = []
    try:
        while len(words) < 8 and (line := os.read(context, 512)):
            words.append(line.decode(errors="replace").strip())
    except OSError:
        pass
    return "; ".join(words)

"""Loop devices, for kernels that mount EROFS only from a block device. Source: Linux include/uapi/linux/loop.h."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pullet.store.errors import MountError

_CONTROL = Path("/dev/loop-control")
_CTL_GET_FREE = 0x4C82
_CONFIGURE = 0x4C0A
_READ_ONLY, _AUTOCLEAR = 1, 4
_TRIES = 32
# struct loop_config: fd, block_size, then struct loop_info64 (232 bytes), then 8 reserved u64
_INFO = struct.Struct("<QQQQQIIII64s64s32s2Q")
_CONFIG = struct.Struct(f"<II{_INFO.size}s64s")


@contextmanager
def attached(file: Path) -> Iterator[Path]:
    """A read-only loop device over `file`, which goes by itself when its last user (the mount) does.

    Raises MountError.
    """
    backing = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        device, path = _configure(backing)
        try:
            yield path
        finally:
            os.close(device)
    except OSError as error:
        raise MountError(f"cannot set up a loop device for {file}", error) from error
    finally:
        os.close(backing)


def _configure(backing: int) -> tuple[int, Path]:
    """Take a free device; another process may be faster, then the next one is tried."""
    info = _INFO.pack(0, 0, 0, 0, 0, 0, 0, 0, _READ_ONLY | _AUTOCLEAR, b"", b"", b"", 0, 0)
    config = _CONFIG.pack(backing, 512, info, bytes(64))
    for attempt in range(_TRIES):
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(control, _CTL_GET_FREE)
        finally:
            os.close(control)
        path = Path(f"/dev/loop{number}")
        device = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _CONFIGURE, config)
        except OSError as error:
            os.close(device)
            if error.errno != errno.EBUSY or attempt == _TRIES - 1:
                raise
        else:
            return device, path
    raise AssertionError("unreachable")

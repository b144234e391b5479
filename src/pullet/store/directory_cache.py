"""Descriptors of the directories of a tree being extracted, found and made without ever leaving its root."""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pullet.oci.layer_entry import LayerEntryError
from pullet.store.safe_paths import open_in_root, path_of

_MAX_OPEN: Final = 64
_MAX_HOPS: Final = 40
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY


class DirectoryCache:
    """Looks directories up by the path a tar gives. Each comes with its real path, links on the way followed."""

    def __init__(
        self, root: int, *, on_made: Callable[[bytes, bool], None], take_away: Callable[[bytes], None]
    ) -> None:
        self._root, self._on_made, self._take_away = root, on_made, take_away
        self._root_path = os.readlink(path_of(root))
        self._is_stale = False
        self._open: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()

    def parent(self, path: bytes) -> tuple[int, bytes]:
        """The directory of `path`, made with all above it if need be, and `path` with that directory's real path.

        The descriptor is good until the next call.
        """
        above, _, name = path.rpartition(b"/")
        descriptor, real = self._directory(above, 0)
        return descriptor, real + b"/" + name if real else name

    def find_parent(self, path: bytes) -> tuple[int, bytes] | None:
        """As `parent`, but nothing is made."""
        above, _, name = path.rpartition(b"/")
        found = self._look(above)
        return None if found is None else (found[0], found[1] + b"/" + name if found[1] else name)

    @contextmanager
    def opened(self, path: bytes) -> Iterator[int]:
        """An O_PATH descriptor of the directory at this real path."""
        descriptor = open_in_root(self._root, path, _DIRECTORY | os.O_NOFOLLOW)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """What was looked up may lie elsewhere now. Descriptors given out stay good until the next lookup."""
        self._is_stale = True

    def _close_all(self) -> None:
        for descriptor, _ in self._open.values():
            os.close(descriptor)
        self._open.clear()
        self._is_stale = False

    def close(self) -> None:
        """Close everything."""
        self._close_all()

    def _look(self, path: bytes) -> tuple[int, bytes] | None:
        if self._is_stale:
            self._close_all()
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found
        try:
            descriptor = open_in_root(self._root, path, _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise LayerEntryError(path, "too many levels of symbolic links") from error
            raise
        real = os.readlink(path_of(descriptor))[len(self._root_path) :].lstrip(b"/")
        if len(self._open) >= _MAX_OPEN:
            os.close(self._open.popitem(last=False)[1][0])
        self._open[path] = (descriptor, real)
        return descriptor, real

    def _directory(self, path: bytes, hops: int) -> tuple[int, bytes]:
        """The directory at `path`, made from the nearest one above that is there. Recursion is over links alone."""
        if hops > _MAX_HOPS:
            raise LayerEntryError(path, "too many levels of symbolic links")
        above, missing = path, list[bytes]()
        while (found := self._look(above)) is None:
            above, _, name = above.rpartition(b"/")
            missing.append(name)
        while missing:
            name = missing.pop()
            above = above + b"/" + name if above else name
            found = self._make(found, name, above, hops)
        return found

    def _make(self, parent: tuple[int, bytes], name: bytes, path: bytes, hops: int) -> tuple[int, bytes]:
        """The directory `name` in `parent`, reached by `path`; where it is a link, the directory that leads to."""
        descriptor, real = parent
        made = real + b"/" + name if real else name
        is_opaque = False
        try:
            status = os.lstat(name, dir_fd=descriptor)
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(status.st_mode):
                found = self._look(path)
                assert found is not None
                return found
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(name, dir_fd=descriptor)
                return self._directory(_join(b"" if target.startswith(b"/") else real, target), hops + 1)
            self._take_away(made)  # a file where a directory must be
            is_opaque = True
        os.mkdir(name, 0o755, dir_fd=descriptor)
        self._on_made(made, is_opaque)
        found = self._look(path)
        assert found is not None
        return found


def _join(base: bytes, target: bytes) -> bytes:
    """`target` from `base`, lexically, never above the root."""
    parts = base.split(b"/") if base else []
    for part in target.split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in {b"", b"."}:
            parts.append(part)
    return b"/".join(parts)

"""Extracts a tar stream into a directory, for layers that cannot be mounted from their file.

Nothing is ever resolved on the host's tree: the directory of an entry is opened by openat2 with the layer's root as
`/`, the entry itself is made by its last name relative to that descriptor, and a name that exists is taken away first.
What the sequence of entries means to overlayfs is the same as in `layer_tree`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from pullet.oci.layer_entry import LayerEntryError, Marker, parse_whiteout
from pullet.store import tar_stream
from pullet.store.directory_cache import DirectoryCache
from pullet.store.layer_records import LayerNeeds, RootMetadata
from pullet.store.layer_tree import REPLACES_ITS_TARGET
from pullet.store.safe_paths import path_of
from pullet.store.settings import UnpackLimits
from pullet.store.tar_record import TREE, TarRecorder
from pullet.store.tar_scan import INODE_BYTES, PlainFile, files_of
from pullet.store.tar_stream import TarMember, TarWalker
from pullet.store.tree_files import make_files

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE_BITS: Final = {
    tar_stream.CHARACTER: stat.S_IFCHR,
    tar_stream.BLOCK_DEVICE: stat.S_IFBLK,
    tar_stream.FIFO: stat.S_IFIFO,
}


class TreeExtractor:
    """A TarSink that makes `root`/tree and a record of the tar. Feed it through `walk`, then `finish` and `seal`."""

    def __init__(self, root: Path, limits: UnpackLimits, *, userxattr: bool = False) -> None:
        self._walker = TarWalker(self, limits)
        (root / TREE).mkdir(mode=0o755)
        self._recorder = TarRecorder(root)
        self._recorded = 0  # bytes of the tar
        self._root_fd = os.open(root / TREE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._directories = DirectoryCache(
            self._root_fd, on_made=self._note_implied, take_away=self._recorder.take_away
        )
        prefix = "user.overlay." if userxattr else "trusted.overlay."
        self._opaque, self._origin, self._userxattr = f"{prefix}opaque", f"{prefix}origin", userxattr
        self._umask = _read_umask()
        self._metadata: dict[bytes, tuple[int, int]] = {}  # of directories: nanoseconds, mode; set last
        self._implied: set[bytes] = set()
        self._late: dict[bytes, bytes] = {}
        self._whiteouts: set[bytes] = set()  # made; some may have been replaced since
        self._root: TarMember | None = None
        self._is_root_opaque = False
        self._chunk = memoryview(b"")
        self._chunk_at = 0
        self._fed = 0
        self._file: _OpenFile | None = None

    def walk(self, data: bytes | memoryview) -> None:
        """The next bytes of the tar. Raises TarFormatError, LayerEntryError, OSError."""
        self._chunk, self._chunk_at = memoryview(data), self._fed
        self._fed += len(data)
        if self._file is not None:
            self._pour(self._file, 0)
        self._walker.feed(data)
        self._record_until(self._fed)

    def _record_until(self, end: int) -> None:
        """What came since the last file's data is recorded as it is."""
        if self._recorded < end:
            self._recorder.literal(self._chunk[self._recorded - self._chunk_at : end - self._chunk_at])
            self._recorded = end

    def finish(self) -> LayerNeeds:
        """The tar is over: late links, times of directories; says what only the layers below can tell."""
        self._walker.finish()
        late = tuple(self._late.items())
        lower_links = tuple((path, target) for path, target in late if not self._try_link(path, target))
        for path, _ in lower_links:
            self._directories.parent(path)
        self._mark_whiteouts()
        for path, (moment, mode) in sorted(self._metadata.items(), reverse=True):
            with self._directories.opened(path) as descriptor:
                os.chmod(path_of(descriptor), mode)
                os.utime(path_of(descriptor), ns=(moment, moment))
        root = self._root
        return LayerNeeds(
            implied_directories=tuple(sorted(self._implied)),
            lower_links=lower_links,
            root=None
            if root is None
            else RootMetadata(root.mode, root.uid, root.gid, root.mtime, root.nanoseconds, dict(root.xattrs)),
            is_root_opaque=self._is_root_opaque,
        )

    def seal(self, fingerprint: bytes) -> None:
        """Complete the record: the finished tree looks like this. Closes everything."""
        self._recorder.finish(fingerprint)
        self.close()

    def close(self) -> None:
        """Close every descriptor."""
        self._recorder.close()
        if self._file is not None:
            os.close(self._file.descriptor)
            self._file = None
        self._directories.close()
        if self._root_fd >= 0:
            os.close(self._root_fd)
            self._root_fd = -1

    # -- TarSink
    def add_file(self, path: bytes, mode: int, uid: int, gid: int, mtime: int, size: int, offset: int) -> None:
        """A plain regular file."""
        member = TarMember(
            type=tar_stream.REGULAR,
            path=path,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime=mtime,
            nanoseconds=0,
            size=size,
            offset=offset,
            stored_bytes=size,
        )
        self.add(member)

    def add_files(self, above: bytes, names: list[bytes], inodes: memoryview) -> None:
        """Plain regular files of one directory: as many as can be in one call, the others one by one."""
        files, done = list(files_of(above, names, inodes)), 0
        while done < len(files):
            if not self._late:
                done += self._add_batch(files[done:], names[done:], inodes[done * INODE_BYTES :])
            if done < len(files):
                self.add_file(*files[done])
                done += 1

    def _add_batch(self, files: Sequence[PlainFile], names: Sequence[bytes], inodes: memoryview) -> int:
        """Gives how many were made."""
        parent, real = self._directories.parent(files[0][0])
        made = make_files(
            parent, names, inodes, piece=self._chunk, start=self._chunk_at, umask=self._umask | stat.S_ISVTX
        )
        above = real[: -len(names[0])]
        for name, (_, _, _, _, _, size, offset) in zip(names, files[:made], strict=False):
            if size:
                self._record_until(offset)
                self._recorder.data(above + name, ((0, size),))
                self._recorded = offset + size
        return made

    def next_number(self) -> int:
        """No inodes are numbered here."""
        return 0

    def add(self, member: TarMember) -> None:
        """Any member."""
        if not self._userxattr:
            self._add(member)
        elif member.type not in {tar_stream.CHARACTER, tar_stream.BLOCK_DEVICE}:  # which only root of the machine makes
            kept = {name: value for name, value in member.xattrs.items() if not name.startswith(b"trusted.")}
            try:
                self._add(msgspec.structs.replace(member, xattrs=kept))
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                rule = f"its owner {member.uid}:{member.gid} is not mapped in this user namespace (unshare --map-auto)"
                raise LayerEntryError(member.path, rule) from error

    def _add(self, member: TarMember) -> None:
        path = member.path
        if len(path) > 4095 or len(path.rpartition(b"/")[2]) > 255:
            raise LayerEntryError(path, "a name longer than 255 or a path longer than 4095 bytes")
        if not path:
            if member.type != tar_stream.DIRECTORY:
                raise LayerEntryError(path, "only a directory can be the root")
            self._root = member
            return
        if member.type != tar_stream.DIRECTORY and self._marker(path):
            return
        parent, real = self._directories.parent(path)
        name = path.rpartition(b"/")[2]
        self._late.pop(real, None)
        if member.type == tar_stream.REGULAR:
            self._add_regular(parent, real, name, member)
        elif member.type == tar_stream.DIRECTORY:
            self._add_directory(parent, real, name, member)
        elif member.type == tar_stream.HARD_LINK:
            if not self._try_link(path, member.link):
                self._take_away(real)
                self._late[real] = member.link
        else:
            self._add_other(parent, real, name, member)

    # -- kinds of entries
    def _add_regular(self, parent: int, real: bytes, name: bytes, member: TarMember) -> None:
        mode = member.mode
        try:
            descriptor = os.open(name, _CREATE, mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self._take_away(real)
            descriptor = os.open(name, _CREATE, mode & 0o777, dir_fd=parent)
        try:
            if member.uid or member.gid:
                os.fchown(descriptor, member.uid, member.gid)
            if mode & (self._umask | stat.S_ISVTX):
                os.fchmod(descriptor, mode)
            if member.sparse is not None:
                os.ftruncate(descriptor, member.size)
        except BaseException:
            os.close(descriptor)
            raise
        moment = member.mtime * 1_000_000_000 + member.nanoseconds
        pieces = member.sparse if member.sparse is not None else ((0, member.size),)
        if member.size:
            self._record_until(member.offset)
            self._recorder.data(real, pieces)
            self._recorded = member.offset + member.stored_bytes
        self._pour(_OpenFile(descriptor, moment, pieces, member), member.offset - self._chunk_at)

    def _pour(self, file: _OpenFile, at: int) -> None:
        """Write what the current chunk holds of the file from `at` on; keep it open if that is not all."""
        self._file = file
        chunk = self._chunk
        while file.left:
            piece = chunk[at : at + file.left]
            if not piece:
                return
            written = os.pwrite(file.descriptor, piece, file.offset)
            at += written
            file.advance(written)
        self._file = None
        if file.member.mode & (stat.S_ISUID | stat.S_ISGID):  # last: writing takes these away, as it does capabilities
            os.fchmod(file.descriptor, file.member.mode)
        for key, value in file.member.xattrs.items():
            _set_xattr(file.descriptor, key, value, file.member.path)
        os.utime(file.descriptor, ns=(file.moment, file.moment))
        os.close(file.descriptor)

    def _add_directory(self, parent: int, real: bytes, name: bytes, member: TarMember) -> None:
        is_opaque = False
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                self._take_away(real)
                os.mkdir(name, 0o700, dir_fd=parent)
                is_opaque = True
        self._implied.discard(real)
        with self._directories.opened(real) as descriptor:
            os.chown(path_of(descriptor), member.uid, member.gid)
            if is_opaque:
                os.setxattr(path_of(descriptor), self._opaque, b"y")
            for present in os.listxattr(path_of(descriptor)):
                if present != self._opaque and os.fsencode(present) not in member.xattrs:
                    os.removexattr(path_of(descriptor), present)
            for key, value in member.xattrs.items():
                _set_xattr(path_of(descriptor), key, value, member.path)
        self._metadata[real] = (member.mtime * 1_000_000_000 + member.nanoseconds, member.mode)

    def _add_other(self, parent: int, real: bytes, name: bytes, member: TarMember) -> None:
        """Symbolic links, devices, fifos."""
        if member.type == tar_stream.CHARACTER and member.major == member.minor == 0:
            return  # overlayfs would take it for a whiteout; the device does not exist
        try:
            _make_other(parent, name, member)
        except FileExistsError:
            self._take_away(real)
            _make_other(parent, name, member)
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        if member.type != tar_stream.SYMLINK:
            os.chmod(name, member.mode, dir_fd=parent)  # no link: it was made a moment ago
        for key, value in member.xattrs.items():
            _set_xattr(path_of(parent) + b"/" + name, key, value, member.path, follow=False)
        moment = member.mtime * 1_000_000_000 + member.nanoseconds
        os.utime(name, ns=(moment, moment), dir_fd=parent, follow_symlinks=False)

    def _try_link(self, path: bytes, target: bytes) -> bool:
        """Link `path` to `target` if that is in this layer."""
        found = self._directories.find_parent(target)
        if found is None:
            return False
        target_name = target.rpartition(b"/")[2]
        try:
            status = os.lstat(target_name, dir_fd=found[0])
        except (FileNotFoundError, ValueError):
            return False
        if stat.S_ISDIR(status.st_mode):
            raise LayerEntryError(path, "a hard link to a directory")
        if _is_whiteout(status):
            return False
        source = os.dup(found[0])  # the cache may close its own while the other parent is looked up
        try:
            parent, real = self._directories.parent(path)
            name = path.rpartition(b"/")[2]
            with suppress(FileNotFoundError):
                there = os.lstat(name, dir_fd=parent)
                if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                    return True
                self._take_away(real)
            self._recorder.linked(status.st_ino, found[1])
            try:
                os.link(target_name, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError as error:
                raise LayerEntryError(path, REPLACES_ITS_TARGET) from error
        finally:
            os.close(source)
        return True

    # -- whiteouts
    def _marker(self, path: bytes) -> bool:
        found = parse_whiteout(path)
        if found is None:
            return False
        if found.marker is Marker.IGNORED:
            return True
        parent, real = self._directories.parent(path)
        above = real.rpartition(b"/")[0]
        if found.marker is Marker.OPAQUE:
            if above:
                os.setxattr(path_of(parent), self._opaque, b"y")
            else:
                self._is_root_opaque = True
            return True
        target = above + b"/" + found.name if above else found.name
        if target in self._late:
            return True
        try:
            status = os.lstat(found.name, dir_fd=parent)
        except FileNotFoundError:
            try:
                os.mknod(found.name, stat.S_IFCHR, 0, dir_fd=parent)
            except PermissionError as error:
                rule = "this file system takes no whiteouts (is it an overlay itself?): keep the store on another one"
                raise LayerEntryError(path, rule) from error
            self._whiteouts.add(target)
            return True
        if stat.S_ISDIR(status.st_mode):
            with self._directories.opened(target) as descriptor:
                os.setxattr(path_of(descriptor), self._opaque, b"y")
        return True

    def _mark_whiteouts(self) -> None:
        """Mark directories with whiteouts, so that overlayfs hides these even where nothing lies below.

        In an opaque directory they have nothing to hide: they go. See `layer_tree.marked_xattrs`.
        """
        for path in self._whiteouts:
            above, _, name = path.rpartition(b"/")
            try:
                with self._directories.opened(above) as descriptor:
                    if not _is_whiteout(os.lstat(name, dir_fd=descriptor)):
                        continue
                    place = path_of(descriptor)
                    is_opaque = self._opaque in os.listxattr(place) and os.getxattr(place, self._opaque) == b"y"
                    if is_opaque or (not above and self._is_root_opaque):
                        os.unlink(name, dir_fd=descriptor)
                    else:
                        os.setxattr(place, self._origin, b"")
            except (FileNotFoundError, NotADirectoryError):
                continue

    # -- the tree
    def _note_implied(self, real: bytes, is_opaque: bool) -> None:
        self._implied.add(real)
        self._late.pop(real, None)
        self._metadata[real] = (0, 0o755)
        if is_opaque:
            with self._directories.opened(real) as descriptor:
                os.setxattr(path_of(descriptor), self._opaque, b"y")

    def _take_away(self, real: bytes) -> None:
        """Remove what is there, with all below it."""
        self._recorder.take_away(real)
        self._directories.forget()  # a directory, or a link on the way to one
        if real in self._metadata:
            prefix = real + b"/"
            for known in (self._metadata, self._late):
                for path in [path for path in known if path == real or path.startswith(prefix)]:
                    del known[path]
            self._implied = {path for path in self._implied if path != real and not path.startswith(prefix)}


class _OpenFile:
    """A regular file being written: where its next bytes go."""

    def __init__(self, descriptor: int, moment: int, pieces: Sequence[tuple[int, int]], member: TarMember) -> None:
        self.descriptor, self.moment, self.member = descriptor, moment, member
        self._pieces: Iterator[tuple[int, int]] = iter(pieces)
        self.offset, self.left = next(self._pieces, (0, 0))

    def advance(self, count: int) -> None:
        """`count` bytes of the current piece are written."""
        self.offset, self.left = self.offset + count, self.left - count
        if not self.left:
            self.offset, self.left = next(self._pieces, (0, 0))


def _make_other(parent: int, name: bytes, member: TarMember) -> None:
    if member.type == tar_stream.SYMLINK:
        os.symlink(member.link, name, dir_fd=parent)
    else:
        os.mknod(name, _NODE_BITS[member.type] | 0o600, os.makedev(member.major, member.minor), dir_fd=parent)


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _set_xattr(file: int | bytes, name: bytes, value: bytes, entry: bytes, *, follow: bool = True) -> None:
    try:
        os.setxattr(file, name, value, follow_symlinks=follow)
    except OSError as error:
        text = f"this file system does not take extended attribute {name!r} of {len(value)} bytes: {error.strerror}"
        raise LayerEntryError(entry, text) from error


def _read_umask() -> int:
    """The process's umask, without changing it."""
    found = re.search(r"^Umask:\s*([0-7]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1], 8) if found else 0o777

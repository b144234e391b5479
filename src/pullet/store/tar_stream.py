"""Walks the headers of a tar that arrives in pieces. Member data is passed over, never copied.

The sink hears of every member once, in order, with its name cleaned and everything that PAX and GNU records say
applied. Plain files take a short way: run by run (`add_files`) where the compiled scanner reads them (see `tar_scan`),
one by one (`add_file`) where Python does; everything else comes as a `TarMember`.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

import msgspec

from pullet.base.values import State
from pullet.oci.layer_entry import LayerEntryError, clean_path, is_kept_xattr
from pullet.store import tar_scan
from pullet.store.native import IS_COMPILED
from pullet.store.settings import UnpackLimits
from pullet.store.tar_header import (
    BLOCK,
    HEADER,
    ZERO_BLOCK,
    NeedMoreError,
    OctalMemo,
    SparseMap,
    TarFormatError,
    check_id,
    checksum_matches,
    data_sparse_map,
    old_gnu_sparse,
    parse_number,
    parse_pax,
    pax_integer,
    pax_sparse_map,
    pax_time,
)

REGULAR: Final = b"0"
HARD_LINK: Final = b"1"
SYMLINK: Final = b"2"
CHARACTER: Final = b"3"
BLOCK_DEVICE: Final = b"4"
DIRECTORY: Final = b"5"
FIFO: Final = b"6"
_REGULAR_TYPES: Final = frozenset((b"0", b"\0", b"7"))
_HEADER_ONLY: Final = frozenset((b"1", b"2", b"3", b"4", b"5", b"6"))
_KNOWN: Final = _REGULAR_TYPES | _HEADER_ONLY
_USTAR: Final = b"ustar\x0000"
_PLAIN: Final = (b"0", b"5")
# name [mode uid gid] size mtime … type … magic … the first byte of the prefix
_PLAIN_HEADER: Final = struct.Struct("100s24s12s12s8xc100x8s80xB")
_PREFIX_AT: Final = 345
_PREFIX_END: Final = 500
_XATTR: Final = b"SCHILY.xattr."
_MAX_XATTR_BYTES: Final = 65535
_MAX_TIME: Final = 1 << 62
_MAX_MEMO: Final = 65536
_ALL: Final = 1 << 62
_WINDOW: Final = 4 * BLOCK  # a long name, and the header it is for


class TarMember(State, kw_only=True):
    """One member. `type` is one of the constants above; `path` and a hard link's `link` are cleaned."""

    type: bytes
    path: bytes
    mode: int
    uid: int
    gid: int
    mtime: int  # seconds, may be negative
    nanoseconds: int
    size: int = 0  # of the file as a program reads it
    offset: int = 0  # of its data in the tar
    stored_bytes: int = 0  # of its data in the tar
    link: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[bytes, bytes] = msgspec.field(default_factory=dict)
    sparse: SparseMap | None = None


class TarSink(Protocol):
    """Hears of the members."""

    def add_file(self, path: bytes, mode: int, uid: int, gid: int, mtime: int, size: int, offset: int) -> None:
        """A regular file without extras. `path` is clean."""
        ...

    def add_files(self, above: bytes, names: list[bytes], inodes: memoryview) -> None:
        """Such files one after the other in the directory `above`, as EROFS inodes of tar_scan, good until return."""
        ...

    def next_number(self) -> int:
        """The number that the inode of the next of these files shall have."""
        ...

    def add(self, member: TarMember) -> None:
        """Any member. Raises LayerEntryError."""
        ...


class _OwnerMemo(dict[bytes, tuple[int, int, int]]):
    """The fields mode, uid and gid seen before, as one. Raises TarFormatError for those beyond 32 bits."""

    def __missing__(self, field: bytes) -> tuple[int, int, int]:
        mode, uid, gid = (parse_number(field[at : at + 8]) for at in (0, 8, 16))
        value = mode & 0o7777, check_id(uid, "uid", b""), check_id(gid, "gid", b"")
        if len(self) < _MAX_MEMO:
            self[field] = value
        return value


class TarWalker:
    """Feed it the tar; `finish` at its end.

    Raises:
        TarFormatError: from both, when the bytes are not a tar that can be read.
        LayerEntryError: an entry breaks a rule or a limit.
    """

    def __init__(self, sink: TarSink, limits: UnpackLimits, *, compiled: bool = True) -> None:
        self._sink, self._limits = sink, limits
        self._next_header = 0  # absolute offsets
        self._fed = 0
        self._stored = 0  # bytes of the last member's data
        self._carry = b""
        self._has_ended = False
        self._pending: dict[bytes, bytes] | None = None  # records for the next member
        self._global: dict[bytes, bytes] = {}
        self._owners, self._times = _OwnerMemo(), OctalMemo()
        self._scanner = tar_scan.HeaderScanner(limits.max_path_bytes) if compiled and IS_COMPILED else None
        self.entries = 0

    def feed(self, chunk: bytes | memoryview) -> None:
        """The next bytes of the tar; a memoryview must be of a buffer that can be written to."""
        start = self._fed
        self._fed += len(chunk)
        if self._has_ended:
            return
        if self._next_header >= self._fed:  # inside a member's data
            return
        if self._carry:
            start -= len(self._carry)
            chunk, self._carry = self._carry + chunk, b""
        position = self._walk(chunk, start) if self._scanner is None else self._scan(self._scanner, chunk, start)
        self._next_header = start + position
        if position < len(chunk) and not self._has_ended:
            self._carry = bytes(chunk[position:])

    def finish(self) -> None:
        """The tar ends here; as for Go's archive/tar, the last data may lack its padding."""
        data_end = self._next_header - (-self._stored & 511)
        if not self._has_ended and (data_end > self._fed or self._carry.strip(b"\0")):
            raise TarFormatError("the tar ends inside an entry")
        if self._pending is not None:
            raise TarFormatError("the tar ends after an extended header")

    def _scan(self, scanner: tar_scan.HeaderScanner, chunk: bytes | memoryview, start: int) -> int:
        """As `_walk`, the plain headers being read by the scanner and only the others here."""
        position, last = self._next_header - start, len(chunk) - BLOCK
        while position <= last and not self._has_ended:
            if self._pending is None and not self._global:
                position = self._take_runs(scanner, chunk, position, start)
            if position <= last:
                self._next_header = start + position
                stop = self._walk_one(chunk, position, start)
                if stop == position:
                    break
                position = stop
        return position

    def _walk_one(self, chunk: bytes | memoryview, position: int, start: int) -> int:
        """Take the member at `position`: of few bytes, if they hold its headers, or of the whole chunk."""
        done = self._walk(chunk[position : position + _WINDOW], start + position, 1)
        if not done and not self._has_ended:
            done = self._walk(chunk[position:], start + position, 1)
        return position + done

    def _take_runs(self, scanner: tar_scan.HeaderScanner, chunk: bytes | memoryview, position: int, start: int) -> int:
        scanner.stored = self._stored
        runs = scanner.scan(
            chunk, position, start=start, number=self._sink.next_number(), left=self._limits.max_entries - self.entries
        )
        for kind, text, inodes in runs:
            if kind == tar_scan.FILES:
                above, *names = text.split(b"\0")
                self.entries += len(names)
                self._sink.add_files(above, names, inodes)
            else:
                _, _, mode, _, offset, _, _, uid, gid, mtime, _, _ = tar_scan.INODE.unpack(inodes)
                path, _, link = text.partition(b"\0")
                self.entries += 1
                self._sink.add(
                    TarMember(
                        type=SYMLINK if link else DIRECTORY, path=path, mode=mode, uid=uid, gid=gid, mtime=mtime,
                        nanoseconds=0, offset=offset, link=link,
                    )
                )  # fmt: skip
        self._stored = scanner.stored
        return scanner.position

    def _walk(self, chunk: bytes | memoryview, start: int, most: int = _ALL) -> int:
        """Take members from `chunk` as long as their headers are whole; gives where the next header begins.

        Plain files and directories are read in this loop, which is what a layer of many files costs where nothing is
        compiled. It goes on until `most` headers are read.
        """
        buffer = chunk if isinstance(chunk, bytes) else bytes(chunk)
        position, last = self._next_header - start, len(buffer) - BLOCK
        unpack, owners, times, sink = _PLAIN_HEADER.unpack_from, self._owners, self._times, self._sink
        add_file, max_path, left = sink.add_file, self._limits.max_path_bytes, self._limits.max_entries - self.entries
        while position <= last and most:
            most -= 1
            name, owner, size, mtime, kind, magic, prefix = unpack(buffer, position)
            if kind in _PLAIN and magic[0] == 0x75 and self._pending is None and not self._global:
                name = name.rstrip(b"\0")
                if prefix and magic == _USTAR:  # GNU reuses these bytes
                    name = buffer[position + _PREFIX_AT : position + _PREFIX_END].rstrip(b"\0") + b"/" + name
                if name[:2] == b"./":
                    name = name[2:]
                if kind == DIRECTORY and name[-1:] == b"/":
                    name = name[:-1]
                # size[11]: a NUL or a blank must end the digits, or int() would miss one
                if (
                    name and b"//" not in name and b"\0" not in name and name[0] != 0x2F and name[-1] != 0x2F
                    and size[11] in b"\0 " and len(name) <= max_path
                    and ((name[0] != 0x2E and b"/." not in name) or not _has_dots(name))
                ):  # fmt: skip
                    try:
                        length = int(size[:11], 8)
                        mode, uid, gid = owners[owner]
                        seconds = times[mtime]
                    except ValueError:  # and its TarFormatError: something unusual, or senseless
                        length = mode = uid = gid = seconds = -1
                    if length == 0 or (length > 0 and kind == REGULAR):
                        self.entries += 1
                        left -= 1
                        if left < 0:
                            self._too_many(name)
                        position += BLOCK
                        if kind == REGULAR:
                            add_file(name, mode, uid, gid, seconds, length, start + position)
                            position += (length + 511) & ~511
                            self._stored = length
                        else:
                            sink.add(
                                TarMember(
                                    type=DIRECTORY, path=name, mode=mode, uid=uid, gid=gid, mtime=seconds,
                                    nanoseconds=0, offset=start + position,
                                )
                            )  # fmt: skip
                        continue
            try:
                stop = self._slow(buffer, position, start)
            except NeedMoreError:
                if len(buffer) - position > self._limits.max_metadata_bytes + 4 * BLOCK:
                    raise TarFormatError("a header longer than the limit on metadata") from None
                break
            if self._has_ended:
                return position
            position, left = stop, self._limits.max_entries - self.entries
        return position

    def _too_many(self, name: bytes) -> None:
        raise LayerEntryError(name, f"more than {self._limits.max_entries} entries")

    def _slow(self, buffer: bytes, position: int, start: int) -> int:
        """One header of any kind; gives the position after its data. Raises NeedMoreError."""
        name, _, _, _, size_field, _, kind, _, magic, _, _, _ = HEADER.unpack_from(buffer, position)
        if not name[0] and buffer[position : position + BLOCK] == ZERO_BLOCK:
            self._has_ended = True
            return position
        if not checksum_matches(buffer[position : position + BLOCK]):
            raise TarFormatError(f"no tar header at byte {start + position}", name.rstrip(b"\0"))
        size = parse_number(size_field)
        if kind in b"xgLKV":
            return self._metadata(kind, size, buffer, position)
        records = {**self._global, **(self._pending or {})}
        fields = _Fields.read(buffer, position, records, is_ustar=magic == _USTAR)
        member, data_at, data_bytes = self._member(fields, records, buffer, position)
        self._pending = None
        self.entries += 1
        if self.entries > self._limits.max_entries:
            self._too_many(member.path)
        member.offset = start + data_at
        self._stored = data_bytes
        self._sink.add(member)
        return data_at + ((data_bytes + 511) & ~511)

    def _metadata(self, kind: bytes, size: int, buffer: bytes, position: int) -> int:
        """An extended header, a GNU long name or a volume label."""
        if not 0 <= size <= self._limits.max_metadata_bytes:
            raise LayerEntryError(
                buffer[position : position + 100].rstrip(b"\0"),
                f"a metadata record of {size} bytes is longer than {self._limits.max_metadata_bytes}",
            )
        stop = position + BLOCK + ((size + 511) & ~511)
        if stop > len(buffer):
            raise NeedMoreError
        data = buffer[position + BLOCK : position + BLOCK + size]
        self._stored = 0
        if kind == b"x":
            self._pending = {**(self._pending or {}), **parse_pax(data)}
        elif kind == b"g":
            for key, value in parse_pax(data).items():
                if value:
                    self._global[key] = value
                else:
                    self._global.pop(key, None)
        elif kind in b"LK":
            key = b"path" if kind == b"L" else b"linkpath"
            self._pending = {**(self._pending or {}), key: data.rstrip(b"\0")}
        return stop

    def _member(
        self, fields: _Fields, records: dict[bytes, bytes], buffer: bytes, position: int
    ) -> tuple[TarMember, int, int]:
        """The member, where its data begins in `buffer`, and how many bytes of data there are."""
        kind, name = fields.kind, fields.name
        sparse: SparseMap | None = None
        data_at, size, real_size = position + BLOCK, fields.size, fields.size
        if kind == b"S":
            sparse, real_size, data_at = old_gnu_sparse(buffer, position)
            kind = REGULAR
        elif kind in _REGULAR_TYPES and any(key.startswith(b"GNU.sparse.") for key in records):
            name = records.get(b"GNU.sparse.name", name)
            if records.get(b"GNU.sparse.major") == b"1":
                sparse, data_at = data_sparse_map(buffer, position + BLOCK, name)
                real_size = pax_integer(records, b"GNU.sparse.realsize", name)
                size -= data_at - position - BLOCK
            elif b"GNU.sparse.map" in records:
                sparse = pax_sparse_map(records[b"GNU.sparse.map"], name)
                real_size = pax_integer(records, b"GNU.sparse.size", name)
        if kind in _REGULAR_TYPES:
            kind = DIRECTORY if name.endswith(b"/") and sparse is None and kind != b"7" else REGULAR
        elif kind not in _KNOWN:
            raise TarFormatError(f"entries of type {kind!r} are not supported", name)
        stored = 0 if kind in _HEADER_ONLY else size
        if stored < 0 or real_size < 0:
            raise TarFormatError("negative size", name)
        if sparse is not None:
            self._check_sparse(sparse, stored, real_size, name)
        limit = self._limits.max_path_bytes
        member = TarMember(
            type=kind,
            path=clean_path(name, max_path_bytes=limit),
            mode=fields.mode & 0o7777,
            uid=check_id(fields.uid, "uid", name),
            gid=check_id(fields.gid, "gid", name),
            mtime=fields.mtime,
            nanoseconds=fields.nanoseconds,
            size=real_size if kind == REGULAR else 0,
            stored_bytes=stored,
            link=self._link(kind, fields.link, name),
            xattrs=_xattrs(records, name),
            sparse=sparse,
        )
        if kind in b"34":
            member.major, member.minor = fields.device
            if not self._limits.device_nodes_allowed:
                raise LayerEntryError(name, "device nodes are not allowed here")
        return member, data_at, stored

    def _check_sparse(self, sparse: SparseMap, stored: int, real_size: int, name: bytes) -> None:
        if sum(length for _, length in sparse) != stored or (sparse and sum(sparse[-1]) > real_size):
            raise TarFormatError("the sparse map does not fit the data", name)
        if real_size > self._limits.max_sparse_bytes:
            raise LayerEntryError(name, f"a sparse file of {real_size} bytes is over {self._limits.max_sparse_bytes}")

    def _link(self, kind: bytes, link: bytes, name: bytes) -> bytes:
        if kind == HARD_LINK:
            return clean_path(link, max_path_bytes=self._limits.max_path_bytes)
        if kind == SYMLINK:
            if not link or len(link) > self._limits.max_path_bytes or b"\0" in link:
                raise LayerEntryError(name, "a symbolic link needs a target of at most 4095 bytes without NUL")
            return link
        return b""


def _has_dots(name: bytes) -> bool:
    """Whether a part of the name is `.` or `..`."""
    return not {b".", b".."}.isdisjoint(name.split(b"/"))


class _Fields(State):
    """One header's fields with the extended records applied."""

    kind: bytes
    name: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    nanoseconds: int
    device: tuple[int, int]

    @classmethod
    def read(cls, buffer: bytes, position: int, records: dict[bytes, bytes], *, is_ustar: bool) -> _Fields:
        name, mode, uid, gid, size, mtime, kind, link, _, major, minor, prefix = HEADER.unpack_from(buffer, position)
        name = name.split(b"\0", 1)[0]
        if is_ustar and prefix[0]:  # GNU reuses these bytes
            name = prefix.split(b"\0", 1)[0] + b"/" + name
        name = records.get(b"path", name)
        numbers = {
            key: pax_integer(records, key, name) if key in records else parse_number(value)
            for key, value in ((b"uid", uid), (b"gid", gid), (b"size", size))
        }
        seconds, nanoseconds = pax_time(records[b"mtime"], name) if b"mtime" in records else (parse_number(mtime), 0)
        if not -_MAX_TIME < seconds < _MAX_TIME:
            raise TarFormatError(f"time {seconds} is out of range", name)
        device = (parse_number(major), parse_number(minor)) if kind in b"34" else (0, 0)
        if not (0 <= device[0] < 1 << 12 and 0 <= device[1] < 1 << 20):
            raise TarFormatError(f"device {device[0]}:{device[1]} is out of range", name)
        return cls(
            kind=kind,
            name=name,
            link=records.get(b"linkpath", link.split(b"\0", 1)[0]),
            mode=parse_number(mode),
            uid=numbers[b"uid"],
            gid=numbers[b"gid"],
            size=numbers[b"size"],
            mtime=seconds,
            nanoseconds=nanoseconds,
            device=device,
        )


def _xattrs(records: dict[bytes, bytes], entry: bytes) -> dict[bytes, bytes]:
    found = {}
    for key, value in records.items():
        if key.startswith(_XATTR):
            name = key[len(_XATTR) :]
            if not is_kept_xattr(name):
                continue
            if not 0 < len(name) <= 255 or len(value) > _MAX_XATTR_BYTES or b"\0" in name:
                raise LayerEntryError(entry, f"extended attribute {name[:64]!r} is too long")
            found[name] = value
    return found

"""The tree of one layer in memory, as overlayfs must see it, with regular files as ready-made EROFS inodes.

A plain entry (a regular file, device or fifo without extended attributes) is 64 bytes in `table`, packed when it is
met, and an int in its directory: `index << 3 | file type`. Directories, symbolic links and entries with extras are
objects. A directory that the tar has left is sealed: names and ints of its plain entries become two strings of bytes.
So a layer of a million files takes about 100 bytes each, and most inodes are never touched again.

What a tar says in sequence becomes what overlayfs understands at once: later entries replace earlier ones, whiteouts
become character devices 0/0, a directory that replaced something of this layer or of a lower one becomes opaque.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from typing import Final, TypeAlias

from pullet.oci.layer_entry import LayerEntryError, Marker, parse_whiteout
from pullet.store import tar_stream
from pullet.store.layer_records import LayerNeeds, RootMetadata
from pullet.store.tar_scan import BLOCK_BITS, DATA_START, INODE, INODE_BYTES, files_of
from pullet.store.tar_stream import TarMember

# EROFS directory entry types. Source: Linux fs/erofs/erofs_fs.h, fs_types.h
REG, DIR, CHR, BLK, FIFO, LNK = 1, 2, 3, 4, 5, 7
FORMAT_BITS: Final = {REG: 0o100000, DIR: 0o040000, CHR: 0o020000, BLK: 0o060000, FIFO: 0o010000, LNK: 0o120000}
_NLINK_AT: Final = 44
_NLINK: Final = struct.Struct("<I")
FLAT_PLAIN: Final = 1  # i_format: extended inode, data in consecutive blocks
_MIN_SEALED: Final = 16
_MAX_HOPS: Final = 40
_OPAQUE: Final = b"trusted.overlay.opaque"
_ORIGIN: Final = b"trusted.overlay.origin"
REPLACES_ITS_TARGET: Final = "a hard link in place of the directory that holds its target"
_KINDS: Final = {tar_stream.CHARACTER: CHR, tar_stream.BLOCK_DEVICE: BLK, tar_stream.FIFO: FIFO}


class Node:
    """Anything that is not a plain entry. `payload` is a link's target or a sparse file's member."""

    __slots__ = ("gid", "kind", "links", "mode", "mtime", "nanoseconds", "nid", "payload", "size", "uid", "value",
                 "xattrs")  # fmt: skip

    def __init__(self, kind: int, member: TarMember) -> None:
        self.kind, self.mode, self.uid, self.gid = kind, member.mode, member.uid, member.gid
        self.mtime, self.nanoseconds, self.xattrs = member.mtime, member.nanoseconds, member.xattrs
        self.size = member.size
        self.value = 0  # i_u: start block or device
        self.payload: bytes | TarMember | None = None
        self.links = 1
        self.nid = 0


class Directory(Node):
    """A directory. `is_implied`: no entry of its own so far."""

    __slots__ = ("_children", "_seal_from", "_sealed", "is_implied", "is_opaque", "parent", "path")

    def __init__(self, path: bytes, parent: Directory | None, member: TarMember | None) -> None:
        super().__init__(DIR, member or _implied(path))
        self.path, self.parent = path, parent
        self._children: dict[bytes, Entry] = {}
        self._sealed: tuple[bytes, array[int]] | None = None  # names, ended by NUL each; their ints
        self._seal_from = _MIN_SEALED
        self.is_implied = member is None
        self.is_opaque = False

    @property
    def children(self) -> dict[bytes, Entry]:
        """Every entry by name, to look at and to change."""
        if self._sealed is not None:
            self._children = self.entries()
            self._sealed = None
            self._seal_from = 2 * len(self._children)  # one that is opened again and again is not sealed each time
        return self._children

    def seal(self) -> None:
        """Nobody is expected to ask for an entry soon: keep the plain ones in less memory."""
        if self._sealed is None and len(self._children) >= self._seal_from:
            plain = [(name, entry) for name, entry in self._children.items() if type(entry) is int]
            self._sealed = b"\0".join(name for name, _ in plain), array("I", [entry for _, entry in plain])
            self._children = {name: entry for name, entry in self._children.items() if type(entry) is not int}

    def entries(self) -> dict[bytes, Entry]:
        """Every entry by name, to look at alone; does not unseal."""
        if self._sealed is None:
            return self._children
        names, entries = self._sealed
        return {**dict(zip(names.split(b"\0"), entries, strict=True)), **self._children} if entries else self._children

    def objects(self) -> Iterator[tuple[bytes, Node]]:
        """The entries that are not plain, with their names."""
        return ((name, entry) for name, entry in self._children.items() if isinstance(entry, Node))

    def has_whiteouts(self) -> bool:
        """Whether an entry of layers below is hidden by name."""
        return WHITEOUT in self._children.values() or (self._sealed is not None and WHITEOUT in self._sealed[1])

    def update(self, member: TarMember) -> None:
        """Take the metadata of an entry; contents stay."""
        self.mode, self.uid, self.gid = member.mode, member.uid, member.gid
        self.mtime, self.nanoseconds = member.mtime, member.nanoseconds
        self.xattrs = member.xattrs
        self.is_implied = False


Entry: TypeAlias = "int | Node"
_WHITEOUT_INDEX: Final = 0
WHITEOUT: Final = _WHITEOUT_INDEX << 3 | CHR


class LayerTree:
    """A TarSink. All whiteouts of a layer share the table's first inode."""

    def __init__(self) -> None:
        self.table = bytearray(INODE.pack(FLAT_PLAIN, 0, FORMAT_BITS[CHR], 0, 0, 0, 1, 0, 0, 0, 0, 1))
        self.root = Directory(b"", None, None)
        self._directories: dict[bytes, Directory] = {b"": self.root}
        self._late: dict[bytes, bytes] = {}  # hard links whose target was not here yet
        self._count = 1
        self._above = b""  # where the last plain file went, and what is there; None: no such directory
        self._here: dict[bytes, Entry] | None = self.root.children

    @property
    def plain_entries(self) -> int:
        """Inodes in the table."""
        return self._count

    # -- TarSink
    def add_file(self, path: bytes, mode: int, uid: int, gid: int, mtime: int, size: int, offset: int) -> None:
        """A plain regular file."""
        above, _, name = path.rpartition(b"/")
        here = self._here if above == self._above else self._enter(above)
        if here is None or name in here or self._late or len(name) > 255 or len(path) > 4095:
            member = TarMember(
                type=tar_stream.REGULAR, path=path, mode=mode, uid=uid, gid=gid, mtime=mtime, nanoseconds=0,
                size=size, offset=offset, stored_bytes=size,
            )  # fmt: skip
            self.add(member)
            return
        if name[:4] == b".wh.":
            self._marker(path)
            return
        index = self._count
        self._count = index + 1
        self.table += INODE.pack(
            FLAT_PLAIN, 0, 0o100000 | mode, 0, size, (DATA_START + offset) >> BLOCK_BITS if size else 0, index + 1,
            uid, gid, mtime, 0, 1,
        )  # fmt: skip
        here[name] = index << 3 | REG

    def add_files(self, above: bytes, names: list[bytes], inodes: memoryview) -> None:
        """Plain regular files of one directory, no markers among them."""
        here = self._here if above == self._above else self._enter(above)
        fresh: dict[bytes, Entry] = dict(zip(names, range(self._count << 3 | REG, 1 << 62, 8), strict=False))
        if here is None or self._late or len(fresh) < len(names) or not here.keys().isdisjoint(fresh):
            for file in files_of(above, names, inodes):
                self.add_file(*file)
            return
        self._count += len(names)
        self.table += inodes
        here.update(fresh)

    def next_number(self) -> int:
        """The number of the next inode in the table."""
        return self._count + 1

    def _enter(self, above: bytes) -> dict[bytes, Entry] | None:
        """The tar goes on in another directory."""
        left = self._directories.get(self._above)
        if left is not None:
            left.seal()
        entered = self._directories.get(above)
        self._above, self._here = above, None if entered is None else entered.children
        return self._here

    def add(self, member: TarMember) -> None:
        """Any member. Raises LayerEntryError."""
        path = member.path
        if len(path.rpartition(b"/")[2]) > 255 or len(path) > 4095:
            raise LayerEntryError(path, "a name longer than 255 or a path longer than 4095 bytes")
        if member.type == tar_stream.DIRECTORY:
            self._add_directory(member)
            return
        if not path:
            raise LayerEntryError(path, "only a directory can be the root")
        if self._marker(path):
            return
        directory, name = self._place(path)
        if member.type == tar_stream.HARD_LINK:
            self._add_link(directory, name, member)
            return
        entry = self._make(member)
        if entry is None:
            return
        self._replace(directory, name, entry)

    def finish(self) -> LayerNeeds:
        """The tar is over: resolve links to later members; say what only the layers below can tell."""
        lower_links = []
        for path, target in self._late.items():
            entry = self._find(target)
            if entry is None or entry == WHITEOUT:
                lower_links.append((path, target))
                self._place(path)
            else:
                directory, name = self._place(path)
                self._link_to(entry, path)
                directory.children[name] = entry
        for directory in self._directories.values():
            if directory.is_opaque:  # nothing lower is seen there: its whiteouts have nothing to hide
                for name in [name for name, child in directory.entries().items() if child == WHITEOUT]:
                    del directory.children[name]
        root = self.root
        return LayerNeeds(
            implied_directories=tuple(
                sorted(d.path for d in self._directories.values() if d.is_implied and d is not root)
            ),
            lower_links=tuple(lower_links),
            root=None
            if root.is_implied
            else RootMetadata(root.mode, root.uid, root.gid, root.mtime, root.nanoseconds, dict(root.xattrs)),
            is_root_opaque=root.is_opaque,
        )

    def directories(self) -> Iterator[Directory]:
        """Every directory, parents first, the root leading."""
        stack = [self.root]
        while stack:
            directory = stack.pop()
            yield directory
            stack.extend(child for _, child in directory.objects() if isinstance(child, Directory))

    # -- entries
    def _make(self, member: TarMember) -> Entry | None:
        if member.type == tar_stream.SYMLINK:
            node = Node(LNK, member)
            node.mode, node.payload, node.size = 0o777, member.link, len(member.link)
            return node
        kind, value, size = _KINDS.get(member.type, REG), 0, 0
        if kind in {CHR, BLK}:
            if kind == CHR and member.major == member.minor == 0:
                return None  # overlayfs would take it for a whiteout; the device does not exist
            value = (member.minor & 0xFF) | (member.major << 8) | ((member.minor & ~0xFF) << 12)
        elif kind == REG:
            size = member.size
            value = (DATA_START + member.offset) >> BLOCK_BITS if size else 0
        if member.xattrs or member.sparse is not None:
            node = Node(kind, member)
            node.value = value
            node.payload = member if member.sparse is not None else None
            return node
        index = self._count
        self._count = index + 1
        self.table += INODE.pack(
            FLAT_PLAIN, 0, FORMAT_BITS[kind] | member.mode, 0, size, value, (index + 1) & 0xFFFFFFFF,
            member.uid, member.gid, member.mtime, member.nanoseconds, 1,
        )  # fmt: skip
        return index << 3 | kind

    def _add_directory(self, member: TarMember) -> None:
        if not member.path:
            self.root.update(member)
            return
        directory, name = self._place(member.path)
        old = directory.children.get(name)
        if isinstance(old, Directory):
            old.update(member)
            return
        self._new_directory(directory, name, member, is_opaque=old is not None)

    def _new_directory(self, parent: Directory, name: bytes, member: TarMember | None, *, is_opaque: bool) -> Directory:
        """A directory over a file of this layer, or over a whiteout, hides whatever lies lower: it is opaque."""
        path = parent.path + b"/" + name if parent.path else name
        made = Directory(path, parent, member)
        made.is_opaque = is_opaque
        self._replace(parent, name, made)
        self._directories[path] = made
        if self._above == path:
            self._here = made.children
        return made

    def _add_link(self, directory: Directory, name: bytes, member: TarMember) -> None:
        entry = self._find(member.link)
        path = directory.path + b"/" + name if directory.path else name
        if entry is None or entry == WHITEOUT:
            self._drop(directory.children.pop(name, None))
            self._late[path] = member.link
            return
        old = directory.children.get(name)
        if (entry is old or entry == old) and not isinstance(old, Directory):
            return
        holder = self._holder(member.link)
        while holder is not None and isinstance(old, Directory):
            if holder is old:
                raise LayerEntryError(path, REPLACES_ITS_TARGET)
            holder = holder.parent
        self._link_to(entry, member.path)
        self._replace(directory, name, entry)

    def _link_to(self, entry: Entry, path: bytes) -> None:
        if isinstance(entry, Directory):
            raise LayerEntryError(path, "a hard link to a directory")
        self._count_links(entry, +1)

    def _count_links(self, entry: Entry, change: int) -> None:
        if isinstance(entry, Node):
            entry.links += change
        else:
            at = (entry >> 3) * INODE_BYTES + _NLINK_AT
            (links,) = _NLINK.unpack_from(self.table, at)
            _NLINK.pack_into(self.table, at, links + change)

    def _replace(self, directory: Directory, name: bytes, entry: Entry) -> None:
        old = directory.children.get(name)
        directory.children[name] = entry
        self._drop(old)
        if self._late:
            self._late.pop(directory.path + b"/" + name if directory.path else name, None)

    def _drop(self, entry: Entry | None) -> None:
        """`entry` lost its name. No recursion: a tree may be deeper than Python's stack."""
        stack = [entry]
        while stack:
            gone = stack.pop()
            if isinstance(gone, Directory):
                self._directories.pop(gone.path, None)
                self._above, self._here = gone.path, None  # for it may be the one the tar is in
                stack += gone.entries().values()
                if self._late:
                    prefix = gone.path + b"/"
                    for path in [path for path in self._late if path.startswith(prefix)]:
                        del self._late[path]
            elif gone is not None and gone != WHITEOUT:
                self._count_links(gone, -1)

    # -- whiteouts
    def _marker(self, path: bytes) -> bool:
        """Whether `path` was a marker; if so it is done."""
        found = parse_whiteout(path)
        if found is None:
            return False
        if found.marker is Marker.IGNORED:
            return True
        directory, _ = self._place(path)
        if found.marker is Marker.OPAQUE:
            directory.is_opaque = True
            return True
        old = directory.children.get(found.name)
        if old is None:
            if self._late and (directory.path + b"/" + found.name).lstrip(b"/") in self._late:
                return True
            directory.children[found.name] = WHITEOUT
        elif isinstance(old, Directory):
            old.is_opaque = True  # what this layer put there stays, what was lower goes
        return True

    # -- paths
    def _place(self, path: bytes) -> tuple[Directory, bytes]:
        """The directory (made if need be) and the name `path` stands for."""
        above, _, name = path.rpartition(b"/")
        directory = self._directories.get(above)
        return (directory if directory is not None else self._make_parents(above)), name

    def _make_parents(self, path: bytes) -> Directory:
        """The directory at `path`, going through symbolic links of this layer as an extracting tar would."""
        directory, parts, hops = self.root, path.split(b"/")[::-1], 0
        while parts:
            name = parts.pop()
            if name in {b"", b"."}:
                continue
            if name == b"..":
                directory = directory.parent or self.root
                continue
            child = directory.children.get(name)
            if isinstance(child, Directory):
                directory = child
            elif isinstance(child, Node) and child.kind == LNK and isinstance(child.payload, bytes):
                hops += 1
                if hops > _MAX_HOPS:
                    raise LayerEntryError(path, "too many levels of symbolic links")
                if child.payload.startswith(b"/"):
                    directory = self.root
                parts.extend(child.payload.split(b"/")[::-1])
            else:
                if len(name) > 255:
                    raise LayerEntryError(path, "a name longer than 255 bytes")
                directory = self._new_directory(directory, name, None, is_opaque=child is not None)
        return directory

    def _find(self, path: bytes) -> Entry | None:
        """What `path` names in this layer. Symbolic links in its directories are followed, the last part is not."""
        directory = self._holder(path)
        return directory.children.get(path.rpartition(b"/")[2]) if directory is not None else None

    def _holder(self, path: bytes) -> Directory | None:
        above = path.rpartition(b"/")[0]
        return self._directories.get(above) or self._follow(above)

    def _follow(self, path: bytes) -> Directory | None:
        directory, parts, hops = self.root, path.split(b"/")[::-1], 0
        while parts:
            name = parts.pop()
            if name in {b"", b"."}:
                continue
            if name == b"..":
                directory = directory.parent or self.root
                continue
            child = directory.children.get(name)
            if isinstance(child, Directory):
                directory = child
            elif (
                isinstance(child, Node) and child.kind == LNK and isinstance(child.payload, bytes) and hops < _MAX_HOPS
            ):
                hops += 1
                if child.payload.startswith(b"/"):
                    directory = self.root
                parts.extend(child.payload.split(b"/")[::-1])
            else:
                return None
        return directory


def marked_xattrs(directory: Directory) -> dict[bytes, bytes]:
    """The directory's attributes with overlayfs's marks: opaque, or with whiteouts.

    overlayfs lists a directory that only one layer has as it is, whiteouts and all, unless an `origin` (empty:
    unknown) says that it was merged once. Source: Linux fs/overlayfs/inode.c, ovl_get_inode, "non-merge dir that may
    have whiteouts".
    """
    if directory.is_opaque and directory.parent is not None:
        return {**directory.xattrs, _OPAQUE: b"y"}
    if directory.has_whiteouts():
        return {**directory.xattrs, _ORIGIN: b""}
    return directory.xattrs


def _implied(path: bytes) -> TarMember:
    return TarMember(type=tar_stream.DIRECTORY, path=path, mode=0o755, uid=0, gid=0, mtime=0, nanoseconds=0)

"""EROFS metadata over data that already lies, aligned to 512 bytes, in the same file.

    0        1024         4096                                    metadata (4096-aligned)
    ├────────┼────────────┼──────────────────┬───────────────────┼─────────────────────────────────────────────┐
    │        │ superblock │ the exact tar    │ pieces of sparse  │ root, directories, links │ plain inodes │ … │
    └────────┴────────────┴──────────────────┴───────────────────┴─────────────────────────────────────────────┘

Blocks are 512 bytes; a regular file's inode points at its data inside the tar. The superblock is written last, so a
torn file cannot be mounted. Source: Linux fs/erofs/erofs_fs.h; Documentation/filesystems/erofs.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from typing import Final

from pullet.base.values import State, Value
from pullet.oci.layer_entry import LayerEntryError
from pullet.store.layer_tree import FLAT_PLAIN, FORMAT_BITS, LNK, Directory, LayerTree, Node, marked_xattrs
from pullet.store.sparse_pieces import ChunkMap
from pullet.store.tar_scan import BLOCK_BITS, DATA_START, INODE, INODE_BYTES

SUPERBLOCK_AT: Final = 1024
MAGIC: Final = 0xE0F5E1E2
_BLOCK: Final = 1 << BLOCK_BITS
_DIRENT: Final = struct.Struct("<QHBB")
# magic checksum feature_compat blkszbits sb_extslots root_nid inos build_time build_time_nsec blocks meta_blkaddr
# xattr_blkaddr uuid volume_name feature_incompat - extra_devices devt_slotoff dirblkbits xattr_prefix_count
# xattr_prefix_start packed_nid xattr_filter_reserved
_SUPERBLOCK: Final = struct.Struct("<IIIBBHQQIIII16s16sIHHHBBIQB23x")
_INCOMPAT_CHUNKED: Final = 0x4
_FLAT_INLINE: Final = 1 | (2 << 1)  # extended inode, tail of the data behind it
_CHUNK_BASED: Final = 1 | (4 << 1)
_MAX_INLINE: Final = 384  # leaves room for the inode and small attributes in the same block
_XATTR_HEADER: Final = 12
_XATTR_PREFIXES: Final = ((b"user.", 1), (b"trusted.", 4), (b"security.", 6))
_XATTR_WHOLE: Final = {b"system.posix_acl_access": 2, b"system.posix_acl_default": 3}
_MAX_XATTR_AREA: Final = 4 * 0xFFFF
_FIRST_NID_AT: Final = 64  # nid 0 means nothing


class ErofsImage(Value):
    """What to write: `metadata`, part after part, at `metadata_at`, then `superblock` at SUPERBLOCK_AT."""

    metadata: Iterator[bytes | bytearray]  # made as it is asked for, once
    metadata_at: int
    superblock: bytes
    total_bytes: int


class _Placed(State):
    """A node with its place in the metadata."""

    node: Node
    at: int
    xattrs: bytes
    size: int  # of a directory's or a link's data
    is_inline: bool
    blocks: list[tuple[int, int]]  # which of a directory's sorted names go into which 512-byte block


def build_image(tree: LayerTree, data_bytes: int, chunks: dict[int, ChunkMap]) -> ErofsImage:
    """Metadata for `tree`, whose file data takes `data_bytes` from DATA_START. `chunks` by id() of sparse nodes.

    Raises LayerEntryError for extended attributes that EROFS cannot hold.
    """
    metadata_at = (DATA_START + data_bytes + 4095) & ~4095
    placed, table_at = _place(tree, chunks)
    table_nid = table_at >> 5
    data_at = (table_at + len(tree.table) + _BLOCK - 1) & ~(_BLOCK - 1)
    head = bytearray(table_at)
    tail: list[_Placed] = []
    for number, item in enumerate(placed, tree.plain_entries + 2):
        node, at = item.node, item.at
        body_at = at + INODE_BYTES + len(item.xattrs)
        layout, value, size = FLAT_PLAIN, node.value, item.size or node.size
        if item.is_inline:
            layout, value = _FLAT_INLINE, 0
            head[body_at : body_at + size] = _data(item, table_nid)
        elif item.size:
            value = (metadata_at + data_at) >> BLOCK_BITS
            tail.append(item)
            data_at += (size + _BLOCK - 1) & ~(_BLOCK - 1)
        elif id(node) in chunks:
            chunk_map = chunks[id(node)]
            layout, value = _CHUNK_BASED, chunk_map.chunk_bits - BLOCK_BITS
            map_at = (body_at + 3) & ~3
            head[map_at : map_at + len(chunk_map.addresses)] = chunk_map.addresses
        INODE.pack_into(
            head, at, layout, (len(item.xattrs) - _XATTR_HEADER) // 4 + 1 if item.xattrs else 0,
            FORMAT_BITS[node.kind] | node.mode, 0, size, value, number & 0xFFFFFFFF, node.uid, node.gid,
            node.mtime, node.nanoseconds, node.links,
        )  # fmt: skip
        head[at + INODE_BYTES : body_at] = item.xattrs
    padding = (-(table_at + len(tree.table))) & (_BLOCK - 1)
    end_padding = -data_at & 4095
    total = metadata_at + data_at + end_padding
    superblock = _SUPERBLOCK.pack(
        MAGIC, 0, 0, BLOCK_BITS, 0, tree.root.nid, tree.plain_entries + len(placed), 0, 0, total >> BLOCK_BITS,
        metadata_at >> BLOCK_BITS, 0, bytes(16), bytes(16), _INCOMPAT_CHUNKED if chunks else 0, 0, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    first: list[bytes | bytearray] = [head, tree.table, bytes(padding)]
    parts = chain(first, (_padded(_data(item, table_nid)) for item in tail), [bytes(end_padding)])
    return ErofsImage(parts, metadata_at, superblock, total)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) & (_BLOCK - 1))


def _data(item: _Placed, table_nid: int) -> bytes:
    """Of a directory or a symbolic link."""
    if isinstance(item.node, Directory):
        return _directory_data(item.node, item.blocks, table_nid)
    assert isinstance(item.node.payload, bytes)
    return item.node.payload


def _place(tree: LayerTree, chunks: dict[int, ChunkMap]) -> tuple[list[_Placed], int]:
    """Give every node that is not plain its place, the root first (its nid has 16 bits); gives where the table goes."""
    placed: list[_Placed] = []
    seen: set[int] = set()
    position = _FIRST_NID_AT
    for directory in tree.directories():
        blocks, size = _split(_names(directory))
        item = _Placed(directory, 0, pack_xattrs(marked_xattrs(directory), directory.path), size, True, blocks)
        position = _settle(item, position)
        placed.append(item)
        directory.links = 2
        for name, child in directory.objects():
            if isinstance(child, Directory):
                directory.links += 1
            if isinstance(child, Directory) or id(child) in seen:
                continue
            seen.add(id(child))
            size = child.size if child.kind == LNK else 0
            item = _Placed(child, 0, pack_xattrs(child.xattrs, name), size, size > 0, [])
            position = _settle(item, position)
            if id(child) in chunks:
                position = (position + 4 + len(chunks[id(child)].addresses) + 31) & ~31
            placed.append(item)
    return placed, (position + INODE_BYTES - 1) & ~(INODE_BYTES - 1)


def _settle(item: _Placed, position: int) -> int:
    """Place the inode at or after `position`; gives the next free place. An inline tail stays within one block."""
    head = INODE_BYTES + len(item.xattrs)
    if item.size > _MAX_INLINE or head + item.size > _BLOCK:
        item.is_inline = False
    if item.is_inline and (position & (_BLOCK - 1)) + head + item.size > _BLOCK:
        position = (position + _BLOCK - 1) & ~(_BLOCK - 1)
    item.at = position
    item.node.nid = position >> 5
    return (position + head + (item.size if item.is_inline else 0) + 31) & ~31


def _names(directory: Directory) -> list[bytes]:
    return sorted([*directory.entries(), b".", b".."])


def _split(names: list[bytes]) -> tuple[list[tuple[int, int]], int]:
    """Which sorted names share a block, and the directory's size."""
    blocks, first, used = [], 0, 0
    for index, name in enumerate(names):
        need = 12 + len(name)
        if used + need > _BLOCK:
            blocks.append((first, index))
            first, used = index, 0
        used += need
    blocks.append((first, len(names)))
    return blocks, (len(blocks) - 1) * _BLOCK + used


def _directory_data(directory: Directory, blocks: list[tuple[int, int]], table_nid: int) -> bytes:
    children, all_names, pack = directory.entries(), _names(directory), _DIRENT.pack
    parts: list[bytes] = []
    for first, last in blocks:
        names = all_names[first:last]
        name_at = 12 * len(names)
        for name in names:
            entry = children.get(name)
            if type(entry) is int:
                parts.append(pack(table_nid + ((entry >> 3) << 1), name_at, entry & 7, 0))
            else:
                node = entry if isinstance(entry, Node) else directory if name == b"." else directory.parent
                node = node or directory  # the root is its own parent
                parts.append(pack(node.nid, name_at, node.kind, 0))
            name_at += len(name)
        parts.extend(names)
        if last != len(all_names):
            parts.append(bytes(_BLOCK - name_at))
    return b"".join(parts)


def pack_xattrs(xattrs: dict[bytes, bytes], entry: bytes) -> bytes:
    """Attributes as they follow an inode; those of namespaces EROFS does not know are left out."""
    if not xattrs:
        return b""
    out = bytearray(_XATTR_HEADER)
    for name in sorted(xattrs):
        value = xattrs[name]
        index, rest = _XATTR_WHOLE.get(name, 0), b""
        for prefix, number in _XATTR_PREFIXES:
            if name.startswith(prefix):
                index, rest = number, name[len(prefix) :]
        if not index or (not rest and name not in _XATTR_WHOLE):
            continue
        out += struct.pack("<BBH", len(rest), index, len(value)) + rest + value
        out += bytes(-len(out) & 3)
    if len(out) > _MAX_XATTR_AREA:
        raise LayerEntryError(entry, f"extended attributes of {len(out)} bytes are longer than {_MAX_XATTR_AREA}")
    return bytes(out) if len(out) > _XATTR_HEADER else b""

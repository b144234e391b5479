"""Layers made to do harm: each is refused by digest and entry, or comes to something harmless, in both forms.

What is refused leaves nothing behind, in the store or outside it.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullet.kit.clock import SystemClock
from pullet.oci.digest import DiffID, Digest
from pullet.store.errors import DiffIDMismatchError, LayerCorruptError, LayerRefusedError
from pullet.store.leases import LeaseKind
from pullet.store.mounts import mounts_below, unmount_all_below
from pullet.store.settings import SnapshotterChoice, StoreSettings, UnpackLimits
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerBlob, LayerTar, gzipped, read_tree

pytestmark = pytest.mark.root

LIMITS = msgspec.structs.replace(
    UnpackLimits(), ratio_free_bytes=1 << 20, max_entries=2000, max_metadata_bytes=64 << 10, max_sparse_bytes=1 << 40
)


@pytest.fixture(params=[SnapshotterChoice.EROFS, SnapshotterChoice.DIRECTORY])
def form(request: pytest.FixtureRequest) -> SnapshotterChoice:
    return SnapshotterChoice(request.param)


@pytest.fixture
def store(tmp_path: Path, form: SnapshotterChoice) -> Iterator[Store]:
    (tmp_path / "victim").write_bytes(b"of the host")
    choice = StoreSettings(snapshotter=form, limits=LIMITS)
    with Store.open(tmp_path / "store", clock=SystemClock(), settings=choice) as opened:
        yield opened
    unmount_all_below(tmp_path)


def unpack(store: Store, *blobs: LayerBlob) -> list[DiffID]:
    for blob in blobs:
        store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
    return [blob.diff_id for blob in blobs]


def assert_nothing_happened(store: Store) -> None:
    assert [path for part in ("layers", "trees") for path in (store.root / part).glob("*/*")] == []
    assert list((store.root / "ingest").iterdir()) == []
    assert store.layers.list() == ()
    assert all(store.leases.keys(kind) == frozenset() for kind in LeaseKind)
    assert mounts_below(store.root) == ()
    outside = store.root.parent
    assert sorted(path.name for path in outside.iterdir()) == ["store", "victim"]
    assert (outside / "victim").read_bytes() == b"of the host"


def raw(info: tarfile.TarInfo, data: bytes = b"") -> bytes:
    """One entry as it is, end blocks behind it; Python would clean some of these names."""
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512 + 1024)


def long_record(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT) + b"n" * min(size, 200_000) + bytes(2048)


def pax(records: dict[str, str], name: str = "entry", data: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = len(data), records
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


REFUSED: dict[str, tuple[bytes, str, str]] = {  # word: the tar, the rule, the entry named
    "parent directory": (LayerTar().file("../victim").bytes(), "leads out of the root", "../victim"),
    "parent in the middle": (LayerTar().file("a/../../victim").bytes(), "leads out of the root", "a/../../victim"),
    "absolute and parent": (LayerTar().file("/../victim").bytes(), "leads out of the root", "/../victim"),
    "directory outside": (LayerTar().directory("../d").bytes(), "leads out of the root", "../d"),
    "parent by PAX": (pax({"path": "../victim"}), "leads out of the root", "../victim"),
    "hard link outside": (LayerTar().link("x", "../victim", is_hard=True).bytes(), "out of the root", "../victim"),
    "hard link to a directory": (LayerTar().directory("d").link("l", "d", is_hard=True).bytes(), "to a directory", "l"),
    "links in a circle": (LayerTar().link("a", "b").link("b", "a").file("a/x").bytes(), "too many levels", "a"),
    "whiteout of nothing": (LayerTar().file("d/.wh.").bytes(), "a whiteout must name an entry", "d/.wh."),
    "whiteout of the parent": (LayerTar().file("d/.wh...").bytes(), "a whiteout must name an entry", "d/.wh..."),
    "a root that is a file": (raw(tarfile.TarInfo(".")), "only a directory can be the root", ""),
    "name too long": (LayerTar().file("n" * 256).bytes(), "longer than 255", "nnn"),
    "path too long": (LayerTar().file("/".join(["d" * 99] * 50)).bytes(), "longer than 4095", "ddd"),
    "name too long by a link": (LayerTar().link("s", "t" * 4096).bytes(), "symbolic link needs a target", "s"),
    "NUL in a name": (pax({"path": "a\0b"}), "NUL", "a"),
    "GNU long name bomb": (long_record(b"L", 1 << 30), "metadata record of", "LongLink"),
    "GNU long link bomb": (long_record(b"K", 1 << 30), "metadata record of", "LongLink"),
    "PAX bomb": (pax({"comment": "c" * 100_000}), "metadata record of", "entry"),
    "attribute too long": (pax({"SCHILY.xattr.user." + "n" * 300: "v"}), "attribute", "entry"),
    "sparse file beyond the limit": (
        LayerTar().sparse_file("s", {0: b"x"}, (1 << 40) + 1).bytes(), "a sparse file of", "s"),
    "more entries than allowed": (
        b"".join(raw(tarfile.TarInfo(f"f{n}"))[:512] for n in range(2001)) + bytes(1024), "more than 2000", "f2000"),
}  # fmt: skip


@pytest.mark.parametrize("word", REFUSED)
def test_refused(store: Store, word: str) -> None:
    tar, rule, entry = REFUSED[word]
    blob = gzipped(tar)
    with pytest.raises(LayerRefusedError, match=rule) as refused:
        unpack(store, blob)
    assert str(blob.descriptor.digest) in str(refused.value)
    assert entry in str(refused.value)
    assert_nothing_happened(store)


CORRUPT: dict[str, bytes] = {
    "no tar": random.Random(1).randbytes(4096),
    "negative size": pax({"size": "-1"}),
    "size that is no number": pax({"size": "many"}),
    "owner out of range": pax({"uid": str(1 << 33)}),
    "time that is no time": pax({"mtime": "soon"}),
    "sparse pieces that overlap": pax({"GNU.sparse.map": "0,4,2,4", "GNU.sparse.size": "9"}, data=b"12345678"),
    "sparse pieces beyond the file": pax({"GNU.sparse.map": "5,8", "GNU.sparse.size": "9"}, data=b"12345678"),
    "sparse file without its size": pax({"GNU.sparse.map": "0,8"}, data=b"12345678"),
    "sparse map that lies": pax({"GNU.sparse.map": "0,4", "GNU.sparse.size": "9"}, data=b"12345678"),
    "cut inside a file": LayerTar().file("f", b"x" * 2000).bytes()[:1024],
    "header without its member": pax({"path": "x"})[:1024],
    "wrong checksum": b"\1" + LayerTar().link("l", "t").bytes()[1:],
}


@pytest.mark.parametrize("word", CORRUPT)
def test_corrupt(store: Store, word: str) -> None:
    blob = gzipped(CORRUPT[word])
    with pytest.raises(LayerCorruptError, match=str(blob.descriptor.digest)):
        unpack(store, blob)
    assert_nothing_happened(store)


def zeros(size: int) -> bytes:
    return LayerTar().file("zeros", bytes(size)).bytes()


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_bombs(store: Store, compress: Callable[[bytes], bytes]) -> None:
    """By ratio, in one file or in many; and a bomb in a bomb is a file like any other."""
    plain = zeros(40 << 20)
    bomb = LayerBlob(plain, compress(plain))
    with pytest.raises(LayerRefusedError, match=f"{bomb.descriptor.digest} refused: its .* unpack to more than"):
        unpack(store, bomb)
    assert_nothing_happened(store)
    inner = LayerTar().file("inner.gz", gzip.compress(bytes(8 << 20))).blob()
    root = store.snapshots.view("v", unpack(store, inner)).path
    assert (root / "inner.gz").stat().st_size < 1 << 20


def test_absolute_limit(tmp_path: Path, form: SnapshotterChoice) -> None:
    limits = msgspec.structs.replace(UnpackLimits(), max_layer_bytes=1 << 20)
    with Store.open(tmp_path, clock=SystemClock(), settings=StoreSettings(snapshotter=form, limits=limits)) as store:
        blob = LayerBlob(zeros(2 << 20), zeros(2 << 20))
        with pytest.raises(LayerRefusedError, match="unpack to more than 1048576 bytes"):
            unpack(store, blob)


def test_wrong_diff_id(store: Store) -> None:
    blob = LayerTar().file("f").blob()
    wanted = DiffID(Digest.of(b"another"))
    with pytest.raises(DiffIDMismatchError, match=f"{blob.descriptor.digest} unpacks to {blob.diff_id}"):
        store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=wanted)
    assert_nothing_happened(store)


@pytest.mark.parametrize("is_allowed", [True, False])
@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_device_nodes_by_policy(tmp_path: Path, form: SnapshotterChoice, kind: bytes, is_allowed: bool) -> None:
    limits = msgspec.structs.replace(UnpackLimits(), device_nodes_allowed=is_allowed)
    blob = LayerTar().node("mem", kind, device=(1, 1)).blob()
    with Store.open(tmp_path, clock=SystemClock(), settings=StoreSettings(snapshotter=form, limits=limits)) as store:
        try:
            if not is_allowed:
                with pytest.raises(LayerRefusedError, match="'mem': device nodes are not allowed here"):
                    unpack(store, blob)
                return
            root = store.snapshots.view("v", unpack(store, blob)).path
            assert (root / "mem").stat().st_rdev == os.makedev(1, 1)
        finally:
            store.snapshots.remove("v")


def test_what_is_taken_as_it_is_meant(store: Store, tmp_path: Path) -> None:
    """Absolute names, links that lead outside, names written twice, set-id bits, names that are not UTF-8."""
    layer = LayerTar().file("/etc/passwd", b"below the root").link("out", str(tmp_path)).file("out/victim", b"inside")
    layer.link("up", "../../../../..").file("up/escaped", b"inside").file("twice", b"first").file("twice", b"second")
    layer.file("was-file").directory("was-file", mode=0o711).directory("was-dir").file("was-dir/f").file(
        "was-dir", b"f"
    )
    layer.file("suid", b"s", mode=0o6755, owner=(1, 2))
    layer.file("\udcff\udcfe-name", b"bytes").file("l" * 255, b"long")
    layer.file("a/.wh..wh.aufs", b"ignored").file("a/.wh..wh.plnk", b"ignored")
    root = store.snapshots.view("v", unpack(store, layer.blob())).path
    tree = read_tree(root)
    assert (root / "etc/passwd").read_bytes() == b"below the root"
    assert tree["out"][7] == str(tmp_path)
    assert (tmp_path / "victim").read_bytes() == b"of the host"
    assert (root / "escaped").read_bytes() == b"inside"
    assert (root / "twice").read_bytes() == b"second"
    assert tree["was-file"][0] == "drwx--x--x"
    assert stat.S_ISREG((root / "was-dir").lstat().st_mode)
    assert tree["suid"][:3] == ("-rwsr-sr-x", 1, 2)
    assert (root / os.fsdecode(b"\xff\xfe-name")).read_bytes() == b"bytes"
    assert (root / ("l" * 255)).read_bytes() == b"long"
    assert not [name for name in tree if ".wh." in name]


def test_whiteout_tricks(store: Store) -> None:
    """Markers are obeyed for what lies below, never for the layer's own entries, nor as a device or xattr."""
    low = LayerTar().directory("d").file("d/low", b"low").file("kept", b"low").file("gone", b"low").directory("o")
    low.file("o/low").link("link", "d")
    top = LayerTar().file("kept", b"own").whiteout("kept").whiteout("gone").file("gone", b"own").whiteout("link/low")
    top.node("d/low", tarfile.CHRTYPE, device=(0, 0)).whiteout("never/was/there")
    top.directory("o", xattrs={"trusted.overlay.opaque": b"y", "user.overlay.opaque": b"y"})
    root = store.snapshots.view("v", unpack(store, low.blob(), top.blob())).path
    assert (root / "kept").read_bytes() == b"own"
    assert (root / "gone").read_bytes() == b"own"
    assert (root / "d/low").read_bytes() == b"low"
    assert (root / "o/low").exists()
    assert os.listxattr(root / "o") == []


RICH = (
    LayerTar(tarfile.PAX_FORMAT).directory("d", xattrs={"user.x": b"1"}).file("d/" + "n" * 150, b"x" * 700)
    .sparse_file("s", {0: b"head", 9000: b"tail"}, 20_000).link("l", "d" * 120).link("h", "s", is_hard=True).bytes()
    + LayerTar(tarfile.GNU_FORMAT).file("g" * 150, b"g").link("k", "t" * 150).bytes()
)  # fmt: skip


@given(changes=st.lists(st.tuples(st.integers(0, len(RICH) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_bytes_changed_by_chance_are_refused_by_name_or_come_to_a_layer(
    store: Store, changes: list[tuple[int, int]]
) -> None:
    tar = bytearray(RICH)
    for at, value in changes:
        tar[at] = value
        header = at // 512 * 512
        total = sum(tar[header : header + 148]) + 256 + sum(tar[header + 156 : header + 512])
        if tar[header + 257 : header + 262] == b"ustar":  # a lie with the right checksum
            tar[header + 148 : header + 156] = b"%06o\0 " % total
    blob = gzipped(bytes(tar))
    said = ""
    try:
        unpack(store, blob)
    except (LayerRefusedError, LayerCorruptError) as error:
        said = str(error)
    if said:
        assert str(blob.descriptor.digest) in said
        assert_nothing_happened(store)
    else:
        assert store.layers.verify(blob.diff_id)
        store.layers.remove(blob.diff_id)

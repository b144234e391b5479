"""One contract for both forms of layers: what a container sees is what GNU tar would have extracted."""

from __future__ import annotations

import io
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullet.kit.clock import SystemClock
from pullet.oci.digest import DiffID
from pullet.store.errors import ContentNotFoundError, LayerRefusedError, StoreError
from pullet.store.mounts import mounts_below, unmount_all_below
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.snapshotter import SnapshotKind
from pullet.store.store import Store
from pullet.testing.gnu_tar import gnu_tar
from pullet.testing.layer_tars import LayerBlob, LayerTar, gzipped, read_tree

pytestmark = pytest.mark.root

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
ACL = struct.pack(
    "<IHHIHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 4, 1000, 4, 4, 0xFFFFFFFF, 0x10, 6, 0xFFFFFFFF
) + struct.pack("<HHI", 0x20, 4, 0xFFFFFFFF)


def open_store(root: Path, form: str) -> Store:
    return Store.open(root, clock=SystemClock(), settings=StoreSettings(snapshotter=SnapshotterChoice(form)))


@pytest.fixture(params=["erofs", "erofs-loop", "directory"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(tmp_path: Path, form: str) -> Iterator[Store]:
    opened = open_store(tmp_path / "store", form)
    yield opened
    opened.close()
    unmount_all_below(tmp_path)


def unpack(store: Store, *blobs: LayerBlob) -> list[DiffID]:
    for blob in blobs:
        store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
    return [blob.diff_id for blob in blobs]


def assert_same(got: Path, want: Path, *, times_ignored: Callable[[str], bool] = lambda _: False) -> None:
    mine, theirs = read_tree(got), read_tree(want)
    for tree in (mine, theirs):
        for name, line in tree.items():
            if times_ignored(name):
                tree[name] = (*line[:4], 0, *line[5:])
    assert {
        name: (mine.get(name), theirs.get(name)) for name in {*mine, *theirs} if mine.get(name) != theirs.get(name)
    } == {}


def test_tree_of_real_files(store: Store, tmp_path: Path) -> None:
    made = tmp_path / "t.tar"
    roots = [name for name in ("usr/share/zoneinfo", "etc", "usr/lib/tmpfiles.d") if Path("/", name).exists()]
    subprocess.run(["tar", "-C", "/", "--sort=name", "--xattrs", "-cf", made, "--exclude=etc/mtab", *roots], check=True)
    data = made.read_bytes()
    root = store.snapshots.view("v", unpack(store, gzipped(data))).path
    gnu_tar(tmp_path / "want", [data])
    assert len(read_tree(root)) > 300
    assert_same(root, tmp_path / "want", times_ignored=lambda name: name in {".", "usr", "usr/share", "usr/lib"})


@pytest.mark.parametrize(
    "options", ["--format=gnu -S", "--format=oldgnu -S", "--format=posix -S --xattrs", "--format=ustar"]
)
def test_archives_of_gnu_tar(store: Store, tmp_path: Path, options: str) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "f").write_bytes(b"f" * 1000)
    os.link(source / "sub" / "f", source / "hard")
    (source / "sym").symlink_to("sub/f")
    os.mkfifo(source / "fifo")
    os.mknod(source / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    (source / "é").write_bytes(b"u")
    (source / "é").chmod(0o4751)
    with (source / "holes").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"middle")
        file.truncate(3 << 20)
    if "ustar" not in options:
        deep = source / ("d" * 120) / ("e" * 150)
        deep.mkdir(parents=True)
        (deep / ("f" * 200)).write_bytes(b"deep")
        (source / "far").symlink_to("x" * 300)
        os.chown(source / "sub" / "f", 70_000, 3_000_000)
        os.utime(source / "é", ns=(0, -5_500_000_000 if "posix" in options else -5_000_000_000))
    if "--xattrs" in options:
        os.setxattr(source / "sub", "user.note", b"v\0w")
    data = subprocess.run(
        ["tar", *options.split(), "-C", source, "-cf", "-", "."], check=True, stdout=subprocess.PIPE
    ).stdout
    root = store.snapshots.view("v", unpack(store, gzipped(data))).path
    gnu_tar(tmp_path / "want", [data])
    assert_same(root, tmp_path / "want")


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_every_kind_of_entry(store: Store, tmp_path: Path, tar_format: int) -> None:
    layer = LayerTar(tar_format).directory(".", mode=0o750, owner=(7, 8))
    layer.directory("a", mode=0o1777).directory("a/" + "d" * 120).directory("dev")
    layer.file("a/" + "d" * 120 + "/" + "n" * 200, b"long")
    layer.file("a/suid", b"x" * 513, mode=0o6755, owner=(0, 4000))
    layer.file("a/owners", b"", owner=(3_000_000, 4_000_000_000 if tar_format == tarfile.GNU_FORMAT else 70000))
    layer.file("a/é漢", b"utf8").file("a/.hidden", b"h").file("a/zero")
    layer.link("a/sym", "../a/suid").link("a/dangling", "/no/where/" + "x" * 300)
    layer.link("a/hard", "a/suid", is_hard=True).link("a/hard-to-sym", "a/sym", is_hard=True)
    layer.node("dev/null", tarfile.CHRTYPE, device=(1, 3), mode=0o666).node(
        "dev/sda", tarfile.BLKTYPE, device=(259, 70000)
    )
    layer.node("dev/fifo", tarfile.FIFOTYPE)
    if tar_format == tarfile.PAX_FORMAT:
        layer.file("a/capable", b"#!", mode=0o755, xattrs={"security.capability": CAPABILITY})
        layer.file("a/labelled", b"l", xattrs={"user.note": b"hello", "trusted.x": b"\xff\x00\x01"})
        layer.directory("a/marked", xattrs={"user.note": b"d" * 600})
        layer.file("a/fraction", b"f", mtime=1_600_000_000.25)
        layer.file("a/before", b"b", mtime=-1.5)
    data = layer.bytes()
    gnu_tar(tmp_path / "want", [data])
    assert_same(store.snapshots.view("v", unpack(store, gzipped(data))).path, tmp_path / "want")
    assert_same(store.snapshots.prepare("a", [gzipped(data).diff_id]).path, tmp_path / "want")


def test_access_control_lists(store: Store) -> None:
    layer = LayerTar().file("shared", b"s", mode=0o664, xattrs={"system.posix_acl_access": ACL})
    root = store.snapshots.view("v", unpack(store, layer.blob())).path
    assert os.getxattr(root / "shared", "system.posix_acl_access") == ACL


def layered() -> list[bytes]:
    low = LayerTar().directory(".").directory("etc").file("etc/passwd", b"root").file("etc/gone", b"1")
    low.directory("dir").file("dir/a", b"a").file("dir/b", b"b").directory("dir/sub", mode=0o700).file(
        "dir/sub/x", b"x"
    )
    low.directory("kept", mode=0o711, owner=(5, 6)).file("kept/f").directory("swap").file("swap/f", b"f").file(
        "pws", b"p"
    )
    low.directory("replaced").file("replaced/old").directory("late").file("late/old")
    mid = LayerTar().directory("etc").whiteout("etc/gone").file("etc/passwd", b"root:x").whiteout("never/was")
    mid.directory("dir").file("dir/new", b"n").opaque("dir").file("swap", b"now a file")
    mid.directory("pws").file("pws/inside").whiteout("replaced").directory("replaced").file("replaced/new")
    mid.directory("late").file("late/new").whiteout("late")
    top = LayerTar().directory("dir").whiteout("dir/new").file("dir/top").link("link", "etc/passwd").whiteout("swap")
    return [low.bytes(), mid.bytes(), top.bytes()]


def test_whiteouts_opaque_directories_and_replacements(store: Store, tmp_path: Path) -> None:
    root = store.snapshots.view("v", unpack(store, *map(gzipped, layered()))).path
    names = set(read_tree(root))
    assert names == {
        ".", "etc", "etc/passwd", "dir", "dir/top", "kept", "kept/f", "pws", "pws/inside", "replaced", "replaced/new",
        "late", "late/new", "link", "never",
    }  # fmt: skip
    assert (root / "etc/passwd").read_bytes() == b"root:x"
    assert (root / "kept").stat().st_uid == 5


def test_directories_without_an_entry_look_as_the_layer_below_has_them(store: Store) -> None:
    low = LayerTar().directory("srv", mode=0o700, owner=(10, 20), mtime=1_500_000_000, xattrs={"user.k": b"v"})
    low.directory("srv/data", mode=0o2770, owner=(11, 21), mtime=1_500_000_001.5).file("srv/data/old", b"o")
    upper = LayerTar().file("srv/data/new", b"n").file("fresh/one", b"1")
    top = LayerTar().file("srv/data/newest", b"t")
    root = store.snapshots.view("v", unpack(store, low.blob(), upper.blob(), top.blob())).path
    tree = read_tree(root)
    assert tree["srv"] == ("drwx------", 10, 20, 0, 1_500_000_000 * 10**9, 0, (("user.k", b"v"),), "")
    assert tree["srv/data"] == ("drwxrws---", 11, 21, 0, 1_500_000_001_500_000_000, 0, (), "")
    assert {"srv/data/old", "srv/data/new", "srv/data/newest", "fresh/one"} <= set(tree)
    assert tree["fresh"][:3] == ("drwxr-xr-x", 0, 0)
    other = LayerTar().directory("srv", mode=0o755, owner=(1, 1)).blob()  # the same layer over another one
    again = store.snapshots.view("w", unpack(store, other, upper.blob())).path
    assert read_tree(again)["srv"][:3] == ("drwxr-xr-x", 1, 1)


def test_implied_directory_hides_a_link_below_and_looks_as_what_it_led_to(store: Store) -> None:
    """What containerd 1.6 makes of the same two layers, looked at file by file."""
    low = LayerTar().directory("usr").directory("usr/lib", mode=0o711, owner=(5, 6)).file("usr/lib/old")
    low.link("lib", "usr/lib").link("dangling", "nowhere").link("loop", "loop").link("up", "../../usr/lib")
    high = LayerTar().file("lib/x").file("dangling/x").file("loop/x").file("up/x")
    tree = read_tree(store.snapshots.view("v", unpack(store, low.blob(), high.blob())).path)
    assert tree["lib"][:3] == tree["up"][:3] == ("drwx--x--x", 5, 6)
    assert tree["dangling"][:3] == tree["loop"][:3] == ("drwxr-xr-x", 0, 0)
    assert {"lib/x", "usr/lib/old"} <= set(tree)
    assert not {"usr/lib/x", "lib/old"} & set(tree)


def test_textual_access_control_lists_are_passed_over(store: Store) -> None:
    """GNU tar's `--acls` writes them; containerd and umoci read only the binary form. The file is there without."""
    text = {"SCHILY.acl.access": "user::rw-,user:1000:r--,group::r--,mask::r--,other::r--"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("f")
        info.mode, info.pax_headers = 0o640, text
        tar.addfile(info)
    root = store.snapshots.view("v", unpack(store, gzipped(buffer.getvalue()))).path
    assert (root / "f").stat().st_mode & 0o7777 == 0o640
    assert os.listxattr(root / "f") == []


def test_hard_link_into_a_lower_layer(store: Store) -> None:
    low = LayerTar().directory("bin", mode=0o711, owner=(3, 4))
    low.file("bin/tool", b"tool" * 1000, mode=0o4755, owner=(1, 2)).link("sbin", "bin")
    upper = (
        LayerTar().directory("opt").link("opt/tool", "bin/tool", is_hard=True).link("opt/t2", "sbin/tool", is_hard=True)
    )
    root = store.snapshots.view("v", unpack(store, low.blob(), upper.blob())).path
    tree = read_tree(root)
    assert tree["opt/tool"] == tree["bin/tool"] == tree["opt/t2"]
    assert tree["bin/tool"][:4] == ("-rwsr-xr-x", 1, 2, 4000)
    assert (root / "opt/tool").stat().st_ino == (root / "bin/tool").stat().st_ino
    assert tree["bin"][:3] == ("drwx--x--x", 3, 4)
    assert tree["sbin"][0].startswith("l")


def test_hard_link_to_nothing_is_refused_by_name(store: Store) -> None:
    layers = unpack(store, LayerTar().file("a").blob(), LayerTar().link("b", "no/such", is_hard=True).blob())
    with pytest.raises(LayerRefusedError, match="'b': hard link to b'no/such'"):
        store.snapshots.view("v", layers)
    assert store.snapshots.list() == ()


def test_lower_link_cannot_reach_the_host_through_a_symbolic_link(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of the host")
    low = LayerTar().link("escape", str(tmp_path))
    upper = LayerTar().link("stolen", "escape/secret", is_hard=True)
    layers = unpack(store, low.blob(), upper.blob())
    with pytest.raises(LayerRefusedError):
        store.snapshots.view("v", layers)


def test_root_opaque_hides_all_below(store: Store) -> None:
    low, top = LayerTar().file("low").directory("d").file("d/f"), LayerTar().file("d/g").opaque("")
    root = store.snapshots.view("v", unpack(store, low.blob(), top.blob())).path
    assert set(read_tree(root)) == {".", "d", "d/g"}


def test_commands_to_overlayfs_are_not_obeyed(store: Store) -> None:
    low = LayerTar().directory("d").file("d/f", b"f").file("dev", b"seen")
    top = LayerTar().directory(
        "d", xattrs={"trusted.overlay.opaque": b"y", "user.overlay.opaque": b"y", "user.ok": b"1"}
    )
    top.file("r", b"", xattrs={"trusted.overlay.redirect": b"/d/f", "trusted.overlay.metacopy": b""})
    top.node("dev", tarfile.CHRTYPE, device=(0, 0))
    root = store.snapshots.view("v", unpack(store, low.blob(), top.blob())).path
    assert (root / "d/f").read_bytes() == b"f"
    assert os.listxattr(root / "d") == ["user.ok"]
    assert (root / "dev").read_bytes() == b"seen"


def test_members_through_a_symbolic_link_stay_inside(store: Store, tmp_path: Path) -> None:
    layer = (
        LayerTar()
        .directory("usr")
        .directory("usr/lib")
        .link("lib", "usr/lib")
        .link("abs", "/usr")
        .link("out", "../../..")
    )
    layer.file("lib/a", b"a").file("abs/b", b"b").file("out/c", b"c").link("host", str(tmp_path)).file("host/d", b"d")
    root = store.snapshots.view("v", unpack(store, layer.blob())).path
    assert (root / "usr/lib/a").read_bytes() == b"a"
    assert (root / "usr/b").read_bytes() == b"b"
    assert (root / "c").read_bytes() == b"c"
    assert not (tmp_path / "d").exists()
    assert (root / "host").is_symlink()


@pytest.mark.parametrize("sparse_format", ["gnu", "posix 0.0", "posix 0.1", "posix 1.0"])
def test_sparse_files(store: Store, tmp_path: Path, sparse_format: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "sparse").open("wb") as file:
        for number in range(40):
            file.seek(number * 100_003)
            file.write(bytes([number + 1]) * 5000)
        file.truncate(40 * 100_003 + 77_777)
    (source / "hole").touch()
    os.truncate(source / "hole", 1 << 33)
    (source / "after").write_bytes(b"after")
    name, _, version = sparse_format.partition(" ")
    options = [f"--format={name}", *([f"--sparse-version={version}"] if version else [])]
    data = subprocess.run(
        ["tar", "-C", source, "-S", *options, "-cf", "-", "."], check=True, capture_output=True
    ).stdout
    assert len(data) < 1 << 20
    root = store.snapshots.view("v", unpack(store, gzipped(data))).path
    assert (root / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert (root / "hole").stat().st_size == 1 << 33
    assert (root / "after").read_bytes() == b"after"


def test_writable_root_keeps_what_was_written(store: Store) -> None:
    layers = unpack(store, LayerTar().directory(".", mode=0o751).file("f", b"layer").file("g").blob())
    mounted = store.snapshots.prepare("c", layers)
    assert mounted == store.snapshots.prepare("c", layers) == store.snapshots.mounts("c")
    assert mounted.kind is SnapshotKind.ACTIVE
    (mounted.path / "f").write_bytes(b"container")
    (mounted.path / "g").unlink()
    assert store.snapshots.usage("c").inodes >= 3
    store.snapshots.unmount("c")
    assert store.snapshots.mounts("c") is None
    root = store.snapshots.prepare("c", layers).path
    assert (root / "f").read_bytes() == b"container"
    assert not (root / "g").exists()
    assert root.stat().st_mode & 0o7777 == 0o751
    fresh = store.snapshots.prepare("other", layers).path
    assert (fresh / "f").read_bytes() == b"layer"
    store.snapshots.remove("c")
    store.snapshots.remove("c")
    assert [info.key for info in store.snapshots.list()] == ["other"]


def test_view_is_read_only(store: Store) -> None:
    root = store.snapshots.view("v", unpack(store, LayerTar().file("f").blob())).path
    with pytest.raises(OSError, match="Read-only"):
        (root / "f").write_bytes(b"")


def test_image_without_layers(store: Store) -> None:
    assert list(store.snapshots.view("v", []).path.iterdir()) == []
    root = store.snapshots.prepare("c", []).path
    (root / "made").touch()
    assert root.stat().st_mode & 0o7777 == 0o755


def test_more_than_a_hundred_layers(store: Store) -> None:
    layers = unpack(
        store,
        *(LayerTar().file(f"f{number}", b"%d" % number).file("last", b"%d" % number).blob() for number in range(130)),
    )
    root = store.snapshots.prepare("many", layers).path
    assert len(list(root.iterdir())) == 131
    assert (root / "last").read_bytes() == b"129"


def test_key_for_other_layers_is_refused(store: Store) -> None:
    one, two = unpack(store, LayerTar().file("1").blob(), LayerTar().file("2").blob())
    store.snapshots.prepare("k", [one])
    with pytest.raises(StoreError, match="exists already"):
        store.snapshots.prepare("k", [two])
    with pytest.raises(StoreError, match="exists already"):
        store.snapshots.view("k", [one])
    with pytest.raises(ContentNotFoundError):
        store.snapshots.prepare("n", [DiffID("sha256:" + "0" * 64)])
    assert [info.key for info in store.snapshots.list()] == ["k"]


def test_nothing_stays_mounted_without_need(store: Store) -> None:
    layers = unpack(store, LayerTar().file("1").blob(), LayerTar().file("2").blob())
    assert mounts_below(store.root) == ()
    store.snapshots.prepare("a", layers)
    store.snapshots.view("b", layers[:1])
    store.snapshots.remove("a")
    left = store.snapshots.mounts("b")
    assert left is not None
    assert (left.path / "1").exists()
    assert store.snapshots.cleanup_stale({"b"}) == ()
    assert store.snapshots.cleanup_stale(set()) == ("b",)
    assert mounts_below(store.root) == ()
    assert list((store.root / "snapshots").iterdir()) == []


def loop_devices(root: Path) -> int:
    """Loop devices over files below `root`."""
    backing = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return sum(line.startswith(str(root)) for line in backing)


def test_loop_devices_go_with_their_mounts(tmp_path: Path, form: str) -> None:
    with open_store(tmp_path / "store", form) as store:
        store.snapshots.view("v", unpack(store, LayerTar().file("1").blob(), LayerTar().file("2").blob()))
        assert loop_devices(tmp_path) == (2 if form == "erofs-loop" else 0)
        store.snapshots.remove("v")
        assert loop_devices(tmp_path) == 0


def test_mounts_outlive_the_process_that_made_them(tmp_path: Path, form: str) -> None:
    store = open_store(tmp_path / "store", form)
    layers = unpack(store, LayerTar().file("1", b"1").blob())
    root = store.snapshots.prepare("c", layers).path
    (root / "written").touch()
    store.close()
    assert (root / "written").exists()
    store = open_store(tmp_path / "store", form)
    try:
        assert store.snapshots.mounts("c") is not None
        store.snapshots.remove("c")
        assert mounts_below(store.root) == ()
    finally:
        store.close()
        unmount_all_below(tmp_path)


# -- generated layers
NAMES = st.sampled_from(["a", "b", "c", "a/b", "a/c", "b/a", "a/b/c", "b/c/a"])
ENTRIES = st.one_of(
    st.tuples(st.just("file"), NAMES, st.integers(0, 2000)),
    st.tuples(st.just("directory"), NAMES, st.sampled_from([0o755, 0o700, 0o1777])),
    st.tuples(st.just("link"), NAMES, st.just(0)),
    st.tuples(st.just("whiteout"), NAMES, st.just(0)),
    st.tuples(st.just("opaque"), NAMES, st.just(0)),
)


def write_layer(entries: Sequence[tuple[str, str, int]]) -> bytes:
    """A layer as a build tool makes one: sorted, each name once, whiteouts only of what it does not bring itself."""
    layer = LayerTar()
    chosen: dict[str, tuple[str, int]] = {}
    for kind, name, number in entries:
        if kind in {"file", "directory", "link"} and name not in chosen:
            chosen[name] = (kind, number)
    directories = {name for name, (kind, _) in chosen.items() if kind == "directory"}
    kept = {
        name: what
        for name, what in chosen.items()
        if all(name[:cut] in directories for cut in range(len(name)) if name[cut] == "/")
    }
    for kind, name, _ in sorted(entries):
        above = name.rpartition("/")[0]
        if kind == "whiteout" and name not in kept and (not above or (above in directories and above in kept)):
            layer.whiteout(name)
        if kind == "opaque" and name in kept and name in directories:
            layer.opaque(name)
    for name, (kind, number) in sorted(kept.items()):
        match kind:
            case "file":
                layer.file(name, bytes([number % 251]) * number)
            case "directory":
                layer.directory(name, mode=number)
            case _:
                layer.link(name, "somewhere")
    return layer.bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(layers=st.lists(st.lists(ENTRIES, max_size=14), min_size=1, max_size=4))
def test_generated_layers_give_the_tree_of_gnu_tar(
    tmp_path_factory: pytest.TempPathFactory, form: str, layers: list[list[tuple[str, str, int]]]
) -> None:
    place = tmp_path_factory.mktemp("generated")
    tars = [write_layer(entries) for entries in layers]
    gnu_tar(place / "want", tars)
    store = open_store(place / "store", form)
    try:
        root = store.snapshots.view("v", unpack(store, *map(gzipped, tars))).path
        assert_same(root, place / "want", times_ignored=lambda name: (place / "want" / name).is_dir())
    finally:
        store.close()
        unmount_all_below(place)

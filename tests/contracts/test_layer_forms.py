"""Both forms of layer say the same of any tar, in whatever order its entries come, and give it back byte for byte."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pullet.kit.clock import SystemClock
from pullet.store.errors import LayerRefusedError
from pullet.store.mounts import unmount_all_below
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerBlob, LayerTar, Line, gzipped, read_tree

pytestmark = pytest.mark.root

FORMS = (SnapshotterChoice.EROFS, SnapshotterChoice.DIRECTORY)
PATHS = ("a", "b", "c", "a/b", "a/c", "b/a", "a/b/c", "s/a", "a/s/b")
Entry = tuple[str, str, str]
ENTRIES = st.one_of(
    st.tuples(st.just("file"), st.sampled_from(PATHS), st.sampled_from(["", "one", "two" * 300])),
    st.tuples(st.just("directory"), st.sampled_from(PATHS), st.just("")),
    st.tuples(st.just("symlink"), st.sampled_from([*PATHS, "s", "a/s"]), st.sampled_from(["a", "b", "..", "/a/b"])),
    st.tuples(st.just("link"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
    st.tuples(st.just("fifo"), st.sampled_from(PATHS), st.just("")),
    st.tuples(st.just("sparse"), st.sampled_from(PATHS), st.just("")),
    st.tuples(st.just("whiteout"), st.sampled_from(PATHS), st.sampled_from(["", "with data"])),
    st.tuples(st.just("opaque"), st.sampled_from(["a", "b", "a/b", ""]), st.just("")),
)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Store]]:
    root = tmp_path_factory.mktemp("forms")
    opened = [Store.open(root / form, clock=SystemClock(), settings=StoreSettings(snapshotter=form)) for form in FORMS]
    yield opened
    for store in opened:
        store.close()
    unmount_all_below(root)


def lower_layer() -> LayerBlob:
    layer = LayerTar().directory("a", mode=0o711, owner=(1, 2)).file("a/low", b"low").file("a/b", b"lower b")
    return layer.directory("b").directory("b/a", mode=0o700).file("b/a/low").link("s", "a").file("c", b"c").blob()


LOWER = lower_layer()


def write(entries: Sequence[Entry]) -> bytes:
    layer = LayerTar()
    for number, (kind, path, more) in enumerate(entries):
        owner, mtime = (number, 10 + number), 1_600_000_000 + number
        match kind:
            case "file":
                layer.file(path, more.encode(), owner=owner, mtime=mtime, mode=0o600 + number % 64)
            case "directory":
                layer.directory(path, owner=owner, mtime=mtime, mode=0o700 + number % 64)
            case "symlink":
                layer.link(path, more, owner=owner, mtime=mtime)
            case "link":
                layer.link(path, more, is_hard=True)
            case "fifo":
                layer.node(path, tarfile.FIFOTYPE, mtime=mtime)
            case "sparse":
                layer.sparse_file(path, {0: b"head", 9000: b"middle" * 100}, 20_000)
            case "whiteout":
                directory, _, name = path.rpartition("/")
                layer.file(f"{directory}/.wh.{name}" if directory else f".wh.{name}", more.encode())
            case _:
                layer.opaque(path)
    return layer.bytes()


def seen(store: Store, blob: LayerBlob) -> dict[str, Line] | str:
    """The tree of `blob` over the lower layer, or the rule and entry for which it is refused."""
    try:
        for one in (LOWER, blob):
            store.layers.unpack(one.open(), descriptor=one.descriptor, diff_id=one.diff_id)
        tree = read_tree(store.snapshots.view("v", [LOWER.diff_id, blob.diff_id]).path)
    except LayerRefusedError:
        return "refused"
    finally:
        store.snapshots.remove("v")
    with store.layers.tar_stream(blob.diff_id) as tar:
        assert tar.size_bytes == len(blob.tar)
        assert tar.read(7) + tar.read() == blob.tar
    assert store.layers.verify(blob.diff_id)
    store.layers.remove(blob.diff_id)
    return tree


@given(entries=st.lists(ENTRIES, max_size=12))
@example(entries=[("file", "a", "one"), ("link", "b", "a"), ("file", "a", "two"), ("file", "b", "one")])
@example(entries=[("file", "a/b", "one"), ("link", "c", "a/b"), ("file", "a", "two"), ("link", "a", "c")])
@example(entries=[("file", "a/b/c", "one"), ("file", "a/b", "one"), ("directory", "a/b", ""), ("file", "a/b/c", "two")])
@example(entries=[("sparse", "a", ""), ("file", "a/b", "one"), ("symlink", "a", "b"), ("file", "a/c", "two")])
@example(entries=[("symlink", "a", ".."), ("file", "a/b", ""), ("directory", "a", ""), ("directory", "a/b", "")])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_same_tree_and_the_tar_back(stores: list[Store], entries: list[Entry]) -> None:
    blob = gzipped(write(entries))
    erofs, directory = (seen(store, blob) for store in stores)
    assert erofs == directory


def test_tree_as_deep_as_a_path_can_be(stores: list[Store]) -> None:
    """Replaced, verified and removed, whatever the depth."""
    deep = LayerTar().file("/".join(["d"] * 2000) + "/f", b"deep").file("d", b"in its place").blob()
    trees = [seen(store, deep) for store in stores]
    assert trees[0] == trees[1]
    assert "d" in trees[0]
    shallow = LayerTar().file("/".join(["d"] * 2000) + "/f", b"deep").blob()
    for store in stores:
        store.layers.unpack(shallow.open(), descriptor=shallow.descriptor, diff_id=shallow.diff_id)
        assert store.layers.verify(shallow.diff_id)
        store.layers.remove(shallow.diff_id)
        assert [path for part in ("layers", "trees") for path in (store.root / part).glob("tmp/*")] == []


@pytest.mark.parametrize("what", ["content", "shorter", "gone", "mode", "owner", "time", "attribute", "more", "record"])
def test_an_altered_tree_is_found(stores: list[Store], what: str) -> None:
    store = stores[1]
    blob = LayerTar().directory("d").file("d/f", b"content", mode=0o640).link("l", "d/f").blob()
    layer = store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
    file = layer.path / "tree" / "d" / "f"
    assert store.layers.verify(blob.diff_id)
    alter(what, file, layer.path / "record")
    assert not store.layers.verify(blob.diff_id)
    store.layers.remove(blob.diff_id)


def alter(what: str, file: Path, record: Path) -> None:
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    match what:
        case "content" | "shorter":
            file.write_bytes(b"CONTENT" if what == "content" else b"con")
            os.utime(file, ns=times)
        case "gone":
            file.unlink()
        case "mode":
            file.chmod(0o644)
        case "owner":
            os.chown(file, 1, 1)
        case "time":
            os.utime(file, ns=(0, 0))
        case "attribute":
            os.setxattr(file.parent, "trusted.overlay.opaque", b"y")
        case "more":
            (file.parent / "more").touch()
        case _:
            record.write_bytes(record.read_bytes()[:-5])

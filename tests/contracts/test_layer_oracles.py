"""Trees as other tools write and read them, entry by entry, through both snapshotters.

A generated tree, and small sets of real files, are written as tars by GNU tar, bsdtar, Python and Go's archive/tar
(what Docker writes with), each in its formats. What a container sees must be what the tool itself extracts.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contracts.test_snapshotter import ENTRIES, assert_same, unpack, write_layer

from pullet.kit.clock import SystemClock
from pullet.store.mounts import unmount_all_below
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerBlob, gzipped
from pullet.testing.tar_tools import ATTRIBUTES, SHORT, WRITERS, extract_tar, umoci_unpack, write_tar

pytestmark = pytest.mark.root

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
PLAIN = ["a", "b.txt", ".hidden", "-dash", "with blank", "back\\slash", "new\nline", "x" * 40, "c", "e", "f"]
RICH = [*PLAIN, "é漢", "n" * 120, "ñ" * 100, "m" * 250]
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1777, 0o000])
Spec = tuple[str, str, int, int, int, int]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Store]]:
    root = tmp_path_factory.mktemp("oracles")
    forms = (SnapshotterChoice.EROFS, SnapshotterChoice.DIRECTORY)
    opened = [Store.open(root / form, clock=SystemClock(), settings=StoreSettings(snapshotter=form)) for form in forms]
    yield opened
    for store in opened:
        store.close()
    unmount_all_below(root)


def assert_shown(
    stores: Sequence[Store], layers: Sequence[LayerBlob], want: Path, *, times_ignored: Callable[[str], bool]
) -> None:
    for store in stores:
        try:
            root = store.snapshots.view("v", unpack(store, *layers)).path
            assert_same(root, want, times_ignored=times_ignored)
        finally:
            store.snapshots.remove("v")
            for layer in layers:
                store.layers.remove(layer.diff_id)


def specs(names: list[str], ids: int) -> st.SearchStrategy[list[Spec]]:
    """Kind, name, mode, owner, time in ns, size of each entry."""
    kinds = st.sampled_from(["file", "file", "directory", "into", "symlink", "hard", "fifo", "device"])
    entry = st.tuples(
        kinds, st.sampled_from(names), MODES, st.integers(0, ids), st.integers(10**9, 1 << 60), st.integers(0, 3000)
    )
    return st.lists(entry, max_size=10, unique_by=lambda spec: spec[1])


def make_tree(root: Path, entries: Sequence[Spec], *, has_attributes: bool) -> None:
    """`into` is a directory that the entries after it lie in."""
    root.mkdir()
    above, files, made = root, list[Path](), list[tuple[Path, Spec]]()
    for spec in entries:
        kind, name, _, number, _, size = spec
        path = above / name
        match kind:
            case "file":
                path.write_bytes(bytes([number % 251]) * size)
                files.append(path)
            case "directory" | "into":
                path.mkdir()
                above = path if kind == "into" else above
            case "symlink":
                path.symlink_to("../" * (size % 3) + "t" * (size % 90 + 1))  # ustar takes a hundred bytes
            case "hard":
                if not files:
                    continue
                os.link(files[-1], path)
                continue
            case "fifo":
                os.mkfifo(path)
            case _:
                os.mknod(path, stat.S_IFBLK if size % 2 else stat.S_IFCHR, os.makedev(1 + size % 200, size))
        made.append((path, spec))
    for path, (_, _, mode, owner, moment, size) in reversed(made):
        os.chown(path, owner, owner // 2, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(mode)
            if has_attributes and size % 3 == 0:
                os.setxattr(
                    path, "user.note" if path.is_file() or path.is_dir() else "trusted.n", b"v\xff" + b"w" * size
                )
            if has_attributes and path.is_file() and size % 4 == 0:
                os.setxattr(path, "security.capability", CAPABILITY)
        os.utime(path, ns=(moment, moment), follow_symlinks=False)


def assert_tool_agrees(stores: Sequence[Store], writer: str, source: Path, place: Path) -> None:
    data = write_tar(writer, source)
    extract_tar(writer, place / "want", data)
    assert_shown(stores, [gzipped(data)], place / "want", times_ignored=lambda name: name == ".")


@QUICK
@given(data=st.data(), writer=st.sampled_from(WRITERS))
def test_any_tree_that_a_tool_writes(
    stores: list[Store], tmp_path_factory: pytest.TempPathFactory, writer: str, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("tree")
    is_short = writer in SHORT
    entries = data.draw(specs(PLAIN if is_short else RICH, (1 << 18) - 1 if is_short else 4_000_000))
    make_tree(place / "source", entries, has_attributes=writer in ATTRIBUTES)
    assert_tool_agrees(stores, writer, place / "source", place)
    shutil.rmtree(place)


def debian(root: Path) -> None:
    """Configuration, time zones (hard and symbolic links), programs with their bits."""
    for name in ("etc/alternatives", "etc/ssl/certs", "usr/share/zoneinfo/Europe", "usr/lib/tmpfiles.d", "etc/default"):
        source = Path("/", name)
        if source.is_dir():
            shutil.copytree(source, root / name, symlinks=True)
    for name in ("bin/su", "usr/bin/passwd", "etc/shadow", "etc/passwd"):
        if Path("/", name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path("/", name), root / name)
    with suppress(FileNotFoundError):
        (root / "usr/bin/passwd").chmod(0o4755)


def python(root: Path) -> None:
    """A part of the standard library, with its bytecode."""
    for name in ("email", "json", "concurrent"):
        shutil.copytree(Path(json.__file__).parents[1] / name, root / "lib" / "python3" / name)


def node(root: Path) -> None:
    """The shape of node_modules: scopes, packages in packages, hundreds of small files, links in .bin."""
    for number in range(60):
        scope = f"@scope-{number % 7}/" if number % 3 else ""
        package = root / "app" / "node_modules" / f"{scope}package-{number}"
        for name in ("package.json", "dist/index.js", "dist/index.d.ts", "node_modules/inner/lib/util/index.js"):
            file = package / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"name": name, "n": number}) * (number % 9))
        link = root / "app" / "node_modules" / ".bin" / f"tool-{number}"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(f"../{scope}package-{number}/dist/index.js")


@pytest.mark.parametrize("files", [debian, python, node])
def test_real_files(stores: list[Store], tmp_path: Path, files: Callable[[Path], None]) -> None:
    (tmp_path / "source").mkdir()
    files(tmp_path / "source")
    for number, writer in enumerate(("gnu gnu", "bsd pax", "umoci go")):
        (tmp_path / str(number)).mkdir()
        assert_tool_agrees(stores, writer, tmp_path / "source", tmp_path / str(number))


@QUICK
@given(layers=st.lists(st.lists(ENTRIES, max_size=14), min_size=1, max_size=4))
def test_layers_upon_layers_as_umoci_has_them(
    stores: list[Store], tmp_path_factory: pytest.TempPathFactory, layers: list[list[tuple[str, str, int]]]
) -> None:
    place = tmp_path_factory.mktemp("layers")
    blobs = [gzipped(write_layer(entries)) for entries in layers]
    umoci_unpack(place / "want", blobs)
    # whiteouts touch the directory they are in
    assert_shown(stores, blobs, place / "want", times_ignored=lambda name: (place / "want" / name).is_dir())
    shutil.rmtree(place)

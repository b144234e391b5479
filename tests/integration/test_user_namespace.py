"""A store in a user namespace, as an ordinary user has it: layers as directories, the same trees but for devices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pullet.kit.clock import SystemClock
from pullet.store.errors import LayerRefusedError
from pullet.store.mounts import unmount_all_below
from pullet.store.overlay_mount import mount_overlay
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerTar

pytestmark = pytest.mark.root

SCRIPT = """
import ctypes, json, os, sys, tarfile
import pullet.store.directory_layers  # loaded late otherwise, when this checkout may be out of reach

from pathlib import Path
from tests.contracts.test_snapshotter import CAPABILITY, layered, unpack
from pullet.kit.clock import SystemClock
from pullet.store.errors import LayerRefusedError
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerTar, gzipped, read_tree

top = LayerTar().directory("own", mode=0o750, owner=(7, 8)).file("own/f", b"f" * 700, owner=(1000, 65000), mode=0o4711)
top.file("own/tagged", b"t", xattrs={"user.note": b"n", "security.capability": CAPABILITY, "trusted.x": b"1"})
top.node("fifo", tarfile.FIFOTYPE).link("own/hard", "own/f", is_hard=True).file("kept/implied", b"i")
top.node("null", tarfile.CHRTYPE, device=(1, 3)).link("lower", "kept/f", is_hard=True)
unmapped = LayerTar().file("f", owner=(70_000, 1)).blob()

def scenario(root):
    choice = StoreSettings(snapshotter=SnapshotterChoice(sys.argv[3]))
    with Store.open(root, clock=SystemClock(), settings=choice) as store:
        layers = unpack(store, *map(gzipped, [*layered(), top.bytes()]))
        for diff_id in layers:
            assert store.layers.verify(diff_id)
            store.layers.tar_stream(diff_id).read()
        tree = read_tree(store.snapshots.view("v", layers).path)
        active = store.snapshots.prepare("a", layers).path
        (active / "own/f").write_bytes(b"written")
        (active / "kept/f").unlink()
        store.snapshots.remove("v")
        store.snapshots.remove("a")
        try:
            unpack(store, unmapped)
            said = ""
        except LayerRefusedError as error:
            said = str(error)
        store.gc()
        return tree, store.status().explanation, said

want, _, said = scenario(Path(sys.argv[1]))  # also loads all that the namespace's root may not read
assert not said
ctypes.CDLL(None).unshare(0x10000000 | 0x00020000)  # CLONE_NEWUSER, CLONE_NEWNS
print("unshared", flush=True)
sys.stdin.readline()
os.setgid(0)
os.setuid(0)
got, explanation, said = scenario(Path(sys.argv[2]))
del want["null"]
kept = [line for line in want["own/tagged"][6] if not line[0].startswith("trusted.")]
want["own/tagged"] = (*want["own/tagged"][:6], tuple(kept), want["own/tagged"][7])
different = {name: (got.get(name), want.get(name)) for name in {*got, *want} if got.get(name) != want.get(name)}
print(json.dumps({"different": repr(different), "explanation": explanation, "said": said, "count": len(got)}))
"""


@pytest.fixture
def places() -> Iterator[tuple[Path, Path]]:
    """A store's place of the machine's root, and one of the namespace's."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        for name in ("outside", "inside"):
            (root / name).mkdir()
        os.chown(root / "inside", 100_000, 100_000)
        yield root / "outside", root / "inside"
        shutil.rmtree(root / "inside", ignore_errors=True)


@pytest.mark.parametrize("form", ["auto", "directory"])
def test_the_same_trees_but_for_what_only_root_may(places: tuple[Path, Path], form: str) -> None:
    outside, inside = places
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, outside, inside, form],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "unshared\n"
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{process.pid}/{kind}").write_text("0 100000 65536\n")
        out, _ = process.communicate("go\n")
    assert process.returncode == 0
    told = json.loads(out)
    assert told["different"] == "{}"
    assert told["count"] > 15
    assert "in a user namespace: without device nodes and trusted.* attributes" in told["explanation"]
    assert "entry 'f': its owner 70000:1 is not mapped in this user namespace" in told["said"]


REFUSED = """
import os, sys
from pathlib import Path
from pullet.kit.clock import SystemClock
from pullet.store.errors import StoreError
from pullet.store.store import Store
Store.open(Path(sys.argv[1]), clock=SystemClock()).close()  # also loads all that an ordinary user may not read
os.setgid(100_000)
os.setuid(100_000)
try:
    Store.open(Path(sys.argv[2]) / "store", clock=SystemClock())
except StoreError as error:
    print(error)
"""


def test_without_a_namespace_of_its_own_it_is_said_what_to_do(places: tuple[Path, Path]) -> None:
    said = subprocess.run(
        [sys.executable, "-c", REFUSED, *places], cwd=Path(__file__).parents[2], check=True, stdout=subprocess.PIPE
    ).stdout.decode()
    assert "no overlay can be mounted at" in said
    assert "Operation not permitted. Without root, start pullet in a user and a mount namespace" in said


def test_on_a_file_system_that_bears_no_overlay_images_can_still_be_kept(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    mount_overlay(tmp_path / "merged", [tmp_path / "lower"], upper=tmp_path / "upper", work=tmp_path / "work")
    try:
        choice = StoreSettings(snapshotter=SnapshotterChoice.DIRECTORY)
        with Store.open(tmp_path / "merged" / "store", clock=SystemClock(), settings=choice) as store:
            blob = LayerTar().directory("d").file("d/f", b"f").blob()
            store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
            assert store.layers.verify(blob.diff_id)
            assert "no container can start" in store.status().explanation
            blob = LayerTar().whiteout("gone").blob()
            with pytest.raises(LayerRefusedError, match=r"'\.wh\.gone': this file system takes no whiteouts"):
                store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
    finally:
        unmount_all_below(tmp_path)

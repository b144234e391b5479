"""kill -9, and a power cut, at every named point of the store: the next open finds all or nothing, and no litter.

The store lies on an ext4 in a file (see `scratch_disk`); a copy of that file is taken when the process is dead.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.scratch_disk import another_boot, make_disk, mounted

from pullet.kit.clock import SystemClock
from pullet.store.mounts import mounts_below
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerBlob, LayerTar

pytestmark = pytest.mark.root

SCRIPT = """
import sys
from pathlib import Path
from pullet.kit.clock import SystemClock
from pullet.oci.digest import Digest
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from tests.faults.test_kill_store import layers
root, form = Path(sys.argv[1]), SnapshotterChoice(sys.argv[2])
store = Store.open(root, clock=SystemClock(), settings=StoreSettings(snapshotter=form, keep_compressed_blobs=True))
ingest = store.content.start_ingest("upload")
ingest.write(b"pushed")
ingest.commit(Digest.of(b"pushed"))
for blob in layers():
    store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
store.snapshots.prepare("container", [blob.diff_id for blob in layers()])
store.snapshots.remove("container")
print("not killed")
"""
POINTS = (
    "ingest.rename", "ingest.renamed", "layer.verified", "layer.metadata", "layer.rename", "layer.renamed",
    "layer.metadata=kill:2", "layer.renamed=kill:2", "snapshot.mount", "snapshot.mounted", "snapshot.removed",
)  # fmt: skip


def layers() -> list[LayerBlob]:
    low = LayerTar().directory("d", mode=0o700).file("d/low", os.urandom(0) + b"low" * 400_000)
    return [low.blob(), LayerTar().file("d/upper", b"upper").blob()]


CASES = [
    (point, form) for point in POINTS for form in ("erofs", "directory") if (form, point[:6]) != ("directory", "ingest")
]


@pytest.mark.parametrize(("point", "form"), CASES)
def test_restart_converges(tmp_path: Path, point: str, form: str) -> None:
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    make_disk(disk, 32)
    with mounted(disk, tmp_path / "killed") as root:
        Store.open(root, clock=SystemClock()).close()
        subprocess.run(["sync", "-f", root], check=True)
        die(root, form, point)
        shutil.copyfile(disk, copy)
        assert_converges(root, form)
    with mounted(copy, tmp_path / "cut") as root:
        another_boot(root)
        assert_converges(root, form)


def die(root: Path, form: str, point: str) -> None:
    armed = point if "=" in point else f"{point}=kill"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), form],
        env={**os.environ, "PULLET_FAULTS": armed},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def assert_converges(root: Path, form: str) -> None:
    """Whole layers or none; then all can be had, used, and taken away without a trace."""
    settings = StoreSettings(snapshotter=SnapshotterChoice(form), keep_compressed_blobs=True)
    with Store.open(root, clock=SystemClock(), settings=settings) as store:
        for blob in layers():
            store.layers.get(blob.diff_id)  # a torn one goes when somebody asks for it
        assert_whole(store)
        for blob in layers():
            store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
        path = store.snapshots.prepare("container", [blob.diff_id for blob in layers()]).path
        assert (path / "d/upper").read_bytes() == b"upper"
        assert (path / "d/low").read_bytes() == b"low" * 400_000
        assert (path / "d").stat().st_mode & 0o777 == 0o700
        assert store.snapshots.cleanup_stale(()) == ("container",)
        assert mounts_below(root) == ()
        store.gc()
        assert store.layers.list() == ()
        assert list(store.content.list()) == []
    assert litter(root) == []


def assert_whole(store: Store) -> None:
    """Everything that can be seen is right, and nothing lies about that cannot be seen, but for a resumable upload."""
    for digest, _ in store.content.list():
        assert store.content.verify(digest)
    on_disk = {path.name for name in ("layers", "trees") for path in (store.root / name).glob("sha256/*")}
    assert on_disk == {diff_id.removeprefix("sha256:") for diff_id, _, _ in store.layers.list()}
    for diff_id, _, _ in store.layers.list():
        assert store.layers.verify(diff_id)
    assert [path for name in ("layers", "trees") for path in (store.root / name).glob("tmp/*")] == []


def litter(root: Path) -> list[Path]:
    places = ("layers/sha256", "layers/tmp", "trees/sha256", "trees/tmp", "snapshots", "mounts/layers", "mounts/stacks")
    return [path for place in places if (root / place).exists() for path in (root / place).iterdir()]

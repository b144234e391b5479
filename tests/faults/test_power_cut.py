"""A power cut: what the file system had not written to its disk is gone.

The store lies on a disk of `scratch_disk`.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.faults.scratch_disk import another_boot, make_disk, mounted

from pullet.kit.clock import SystemClock
from pullet.oci.digest import Digest, ImageID
from pullet.store.images import ImageLayer
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerBlob, LayerTar, read_tree

pytestmark = pytest.mark.root

CONFIG = b'{"rootfs": {"type": "layers", "diff_ids": []}}'
IMAGE = ImageID(str(Digest.of(CONFIG)))


def open_store(root: Path, form: str) -> Store:
    return Store.open(root, clock=SystemClock(), settings=StoreSettings(snapshotter=SnapshotterChoice(form)))


def layers() -> list[LayerBlob]:
    noise = random.Random(7)
    return [LayerTar().file(f"f{number}", noise.randbytes(200_000 * number)).blob() for number in (1, 2, 3)]


def record(store: Store, blobs: list[LayerBlob]) -> None:
    store.images.put(
        IMAGE,
        manifest=Digest.of(CONFIG),
        layers=[
            ImageLayer(
                diff_id=one.diff_id, digest=one.descriptor.digest, media_type=one.media_type, size_bytes=len(one.blob)
            )
            for one in blobs
        ],
        content=[Digest.of(CONFIG)],
        size_bytes=1,
        names=[("example.org/a:1", Digest.of(CONFIG))],
    )


@pytest.mark.parametrize("form", ["erofs", "directory"])
@pytest.mark.parametrize("moment", ["unpacked", "partly written back", "recorded", "synced", "synced and settled"])
def test_after_a_cut_a_layer_is_whole_or_absent(tmp_path: Path, moment: str, form: str) -> None:
    disk, copy, blobs = tmp_path / "disk", tmp_path / "copy", layers()
    make_disk(disk, 48)
    with mounted(disk, tmp_path / "before") as root, open_store(root, form) as store:
        subprocess.run(["sync", "-f", root], check=True)
        store.content.put(Digest.of(CONFIG), CONFIG)
        for blob in blobs:
            layer = store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
            if moment == "partly written back" and blob is blobs[1]:
                subprocess.run(["sync", "-f", layer.path], check=True)
        if moment not in {"unpacked", "partly written back"}:
            record(store, blobs)
        if moment.startswith("synced"):
            store.layers.sync()
        if moment == "synced and settled":
            subprocess.run(["sync", "-f", root], check=True)
        shutil.copyfile(disk, copy)
    with mounted(copy, tmp_path / "after") as root:
        another_boot(root)
        with open_store(root, form) as store:
            found = [blob for blob in blobs if store.layers.get(blob.diff_id) is not None]
            for blob in found:
                assert store.layers.verify(blob.diff_id)
            if moment == "unpacked":
                assert found != blobs, "nothing was lost: this was no power cut"
            if moment == "synced and settled":
                assert found == blobs
                assert store.images.find("example.org/a:1") is not None
            if store.images.find("example.org/a:1") is not None:
                assert store.content.read(Digest.of(CONFIG)) == CONFIG
            # the next pull mends the rest
            for blob in blobs:
                store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
            view = store.snapshots.view("v", [blob.diff_id for blob in blobs]).path
            assert {"f1", "f2", "f3"} <= set(read_tree(view))
            store.snapshots.remove("v")
            assert [path for part in ("layers", "trees") for path in (root / part).glob("tmp/*")] == []

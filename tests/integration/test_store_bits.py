"""One wrong bit, wherever it lies: on the wire, in the tar, in the layer file. It is never taken for the layer."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
from collections.abc import Callable, Iterator

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullet.kit.clock import SystemClock
from pullet.store.errors import DiffIDMismatchError, DigestMismatchError, LayerCorruptError, LayerRefusedError
from pullet.store.mounts import unmount_all_below
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerBlob, LayerTar

pytestmark = pytest.mark.root

COMPRESSORS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: gzip.compress(data, 6, mtime=0),
    lambda data: zstandard.ZstdCompressor(write_checksum=False).compress(data),
    bytes,
)


def layer_tar() -> bytes:
    """Directories, long names, links, attributes, a sparse file, and a trailer."""
    layer = LayerTar(tarfile.PAX_FORMAT).directory("d", mode=0o750, owner=(1, 2)).file("d/empty")
    layer.file("d/text", b"some text, shorter than a block").file("d/" + "n" * 150, random.Random(1).randbytes(1500))
    layer.sparse_file("d/sparse", {100: b"head", 9000: b"middle" * 100}, 20_000)
    layer.file("d/tagged", bytes(700), xattrs={"user.note": b"n"}).link("l", "d/text").link("h", "d/text", is_hard=True)
    return layer.bytes()


TAR = layer_tar()


def flipped(data: bytes, bit: int) -> bytes:
    at = bit // 8
    return data[:at] + bytes([data[at] ^ (1 << bit % 8)]) + data[at + 1 :]


@pytest.fixture(scope="module", params=["erofs threads", "erofs inline", "directory threads", "directory inline"])
def store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Store]:
    form, _, way = request.param.partition(" ")
    root = tmp_path_factory.mktemp("store")
    choice = StoreSettings(
        snapshotter=SnapshotterChoice(form), inline_below_bytes={"threads": 0, "inline": 1 << 20}[way]
    )
    with Store.open(root, clock=SystemClock(), settings=choice) as opened:
        yield opened
    unmount_all_below(root)


def nothing_is_here(store: Store, blob: LayerBlob) -> bool:
    left = [path for part in ("layers", "trees") for path in (store.root / part).glob("*/*")]
    return store.layers.get(blob.diff_id) is None and not left


@given(compress=st.sampled_from(COMPRESSORS), where=st.floats(0, 1, exclude_max=True))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_flipped_on_its_way_is_the_transports_fault(
    store: Store, compress: Callable[[bytes], bytes], where: float
) -> None:
    blob = LayerBlob(TAR, compress(TAR))
    sent = flipped(blob.blob, int(len(blob.blob) * 8 * where))
    with pytest.raises(DigestMismatchError):
        store.layers.unpack(io.BytesIO(sent), descriptor=blob.descriptor, diff_id=blob.diff_id)
    assert nothing_is_here(store, blob)


@given(compress=st.sampled_from(COMPRESSORS), where=st.floats(0, 1, exclude_max=True))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_flipped_before_the_blob_was_made_does_not_pass_for_the_diff_id(
    store: Store, compress: Callable[[bytes], bytes], where: float
) -> None:
    """Headers, data, padding and trailer alike: the DiffID covers every byte."""
    made = LayerBlob(TAR, compress(flipped(TAR, int(len(TAR) * 8 * where))))
    with pytest.raises((DiffIDMismatchError, LayerCorruptError, LayerRefusedError)):
        store.layers.unpack(made.open(), descriptor=made.descriptor, diff_id=made.diff_id)
    assert nothing_is_here(store, made)


@given(choice=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_flipped_on_disk_is_found(store: Store, choice: random.Random) -> None:
    """In any file of the layer, at any place: superblock, tar, padding, pieces of sparse files, metadata, record."""
    blob = LayerBlob(TAR, COMPRESSORS[0](TAR))
    layer = store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
    files = [layer.path] if layer.path.is_file() else [path for path in layer.path.rglob("*") if path.is_file()]
    victim = choice.choice([path for path in files if path.stat().st_size])
    whole, times = victim.read_bytes(), (victim.stat().st_atime_ns, victim.stat().st_mtime_ns)
    try:
        assert store.layers.verify(blob.diff_id)
        with victim.open("r+b") as file:
            file.write(flipped(whole, choice.randrange(len(whole) * 8)))
        os.utime(victim, ns=times)
        if victim.name != "record":
            assert not store.layers.verify(blob.diff_id)
        elif store.layers.verify(blob.diff_id):  # a bit of its compression that says nothing
            with store.layers.tar_stream(blob.diff_id) as tar:
                assert tar.read() == TAR
    finally:
        store.layers.remove(blob.diff_id)


def test_a_pull_of_a_damaged_layer_leaves_its_neighbours_alone(store: Store) -> None:
    good = LayerTar().file("good", b"g").blob()
    store.layers.unpack(good.open(), descriptor=good.descriptor, diff_id=good.diff_id)
    bad = msgspec.structs.replace(good, blob=gzip.compress(flipped(good.tar, 4000), mtime=0), tar=TAR)
    with pytest.raises((DiffIDMismatchError, LayerCorruptError)):
        store.layers.unpack(bad.open(), descriptor=bad.descriptor, diff_id=bad.diff_id)
    assert store.layers.verify(good.diff_id)
    store.layers.remove(good.diff_id)

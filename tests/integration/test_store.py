"""A store on a real file system: what comes in is verified or leaves no trace, what is kept can be proved."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import StopFlag, StoppedError
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import DiffID, Digest, ImageID
from pullet.store.check import FindingKind
from pullet.store.errors import (
    ContentNotFoundError,
    DiffIDMismatchError,
    DigestMismatchError,
    DiskFullError,
    LayerCorruptError,
    LayerRefusedError,
    SizeMismatchError,
    StoreLockedError,
)
from pullet.store.images import ImageLayer
from pullet.store.leases import LeaseKind
from pullet.store.mounts import unmount_all_below
from pullet.store.settings import SnapshotterChoice, StoreSettings, UnpackLimits
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerBlob, LayerTar, gzipped, read_tree

pytestmark = pytest.mark.root

FORMS = [SnapshotterChoice.EROFS, SnapshotterChoice.DIRECTORY]


def open_store(root: Path, settings: StoreSettings | None = None) -> Store:
    return Store.open(root, clock=SystemClock(), settings=settings)


@pytest.fixture(params=FORMS)
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    limits = msgspec.structs.replace(UnpackLimits(), ratio_free_bytes=1 << 20, max_entries=1000)
    opened = open_store(tmp_path / "store", StoreSettings(snapshotter=request.param, limits=limits))
    yield opened
    opened.close()
    unmount_all_below(tmp_path)


@pytest.fixture
def erofs(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "store", StoreSettings(snapshotter=SnapshotterChoice.EROFS))
    yield opened
    opened.close()
    unmount_all_below(tmp_path)


def big_layer(seed: int = 1, size: int = 3 << 20) -> LayerBlob:
    noise = random.Random(seed).randbytes(size)
    layer = LayerTar().directory("d").file("d/noise", noise).file("d/zeros", bytes(1 << 20)).file("d/small", b"s")
    return gzipped(layer.bytes())


def unpack(store: Store, blob: LayerBlob) -> DiffID:
    return store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id).diff_id


def files_left(store: Store) -> list[Path]:
    return [path for name in ("layers", "trees", "ingest") for path in (store.root / name).rglob("*") if path.is_file()]


def test_layer_is_visible_only_once_it_is_verified(store: Store) -> None:
    blob, seen = big_layer(), list[int]()
    layer = store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id, on_bytes=seen.append)
    assert sum(seen) == len(blob.blob)
    assert layer.tar_bytes == len(blob.tar)
    assert store.layers.get(blob.diff_id) == layer
    assert store.layers.diff_id_of(blob.descriptor.digest) == blob.diff_id
    again = store.layers.unpack(io.BytesIO(b"not read"), descriptor=blob.descriptor, diff_id=blob.diff_id)
    assert again == layer


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, bytes])
def test_every_compression(store: Store, compress: Callable[[bytes], bytes]) -> None:
    plain = big_layer().tar
    assert str(unpack(store, LayerBlob(plain, compress(plain)))) == Digest.of(plain)


def altered(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


@pytest.mark.parametrize("size", [100, 3 << 20], ids=["inline", "threads"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.7, 0.9999])
def test_a_flipped_bit_anywhere_is_the_transports_fault(store: Store, size: int, where: float) -> None:
    blob = big_layer(size=size)
    sent = io.BytesIO(altered(blob.blob, int(len(blob.blob) * where)))
    with pytest.raises(DigestMismatchError):
        store.layers.unpack(sent, descriptor=blob.descriptor, diff_id=blob.diff_id)
    assert store.layers.get(blob.diff_id) is None
    assert files_left(store) == []


@pytest.mark.parametrize("size", [100, 3 << 20], ids=["inline", "threads"])
def test_too_short_and_too_long(store: Store, size: int) -> None:
    blob = big_layer(size=size)
    for sent in (blob.blob[:-1], blob.blob[: len(blob.blob) // 2], b"", blob.blob + b"\0", blob.blob * 2):
        with pytest.raises(SizeMismatchError):
            store.layers.unpack(io.BytesIO(sent), descriptor=blob.descriptor, diff_id=blob.diff_id)
    assert files_left(store) == []


@pytest.mark.parametrize("size", [100, 3 << 20], ids=["inline", "threads"])
def test_a_bad_blob_is_the_images_fault(store: Store, size: int) -> None:
    blob = big_layer(size=size)
    other = DiffID(Digest.of(b"other"))
    with pytest.raises(DiffIDMismatchError, match=f"unpacks to {blob.diff_id}"):
        store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=other)
    cut = LayerBlob(blob.tar, blob.blob[:-20])
    with pytest.raises(LayerCorruptError, match="ends early"):
        unpack(store, cut)
    junk = LayerBlob(blob.tar, gzip.compress(b"this is no tar" * 100 + os.urandom(size)))
    with pytest.raises(LayerCorruptError, match="no tar header"):
        unpack(store, junk)
    assert files_left(store) == []


@pytest.mark.parametrize(
    ("layer", "entry"),
    [
        (LayerTar().file("ok").file("../escape"), "../escape"),
        (LayerTar().link("x", "../../etc/shadow", is_hard=True), "../../etc/shadow"),
        (LayerTar().file("n" * 256), "nnn"),
        (LayerTar().directory("d").link("l", "d", is_hard=True), "l"),
        (LayerTar().file("d/.wh."), ".wh."),
        (LayerTar().link("a", "b").link("b", "a").file("a/x"), "a"),
    ],
)
def test_hostile_entries_are_refused_by_name(store: Store, layer: LayerTar, entry: str) -> None:
    blob = layer.blob()
    with pytest.raises(LayerRefusedError, match=str(blob.descriptor.digest)) as refused:
        unpack(store, blob)
    assert entry in str(refused.value)
    assert files_left(store) == []


def test_bombs_are_refused_while_they_stream(store: Store) -> None:
    plain = LayerTar().file("zeros", bytes(200 << 20)).bytes()
    bomb = LayerBlob(plain, gzip.compress(plain, 9))
    with pytest.raises(LayerRefusedError, match="unpack to more than"):
        unpack(store, bomb)
    many = LayerTar()
    for number in range(1001):
        many.file(str(number))
    with pytest.raises(LayerRefusedError, match="more than 1000 entries"):
        unpack(store, many.blob())
    assert files_left(store) == []


def test_stop_leaves_nothing(store: Store) -> None:
    blob, flag = big_layer(), StopFlag()

    class Source(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1 << 20:
                flag.stop()
            return super().read(size)

    with pytest.raises(StoppedError):
        store.layers.unpack(Source(blob.blob), descriptor=blob.descriptor, diff_id=blob.diff_id, stop=flag)
    assert files_left(store) == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("layer-")] in ([], ["layer-sync"])


def test_source_that_fails_leaves_nothing(store: Store) -> None:
    blob = big_layer()

    class Source(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1 << 20:
                raise ConnectionResetError("cut")
            return super().read(size)

    with pytest.raises(ConnectionResetError):
        store.layers.unpack(Source(blob.blob), descriptor=blob.descriptor, diff_id=blob.diff_id)
    assert files_left(store) == []


def test_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    small, image = tmp_path / "small", tmp_path / "image"
    small.mkdir()
    with image.open("wb") as file:
        file.truncate(24 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, small], check=True)
    try:
        for form in FORMS:
            with open_store(small / form.value, StoreSettings(snapshotter=form)) as store:
                with pytest.raises(DiskFullError, match="remove unused images"):
                    unpack(store, big_layer(size=40 << 20))
                assert files_left(store) == []
                unpack(store, big_layer(size=1 << 20))
    finally:
        unmount_all_below(small)


def test_exact_tar_comes_back(store: Store) -> None:
    plain = big_layer().tar + b"trailing bytes after the end of the archive"
    diff_id = unpack(store, gzipped(plain))
    with store.layers.tar_stream(diff_id) as tar:
        assert tar.size_bytes == len(plain)
        assert tar.read(10) + tar.read() == plain
    assert store.layers.verify(diff_id)


@pytest.mark.parametrize("where", [0.5, 0.9999])
def test_layer_altered_on_disk_is_found_and_fetched_again(erofs: Store, where: float) -> None:
    blob = big_layer()
    diff_id = unpack(erofs, blob)
    layer = erofs.layers.get(diff_id)
    assert layer is not None
    used = 4096 + len(blob.tar) if where == 0.5 else layer.path.stat().st_size - 2048
    layer.path.chmod(0o600)
    with layer.path.open("r+b") as file:
        file.seek(int(used * where) if where == 0.5 else 4096 + (len(blob.tar) + 4095) // 4096 * 4096 + 70)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    assert erofs.layers.verify(diff_id) is False
    assert [(one.kind, one.key) for one in erofs.check() if one.kind is FindingKind.CORRUPT_LAYER] == [
        (FindingKind.CORRUPT_LAYER, diff_id)
    ]
    erofs.check(repair=True)
    assert erofs.layers.get(diff_id) is None
    unpack(erofs, blob)
    assert erofs.layers.verify(diff_id)


@pytest.mark.parametrize("is_torn", [False, True])
def test_layer_not_synced_before_a_power_cut_is_proved_or_dropped(tmp_path: Path, is_torn: bool) -> None:
    blob = big_layer()
    with open_store(tmp_path / "s") as store:
        layer = store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
        store.layers.sync()
        forget = "UPDATE layers SET is_synced = 0, boot_id = 'another boot'"
        store.layer_records.write(lambda db: db.execute(forget))
    if is_torn:
        layer.path.chmod(0o600)
        os.truncate(layer.path, 1 << 20)
        os.truncate(layer.path, layer.tar_bytes + (1 << 20))
    with open_store(tmp_path / "s") as store:
        assert (store.layers.get(blob.diff_id) is None) == is_torn
        assert layer.path.exists() != is_torn
        unpack(store, blob)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with open_store(tmp_path / "s"), pytest.raises(StoreLockedError):
        open_store(tmp_path / "s")


def test_many_threads_want_the_same_layer(store: Store) -> None:
    blob, reads = big_layer(), []

    class Source(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == 0:
                reads.append(1)
            return super().read(size)

    def work() -> None:
        store.layers.unpack(Source(blob.blob), descriptor=blob.descriptor, diff_id=blob.diff_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1


def test_memory_does_not_grow_with_the_layer(tmp_path: Path) -> None:
    """A fresh process unpacks 1 GiB; its peak stays under 200 MB."""
    script = """
import hashlib, random, re, sys, tarfile
from pathlib import Path
from pullet.kit.clock import SystemClock
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest, DiffID
from pullet.store.store import Store
import zlib
piece = random.Random(1).randbytes(1 << 16) + bytes(15 << 16)
head = tarfile.TarInfo("big"); head.size = len(piece) * 1024
def tar():
    yield head.tobuf()
    for _ in range(1024): yield piece
    yield bytes(1024)
packer, diff, blob = zlib.compressobj(1, zlib.DEFLATED, 31), hashlib.sha256(), open(sys.argv[1], "w+b")
for part in tar():
    diff.update(part); blob.write(packer.compress(part))
blob.write(packer.flush()); size = blob.tell(); blob.seek(0)
digest = hashlib.file_digest(blob, "sha256").hexdigest(); blob.seek(0)
with Store.open(Path(sys.argv[2]), clock=SystemClock()) as store:
    store.layers.unpack(blob, descriptor=Descriptor(media_type="", digest=Digest("sha256:" + digest), size=size),
                        diff_id=DiffID("sha256:" + diff.hexdigest()))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
    command = [sys.executable, "-c", script, str(tmp_path / "blob"), str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < 200 << 20


# -- content
def test_blobs_are_put_verified_listed_and_removed(store: Store) -> None:
    digest = Digest.of(b"manifest")
    assert not store.content.has(digest)
    with pytest.raises(DigestMismatchError):
        store.content.put(digest, b"else")
    store.content.put(digest, b"manifest")
    store.content.put(digest, b"manifest")
    assert store.content.read(digest) == b"manifest"
    assert dict(store.content.list()) == {digest: 8}
    store.content.path(digest).write_bytes(b"MANIFEST")
    with pytest.raises(DigestMismatchError):
        store.content.read(digest)
    assert store.content.remove(digest) == 8
    with pytest.raises(ContentNotFoundError):
        store.content.open(digest)


def test_blobs_synced_later_survive_a_power_cut(tmp_path: Path) -> None:
    """The disk as it is after the sync: a copy of the file the file system lies in."""
    disk, data, gone = tmp_path / "disk", b"document", Digest.of(b"collected meanwhile")
    subprocess.run(["truncate", "-s", "24M", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True)
    for place, source in (("before", disk), ("after", tmp_path / "copy")):
        (tmp_path / place).mkdir()
        subprocess.run(["mount", "-o", "loop", source, tmp_path / place], check=True)
        try:
            with open_store(tmp_path / place / "s") as store:
                if place == "before":
                    store.content.put(Digest.of(data), data, durable=False)
                    store.content.sync([Digest.of(data), gone])
                    subprocess.run(["cp", "--sparse=always", disk, tmp_path / "copy"], check=True)
                assert store.content.read(Digest.of(data)) == data
        finally:
            unmount_all_below(tmp_path / place)


def test_ingest_goes_on_after_a_restart(tmp_path: Path) -> None:
    data = random.Random(2).randbytes(300_000)
    digest = Digest.of(data)
    with open_store(tmp_path / "s") as store:
        ingest = store.content.start_ingest("upload/1")
        ingest.write(data[:100_000])
        ingest.close()
    with open_store(tmp_path / "s") as store:
        ingest = store.content.open_ingest("upload/1")
        assert ingest.offset == 100_000
        with pytest.raises(SizeMismatchError):
            ingest.commit(digest, len(data))
        ingest.write(data[100_000:])
        ingest.commit(digest, len(data))
        assert store.content.read(digest) == data
        with pytest.raises(ContentNotFoundError):
            store.content.open_ingest("upload/1")
        wrong = store.content.start_ingest("upload/2")
        wrong.write(b"x")
        with pytest.raises(DigestMismatchError):
            wrong.commit(digest)
        assert files_left(store) == []


def test_compressed_blobs_are_kept_when_asked(tmp_path: Path) -> None:
    blob = big_layer()
    with open_store(tmp_path / "s", StoreSettings(keep_compressed_blobs=True)) as store:
        unpack(store, blob)
        assert store.content.read(blob.descriptor.digest) == blob.blob


# -- usage
def put_image(store: Store, number: int, layers: list[LayerBlob]) -> ImageID:
    config = b"config %d" % number
    image_id = ImageID(Digest.of(config))
    manifest = Digest.of(b"manifest %d" % number)
    with store.leases.hold(LeaseKind.LAYER, [layer.diff_id for layer in layers]):
        store.content.put(Digest(image_id), config)
        store.content.put(manifest, b"manifest %d" % number)
        for layer in layers:
            unpack(store, layer)
        store.images.put(
            image_id,
            manifest=manifest,
            content=[Digest(image_id)],
            size_bytes=sum(layer.descriptor.size for layer in layers),
            names=[(f"example.org/image:{number}", manifest)],
            layers=[
                ImageLayer(
                    diff_id=layer.diff_id,
                    digest=layer.descriptor.digest,
                    media_type=layer.media_type,
                    size_bytes=layer.descriptor.size,
                )
                for layer in layers
            ],
        )
    return image_id


def test_usage_is_exact(store: Store) -> None:
    shared, one, two = (big_layer(seed, 500_000 * seed) for seed in (1, 2, 3))
    first = put_image(store, 1, [shared, one])
    second = put_image(store, 2, [shared, two])
    disk = {diff_id: size for diff_id, _, size in store.layers.list()}
    usage = {image.id: image for image in store.usage().images}
    documents = len(b"config 1") + len(b"manifest 1")
    assert usage[first].unique_bytes == disk[one.diff_id] + documents
    assert usage[first].shared_bytes == usage[second].shared_bytes == disk[shared.diff_id]
    assert store.freed_by_removing([first, second]) == sum(disk.values()) + 2 * documents
    store.leases.acquire("container/running", LeaseKind.SNAPSHOT, ["running"])
    store.snapshots.prepare("running", [shared.diff_id, two.diff_id])
    assert store.freed_by_removing([first, second]) == disk[one.diff_id] + 2 * documents
    expected = store.freed_by_removing([first])
    store.images.remove(first)
    assert store.gc(is_plan=True).freed_bytes == expected == store.gc().freed_bytes
    assert store.check() == ()
    store.content.remove(second)
    assert [(one.kind, one.key) for one in store.check()] == [(FindingKind.MISSING_BLOB, second)]


def test_names_move_and_images_go(store: Store) -> None:
    layer = LayerTar().file("f").blob()
    first, second = put_image(store, 1, [layer]), put_image(store, 2, [layer])
    name = "example.org/image:1"
    store.images.tag(name, second, Digest.of(b"index"))
    found = store.images.find(name)
    assert found is not None
    assert found.id == second
    assert dict(found.names)[name] == Digest.of(b"index")
    assert store.images.get(first).names == ()
    store.images.set_pinned(first, is_pinned=True)
    assert store.images.get(first).is_pinned
    store.images.remove(second)
    assert store.images.find(name) is None
    with pytest.raises(ContentNotFoundError):
        store.images.get(second)


# -- any tar
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    contents=st.dictionaries(st.text("abé漢", min_size=1, max_size=40), st.binary(max_size=3000), max_size=12),
    frame=st.integers(1, 5000),
)
def test_both_forms_show_the_same_tree(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], frame: int
) -> None:
    layer = LayerTar().directory("d")
    for name, content in contents.items():
        layer.file(f"d/{name}", content)
    plain = layer.bytes()
    members = b"".join(gzip.compress(plain[at : at + frame]) for at in range(0, len(plain), frame))
    trees = []
    for form in FORMS:
        place = tmp_path_factory.mktemp("forms")
        with open_store(place, StoreSettings(snapshotter=form)) as store:
            blob = LayerBlob(plain, members)
            trees.append(read_tree(store.snapshots.view("v", [unpack(store, blob)]).path))
        unmount_all_below(place)
    assert trees[0] == trees[1]
    assert {name[2:] for name in trees[0] if name.startswith("d/")} == set(contents)


def test_descriptor_of_nothing(store: Store) -> None:
    empty = LayerBlob(bytes(1024), gzip.compress(bytes(1024)))
    assert Descriptor(media_type="", digest=empty.descriptor.digest, size=1).size == 1
    assert list(store.snapshots.view("v", [unpack(store, empty)]).path.iterdir()) == []

"""Whatever happens in whatever order, collection never takes what something needs, and takes all the rest."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pullet.kit.clock import SystemClock
from pullet.oci.digest import DiffID, Digest, ImageID
from pullet.store.check import FindingKind
from pullet.store.gc import Collected
from pullet.store.images import ImageLayer
from pullet.store.leases import LeaseKind
from pullet.store.mounts import unmount_all_below
from pullet.store.settings import SnapshotterChoice, StoreSettings
from pullet.store.store import Store
from pullet.testing.layer_tars import LayerTar

pytestmark = pytest.mark.root

# the upper layers leave out the directory that the lowest brings: their chains need supplements
LAYERS = [LayerTar().directory("d", mode=0o700).file("d/0").blob()] + [
    LayerTar().file(f"d/{number}", b"x" * number).blob() for number in range(1, 5)
]
INDEX = st.integers(0, len(LAYERS) - 1)
STACK = st.lists(INDEX, min_size=1, max_size=4)


class Collection(RuleBasedStateMachine):
    """The store beside a model of who needs what."""

    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.root = Path(self.place.name) / "store"
        self.store = self.reopened(None)
        self.images: dict[int, list[int]] = {}
        self.snapshots: dict[str, list[int]] = {}
        self.containers: set[str] = set()  # snapshots that are leased, as the engine's are
        self.leases: dict[str, int] = {}
        self.retained: set[int] = set()
        self.wanted: set[int] = set()  # pushed blobs that somebody leases
        self.pulls: dict[str, tuple[list[int], int]] = {}  # under way: layers and config by owner of the lease
        self.rotten: set[Digest] = set()
        self.lost: set[Digest] = set()
        self.numbers = itertools.count()

    def reopened(self, before: Store | None) -> Store:
        if before is not None:
            before.close()
        return Store.open(self.root, clock=SystemClock(), settings=StoreSettings(snapshotter=SnapshotterChoice.EROFS))

    def unpack(self, indexes: list[int]) -> list[DiffID]:
        for index in indexes:
            blob = LAYERS[index]
            self.store.layers.unpack(blob.open(), descriptor=blob.descriptor, diff_id=blob.diff_id)
        return [LAYERS[index].diff_id for index in indexes]

    def collect_now(self) -> Collected:
        done = self.store.gc()
        self.rotten -= {Digest(blob) for blob in done.blobs}
        return done

    def put(self, blob: bytes) -> Digest:
        digest = Digest.of(blob)
        self.store.content.put(digest, blob)
        self.rotten.discard(digest)
        self.lost.discard(digest)
        return digest

    @initialize(indexes=STACK)
    def first(self, indexes: list[int]) -> None:
        self.pull(0, indexes)

    @rule(number=st.integers(0, 3), indexes=STACK)
    def pull(self, number: int, indexes: list[int]) -> None:
        config = b"config %d" % number
        image_id = ImageID(Digest.of(config))
        with self.store.leases.hold(LeaseKind.LAYER, [LAYERS[index].diff_id for index in indexes]):
            self.unpack(indexes)
            self.put(config)
            self.store.images.put(
                image_id,
                manifest=Digest(image_id),
                content=[],
                size_bytes=1,
                layers=[
                    ImageLayer(
                        diff_id=LAYERS[index].diff_id,
                        digest=LAYERS[index].descriptor.digest,
                        media_type="",
                        size_bytes=1,
                    )
                    for index in indexes
                ],
            )
        self.images[number] = indexes

    @rule(number=st.integers(0, 3))
    def remove_image(self, number: int) -> None:
        self.store.images.remove(Digest.of(b"config %d" % number))
        self.images.pop(number, None)

    @precondition(lambda self: self.images)
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.images)))
        key = f"c{next(self.numbers)}"
        self.store.snapshots.prepare(key, [LAYERS[index].diff_id for index in self.images[number]])
        self.snapshots[key] = self.images[number]

    @precondition(lambda self: self.images)
    @rule(data=st.data())
    def run_container(self, data: st.DataObject) -> None:
        """As the engine does: leases first, then the snapshot; collection may come in between, and a removal."""
        number = data.draw(st.sampled_from(sorted(self.images)))
        key, stack = f"c{next(self.numbers)}", self.images[number]
        diff_ids = [LAYERS[index].diff_id for index in stack]
        self.store.leases.acquire(f"container/{key}", LeaseKind.LAYER, diff_ids)
        self.store.leases.acquire(f"container/{key}", LeaseKind.SNAPSHOT, [key])
        if data.draw(st.booleans()):
            self.remove_image(number)
            self.collect_now()
        self.store.snapshots.prepare(key, diff_ids)
        self.snapshots[key] = stack
        self.containers.add(key)

    @rule(indexes=STACK, number=st.integers(4, 6))
    def begin_pull(self, indexes: list[int], number: int) -> None:
        """What is fetched is held, though nothing is recorded yet."""
        owner, config = self.store.leases.make_held_owner(), b"config %d" % number
        self.store.leases.acquire(owner, LeaseKind.LAYER, [LAYERS[index].diff_id for index in indexes])
        self.store.leases.acquire(owner, LeaseKind.CONTENT, [Digest.of(config)])
        self.unpack(indexes)
        self.put(config)
        self.pulls[owner] = indexes, number

    @precondition(lambda self: self.pulls)
    @rule(data=st.data())
    def give_up_pull(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.pulls)))
        self.store.leases.release(owner)
        del self.pulls[owner]

    @rule(number=st.integers(0, 3))
    def want(self, number: int) -> None:
        digest = self.put(b"pushed %d" % number)
        self.store.leases.acquire(f"w{number}", LeaseKind.CONTENT, [digest])
        self.wanted.add(number)

    @rule(number=st.integers(0, 3))
    def want_no_more(self, number: int) -> None:
        self.store.leases.release(f"w{number}")
        self.wanted.discard(number)

    @precondition(lambda self: self.images)
    @rule(data=st.data())
    def rot(self, data: st.DataObject) -> None:
        """The disk gives back other bytes of a config."""
        digest = Digest.of(b"config %d" % data.draw(st.sampled_from(sorted(self.images))))
        if digest not in self.lost:
            self.store.content.path(digest).write_bytes(b"rotten")
            self.rotten.add(digest)

    @rule()
    def repair(self) -> None:
        """What is rotten goes, and so does what nobody needs; nothing else does."""
        found = self.store.check(repair=True)
        corrupt = {finding.key for finding in found if finding.kind is FindingKind.CORRUPT_BLOB}
        assert corrupt == self.rotten
        assert not any(finding.kind is FindingKind.CORRUPT_LAYER for finding in found)
        self.lost |= self.rotten
        self.rotten.clear()
        for key in [key for key in self.snapshots if key not in self.containers]:
            del self.snapshots[key]
        left = {finding.kind for finding in self.store.check()}
        assert left <= {FindingKind.MISSING_BLOB}
        self.collect()

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.snapshots)))
        self.store.snapshots.remove(key)
        self.store.leases.release(f"container/{key}")
        self.containers.discard(key)
        del self.snapshots[key]

    @rule(index=INDEX)
    def lease(self, index: int) -> None:
        self.store.leases.acquire(f"l{index}", LeaseKind.LAYER, self.unpack([index]))
        self.leases[f"l{index}"] = index

    @rule(index=INDEX)
    def release(self, index: int) -> None:
        self.store.leases.release(f"l{index}")
        self.leases.pop(f"l{index}", None)

    @rule(number=st.integers(0, 3))
    def push(self, number: int) -> None:
        self.store.content.retain(f"repository/{number}", [self.put(b"pushed %d" % number)])
        self.retained.add(number)

    @rule(number=st.integers(0, 3))
    def delete(self, number: int) -> None:
        self.store.content.release(f"repository/{number}")
        self.retained.discard(number)

    @rule(index=INDEX)
    def leave_an_orphan(self, index: int) -> None:
        self.unpack([index])

    @rule()
    def restart(self) -> None:
        """What belonged to the process that ended is held no more."""
        self.store = self.reopened(self.store)
        self.pulls.clear()

    @rule()
    def collect(self) -> None:
        plan, done = self.store.gc(is_plan=True), self.collect_now()
        assert plan == done
        needed = {index for stack in [*self.images.values(), *self.snapshots.values()] for index in stack}
        needed |= {*self.leases.values(), *(index for stack, _ in self.pulls.values() for index in stack)}
        ours = {blob.diff_id for blob in LAYERS}
        assert {diff_id for diff_id, _, _ in self.store.layers.list()} & ours == {LAYERS[i].diff_id for i in needed}
        assert {digest for digest, _ in self.store.content.list()} == {
            *(Digest.of(b"config %d" % number) for number in self.images),
            *(Digest.of(b"config %d" % number) for _, number in self.pulls.values()),
            *(Digest.of(b"pushed %d" % number) for number in self.retained | self.wanted),
        } - self.lost

    @invariant()
    def everything_needed_can_be_read(self) -> None:
        for key, indexes in self.snapshots.items():
            mounted = self.store.snapshots.mounts(key)
            assert mounted is not None
            for index in indexes:
                assert (mounted.path / f"d/{index}").stat().st_size == index
        for stack in self.images.values():
            assert all(self.store.layers.get(LAYERS[index].diff_id) is not None for index in stack)

    def teardown(self) -> None:
        self.store.close()
        unmount_all_below(self.root)
        self.place.cleanup()


Collection.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestCollection = Collection.TestCase

"""The facade: opens the parts of one store under one root directory and wires them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.store.content import ContentStore
from pullet.store.erofs_layers import ErofsLayers
from pullet.store.errors import StoreError, StoreLockedError
from pullet.store.gc import Collected, Collector
from pullet.store.images import Images
from pullet.store.layer_form import LayerForms
from pullet.store.layer_mounts import ErofsMounts, LayerDirectories, PlainDirectories
from pullet.store.layer_records import LayerRecords, read_boot_id
from pullet.store.layers import Layers
from pullet.store.leases import Leases
from pullet.store.metadata import open_database
from pullet.store.native import IS_COMPILED
from pullet.store.overlay_snapshotter import OverlaySnapshotter
from pullet.store.probe import ProbeResult, probe
from pullet.store.settings import StoreSettings
from pullet.store.snapshot_records import SnapshotRecords
from pullet.store.snapshotter import Snapshotter
from pullet.store.usage import Filesystem, StoreUsage, UsageMeter, measure_filesystem

if TYPE_CHECKING:
    from pullet.store.check import Finding


class StoreStatus(Value):
    """What `pullet status` says of the store."""

    root: Path
    snapshotter: str
    explanation: str  # why this snapshotter
    unpacker: str  # what reads headers and makes files


class Store:
    """One store: `content`, `layers`, `images`, `leases`, `snapshots`. Thread-safe; every call blocks.

    One process at a time (a lock file sees to it). Closing leaves snapshots mounted.
    """

    content: ContentStore
    layers: Layers
    images: Images
    leases: Leases
    snapshots: Snapshotter

    def __init__(self, root: Path, *, clock: Clock, settings: StoreSettings, lock: int) -> None:
        """Use `Store.open`."""
        self.root, self.settings = root, settings
        self._lock = lock
        self._database = open_database(root)
        self._probe: ProbeResult = probe(root, settings.snapshotter)
        self.content = ContentStore(root, self._database)
        self.images = Images(self._database, clock)
        self.leases = Leases(self._database, clock)
        self.layer_records = LayerRecords(self._database, clock, read_boot_id())
        self.snapshot_records = SnapshotRecords(self._database, clock)
        form, directories = self._form()
        self.layers = Layers(form=form, records=self.layer_records, content=self.content, settings=settings)
        self.layers.sweep_leftovers()
        self.layers.sync_leftovers()
        self.snapshots = OverlaySnapshotter(
            root=root,
            layers=self.layers,
            layer_records=self.layer_records,
            records=self.snapshot_records,
            directories=directories,
            form=form.form,
            userxattr=self._probe.userxattr,
        )

        self._collector = Collector(
            database=self._database, content=self.content, layers=self.layers, layer_records=self.layer_records
        )
        self._meter = UsageMeter(
            images=self.images, layers=self.layers, content=self.content, leases=self.leases,
            snapshots=self.snapshot_records,
        )  # fmt: skip

    def _form(self) -> tuple[LayerForms, LayerDirectories]:
        if self._probe.backing is None:
            from pullet.store.directory_layers import DirectoryLayers  # here: elsewhere it is not needed

            trees = DirectoryLayers(self.root, self.settings.limits, userxattr=self._probe.userxattr)
            return trees, PlainDirectories()
        return ErofsLayers(self.root, self.settings.limits), ErofsMounts(self.root, self._probe.backing)

    @classmethod
    def open(cls, root: Path, *, clock: Clock, settings: StoreSettings | None = None) -> Store:
        """Open (or make) the store at `root` and take away what a crash left. Blocking.

        Raises:
            StoreLockedError: another process has it open.
            SchemaTooNewError: a newer pullet wrote it.
            StoreError: the directory cannot be written; the snapshotter demanded by the settings does not work here.
        """
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            root = root.resolve()
            lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(f"the store at {root} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StoreLockedError(f"the store at {root} is in use by another process") from error
        try:
            return cls(root, clock=clock, settings=settings or StoreSettings(), lock=lock)
        except BaseException:
            os.close(lock)
            raise

    def status(self) -> StoreStatus:
        """Which snapshotter was chosen, and why."""
        unpacker = "compiled code" if IS_COMPILED else "Python alone (there was no C compiler, or PULLET_NATIVE=off)"
        return StoreStatus(self.root, self.snapshots.form, self._probe.explanation, unpacker)

    def gc(self, *, is_plan: bool = False) -> Collected:
        """Remove every layer and blob that no image, snapshot, lease or repository needs (or say which would go)."""
        return self._collector.plan() if is_plan else self._collector.collect()

    def drop_layer_blobs(self, digests: Collection[str]) -> None:
        """These blobs' layers are unpacked: unless blobs are to be kept, or are held for something else, they go."""
        if not self.settings.keep_compressed_blobs:
            self._collector.drop_layer_blobs(digests)

    def usage(self) -> StoreUsage:
        """Disk use per image, unique and shared."""
        return self._meter.measure()

    def freed_by_removing(self, image_ids: Collection[str]) -> int:
        """Bytes that removing these images together, and collecting, would free."""
        return self._meter.freed_by_removing(image_ids)

    def filesystem(self) -> Filesystem:
        """The file system that holds the store."""
        return measure_filesystem(self.root)

    def check(self, *, repair: bool = False) -> tuple[Finding, ...]:
        """Verify everything here against its digest and report (or mend) what is wrong. Takes long."""
        from pullet.store.check import Checker  # here: a pull should not pay for it

        checker = Checker(
            content=self.content,
            layers=self.layers,
            images=self.images,
            collector=self._collector,
            snapshots=self.snapshots,
            leases=self.leases,
        )
        return checker.check(repair=repair)

    def close(self) -> None:
        """Stop the background work and let go of the store. Snapshots stay mounted."""
        self.layers.close()
        self.snapshots.close()
        self._database.close()
        os.close(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

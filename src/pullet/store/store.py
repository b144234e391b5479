"""The facade: opens the parts of one store under one root directory and wires them."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from pullet.kit.clock import Clock
from pullet.store.content import ContentStore
from pullet.store.erofs_layers import ErofsLayers
from pullet.store.errors import StoreLockedError
from pullet.store.images import Images
from pullet.store.layer_form import LayerForms
from pullet.store.layer_mounts import ErofsMounts, LayerDirectories
from pullet.store.layer_records import LayerRecords, read_boot_id
from pullet.store.layers import Layers
from pullet.store.leases import Leases
from pullet.store.metadata import open_database
from pullet.store.overlay_snapshotter import OverlaySnapshotter
from pullet.store.probe import ProbeResult, probe
from pullet.store.settings import StoreSettings
from pullet.store.snapshot_records import SnapshotRecords
from pullet.store.snapshotter import Snapshotter


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """What `pullet status` says of the store."""

    root: Path
    snapshotter: str
    explanation: str  # why this snapshotter


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
        self.snapshots = OverlaySnapshotter(
            root=root,
            layers=self.layers,
            layer_records=self.layer_records,
            records=self.snapshot_records,
            directories=directories,
            form=form.form,
        )

    def _form(self) -> tuple[LayerForms, LayerDirectories]:
        assert self._probe.backing is not None
        return ErofsLayers(self.root, self.settings.limits), ErofsMounts(self.root, self._probe.backing)

    @classmethod
    def open(cls, root: Path, *, clock: Clock, settings: StoreSettings | None = None) -> Store:
        """Open (or make) the store at `root` and take away what a crash left. Blocking.

        Raises:
            StoreLockedError: another process has it open.
            SchemaTooNewError: a newer pullet wrote it.
            StoreError: the snapshotter demanded by the settings does not work here.
        """
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        root = root.resolve()
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
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
        return StoreStatus(self.root, self.snapshots.form, self._probe.explanation)

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

"""Garbage collection: mark from images, leases, snapshots and retained content; sweep the rest.

Marking and deciding happen in one write transaction, and removal is a rename inside it. So a pull that takes its lease
before it looks whether a layer is here can never lose it in between: either the lease was seen, or the layer is gone
already and will be fetched.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection

from pullet.base.values import Value
from pullet.kit.sqlite import Database
from pullet.oci.digest import DiffID
from pullet.oci.identity import chain_ids
from pullet.store.content import ContentStore
from pullet.store.layer_records import LayerRecords
from pullet.store.layers import Layers
from pullet.store.leases import LeaseKind


class Collected(Value):
    """What a collection removed (or, as a plan, would remove)."""

    layers: tuple[str, ...]
    blobs: tuple[str, ...]
    freed_bytes: int  # allocated on disk


class Collector:
    """Collects one store. Any thread; collections do not overlap with themselves in harm."""

    def __init__(
        self, *, database: Database, content: ContentStore, layers: Layers, layer_records: LayerRecords
    ) -> None:
        self._database, self._content, self._layers, self._records = database, content, layers, layer_records

    def plan(self) -> Collected:
        """What `collect` would remove now."""
        wanted_layers = self._database.read_blocking(referenced_layers)
        wanted_blobs = self._database.read_blocking(referenced_blobs)
        layers = [(diff_id, disk) for diff_id, _, disk in self._layers.list() if diff_id not in wanted_layers]
        blobs = [(digest, size) for digest, size in self._content.list() if digest not in wanted_blobs]
        return Collected(
            tuple(diff_id for diff_id, _ in layers),
            tuple(digest for digest, _ in blobs),
            sum(size for _, size in layers + blobs),
        )

    def collect(self) -> Collected:
        """Remove what nothing needs."""
        sizes = {str(diff_id): disk for diff_id, _, disk in self._layers.list()}
        layers = self._layers.remove_unreferenced(referenced_layers)
        blobs = self._content.remove_unreferenced(referenced_blobs)
        self._records.forget_supplements(self._database.read_blocking(_chains))
        freed = sum(sizes.get(diff_id, 0) for diff_id in layers) + sum(blobs.values())
        return Collected(tuple(layers), tuple(blobs), freed)

    def drop_layer_blobs(self, digests: Collection[str]) -> None:
        """Remove the compressed blobs of layers that are unpacked, but for those a repository or a lease holds."""

        def decide(db: sqlite3.Connection) -> None:
            held = {digest for (digest,) in db.execute("SELECT digest FROM content_refs")} | _leased_blobs(db)
            for digest in set(digests) - held:
                self._content.remove(digest)

        self._database.write_blocking(decide)


def referenced_layers(db: sqlite3.Connection) -> frozenset[str]:
    """DiffIDs that an image, a snapshot or a lease needs, with the supplements of their chains."""
    wanted = {diff_id for stack in _stacks(db) for diff_id in stack}
    wanted.update(key for (key,) in db.execute("SELECT key FROM leases WHERE kind = ?", (LeaseKind.LAYER.value,)))
    chains = _chains(db)
    wanted.update(
        diff_id for chain, diff_id in db.execute("SELECT chain_id, diff_id FROM supplements") if chain in chains
    )
    return frozenset(wanted)


def referenced_blobs(db: sqlite3.Connection) -> frozenset[str]:
    """Digests that an image, a repository or a lease needs; an image keeps its layers' blobs if they are here."""
    wanted = {digest for (digest,) in db.execute("SELECT digest FROM image_content")}
    wanted.update(digest for (digest,) in db.execute("SELECT digest FROM image_layers"))
    wanted.update(image_id for (image_id,) in db.execute("SELECT id FROM images"))
    wanted.update(digest for (digest,) in db.execute("SELECT digest FROM content_refs"))
    return frozenset(wanted | _leased_blobs(db))


def _leased_blobs(db: sqlite3.Connection) -> set[str]:
    return {key for (key,) in db.execute("SELECT key FROM leases WHERE kind = ?", (LeaseKind.CONTENT.value,))}


def _stacks(db: sqlite3.Connection) -> list[list[str]]:
    """Every stack of layers that may be mounted: of images and of snapshots, lowest first."""
    images: dict[str, list[str]] = {}
    for image_id, diff_id in db.execute("SELECT image_id, diff_id FROM image_layers ORDER BY image_id, position"):
        images.setdefault(image_id, []).append(diff_id)
    return [*images.values(), *(json.loads(text) for (text,) in db.execute("SELECT diff_ids FROM snapshots"))]


def _chains(db: sqlite3.Connection) -> frozenset[str]:
    return frozenset(chain for stack in _stacks(db) for chain in chain_ids([DiffID(text) for text in stack]))

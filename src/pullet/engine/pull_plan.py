"""What a pull has to do: the name resolved, the platform chosen, the documents here, the layers listed. Blocking.

Documents that are here already are not requested, so an unchanged tag costs the one request that resolves it.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from pullet.base.values import State, Value
from pullet.engine.errors import PullStep, worded
from pullet.engine.pull_errors import NoPlatformError, NotAnImageError
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import DiffID, Digest, ImageID
from pullet.oci.image_config import ImageConfig, decode_image_config
from pullet.oci.manifest import Index, Manifest, decode_manifest
from pullet.oci.platform import Platform, describe, rank
from pullet.oci.reference import Reference
from pullet.registry.client import RegistryClient
from pullet.registry.transport import Caller
from pullet.store.content import ContentStore
from pullet.store.errors import ContentNotFoundError, DigestMismatchError
from pullet.store.leases import LeaseKind, Leases

MAX_INDEX_DEPTH: Final = 4


class LocalSource(Protocol):
    """A registry that keeps its content in the very store that pulls go to."""

    def resolve(self, host: str, repository: str, identifier: str) -> Descriptor | None:
        """The manifest for a tag or digest, if `host` (with port) is that registry and has it. Blocking."""
        ...


class PlannedLayer(Value, kw_only=True):
    """One layer: its blob and what that unpacks to."""

    blob: Descriptor
    diff_id: DiffID


class PullPlan(Value, kw_only=True):
    """All that is known before the layers are fetched. The documents are in the content store."""

    reference: Reference
    target: Descriptor  # what the name stands for: index or manifest
    manifest_digest: Digest
    manifest: Manifest
    config: ImageConfig
    layers: tuple[PlannedLayer, ...]  # lowest first
    documents: frozenset[Digest]  # not known to be on the disk itself where any was fetched
    host: str  # that resolved the name
    is_local: bool = False
    fetched_bytes: int = 0

    @property
    def image_id(self) -> ImageID:
        """The image's id."""
        return ImageID(str(self.manifest.config.digest))

    @property
    def names(self) -> tuple[tuple[str, Digest], ...]:
        """The names to point at the image: `repository@digest`, and `repository:tag` unless a digest was asked for."""
        digest = self.target.digest
        names = [(f"{self.reference.repository}@{digest}", digest)]
        if self.reference.digest is None:
            names.append((f"{self.reference.repository}:{self.reference.tag}", digest))
        return tuple(names)


class PullPlanner(State, kw_only=True):
    """Makes the plan of one pull."""

    registry: RegistryClient
    content: ContentStore
    leases: Leases
    platform: Platform
    local_source: LocalSource | None
    reference: Reference
    caller: Caller
    lease_owner: str
    _documents: set[Digest] = msgspec.field(default_factory=set)
    _fetched_bytes: int = 0

    def plan(self) -> PullPlan:
        """Resolve and fetch what is missing of manifest and config.

        Raises:
            CriError: whatever went wrong, worded.
            StoppedError: the caller's stop was set.
        """
        with worded(self._step()):
            target, host, is_local = self._resolve()
        descriptor, manifest = self._manifest(target, 0)
        config = self._config(manifest)
        return PullPlan(
            reference=self.reference,
            target=target,
            manifest_digest=descriptor.digest,
            manifest=manifest,
            config=config,
            layers=tuple(
                PlannedLayer(blob=blob, diff_id=diff_id)
                for blob, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
            ),
            documents=frozenset(self._documents),
            host=host,
            is_local=is_local,
            fetched_bytes=self._fetched_bytes,
        )

    def _step(self, content: Descriptor | None = None) -> PullStep:
        return PullStep(reference=str(self.reference), content=content)

    def _resolve(self) -> tuple[Descriptor, str, bool]:
        if self.local_source is not None:
            host = self.registry.hosts(self.reference)[0]
            found = self.local_source.resolve(host, self.reference.path, self.reference.identifier)
            if found is not None:
                return found, host, True
        resolved = self.registry.resolve(self.reference, self.caller)
        return resolved.descriptor, resolved.endpoint.host, False

    def _manifest(self, descriptor: Descriptor, depth: int) -> tuple[Descriptor, Manifest]:
        with worded(self._step(descriptor)):
            raw = self._stored(descriptor)
            if raw is None:
                raw = self.registry.fetch_manifest(self.reference, descriptor, self.caller)
                self._store(descriptor, raw)
            document = decode_manifest(raw, descriptor.media_type)
            if isinstance(document.value, Manifest):
                return descriptor, document.value
            if depth == MAX_INDEX_DEPTH:
                raise NotAnImageError(f"the image index is nested more than {MAX_INDEX_DEPTH} deep")
            child = self._choose(document.value)
        return self._manifest(child, depth + 1)

    def _choose(self, index: Index) -> Descriptor:
        """The best child for this machine. Children that name no platform come last, as they may be anything."""
        known = [one for one in index.manifests if one.platform is not None]
        ranked = [
            (place, one)
            for one in known
            if one.platform is not None and (place := rank(one.platform, self.platform)) is not None
        ]
        if ranked:
            return min(ranked, key=lambda pair: pair[0])[1]
        unnamed = [
            one
            for one in index.manifests
            if one.platform is None and (mediatype.is_manifest(one.media_type) or mediatype.is_index(one.media_type))
        ]
        if unnamed:
            return unnamed[0]
        available = describe([one.platform for one in known if one.platform is not None])
        raise NoPlatformError(wanted=str(self.platform), available=available)

    def _config(self, manifest: Manifest) -> ImageConfig:
        descriptor = manifest.config
        with worded(self._step(descriptor)):
            if not mediatype.is_config(descriptor.media_type):
                kind = manifest.artifact_type or descriptor.media_type
                raise NotAnImageError(f"{self.reference} is not a container image but an artifact of type {kind}")
            raw = self._stored(descriptor)
            if raw is None:
                raw = self.registry.fetch_config(self.reference, descriptor, self.caller)
                self._store(descriptor, raw)
            config = decode_image_config(raw).value
            if len(config.diff_ids) != len(manifest.layers):
                raise NotAnImageError(
                    f"the manifest has {len(manifest.layers)} layers and the image config {len(config.diff_ids)}: "
                    "mismatched image rootfs and manifest layers"
                )
        return config

    def _stored(self, descriptor: Descriptor) -> bytes | None:
        self._documents.add(descriptor.digest)
        self.leases.acquire(self.lease_owner, LeaseKind.CONTENT, [descriptor.digest])
        if not self.content.has(descriptor.digest):
            return None
        try:
            return self.content.read(descriptor.digest)
        except (ContentNotFoundError, DigestMismatchError):
            return None  # collected meanwhile, or damaged on disk: fetched anew

    def _store(self, descriptor: Descriptor, raw: bytes) -> None:
        self._fetched_bytes += len(raw)
        self.content.put(descriptor.digest, raw, durable=False)  # the pull syncs it while the layers come

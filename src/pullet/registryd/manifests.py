"""What may be stored as a manifest, and what it must find in the registry first."""

from __future__ import annotations

import msgspec

from pullet.oci import mediatype
from pullet.oci.digest import Digest
from pullet.oci.distribution import ErrorCode
from pullet.oci.manifest import Index, Manifest, ManifestInvalidError, decode_manifest
from pullet.registryd.catalogue import Catalogue, ManifestRow
from pullet.registryd.errors import RefusedError
from pullet.store.content import ContentStore

MAX_MANIFEST_BYTES = 4 << 20


class ManifestStore:
    """Manifests of all repositories over the catalogue and the content store. All methods block."""

    def __init__(self, catalogue: Catalogue, content: ContentStore) -> None:
        self._catalogue, self._content = catalogue, content

    def put(self, repository: str, reference: str, raw: bytes, media_type: str) -> ManifestRow:
        """Check and store; `reference` is a tag or the digest the bytes must have.

        Raises:
            RefusedError: not a manifest, another digest than claimed, or parts of it that were not pushed yet.
        """
        is_digest = ":" in reference
        digest = Digest.of(raw, Digest(reference).algorithm if is_digest else "sha256")
        if is_digest and digest != reference:
            raise RefusedError(400, ErrorCode.DIGEST_INVALID, f"the manifest's digest is {digest}, not {reference}")
        try:
            value = decode_manifest(raw, mediatype.normalise(media_type)).value
        except ManifestInvalidError as error:
            raise RefusedError(400, ErrorCode.MANIFEST_INVALID, str(error)) from error
        self._check_parts(repository, value)
        self._content.put(digest, raw)
        parts = _parts(value)
        self._content.retain(_owner(repository, digest), [digest, *parts])
        row = ManifestRow(
            digest=digest,
            media_type=value.media_type or mediatype.normalise(media_type),
            size_bytes=len(raw),
            subject=str(value.subject.digest) if value.subject is not None else "",
            artifact_type=value.artifact_type or (value.config.media_type if isinstance(value, Manifest) else ""),
            annotations=value.annotations or {},
        )
        self._catalogue.put_manifest(repository, row, None if is_digest else reference)
        return row

    def delete(self, repository: str, digest: str) -> bool:
        """Remove a manifest and let go of its parts; whether it was there."""
        self._content.release(_owner(repository, digest))
        return self._catalogue.delete_manifest(repository, digest)

    def _check_parts(self, repository: str, value: Manifest | Index) -> None:
        if isinstance(value, Index):
            missing = [str(d.digest) for d in value.manifests if self._catalogue.manifest(repository, d.digest) is None]
        else:
            wanted = [value.config, *(layer for layer in value.layers if not layer.urls)]
            missing = [str(d.digest) for d in wanted if not self.adopt_blob(repository, d.digest)]
        if missing:
            detail = [{"digest": digest} for digest in missing]
            raise RefusedError(
                404 if isinstance(value, Index) else 400,
                ErrorCode.MANIFEST_BLOB_UNKNOWN,
                f"the manifest names content that is not in this repository: {', '.join(missing)}",
                detail,
            )

    def adopt_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository can have the blob: its own, or the empty descriptor's well-known content."""
        if self._catalogue.has_blob(repository, digest) and self._content.has(digest):
            return True
        empty = Digest.of(b"{}")
        if digest == empty:
            self._content.put(empty, b"{}")
            self._catalogue.add_blobs(repository, [empty])
            return True
        return False


def _parts(value: Manifest | Index) -> list[Digest]:
    if isinstance(value, Index):
        return [descriptor.digest for descriptor in value.manifests]
    return [value.config.digest, *(layer.digest for layer in value.layers)]


def _owner(repository: str, digest: str) -> str:
    return f"registry/{repository}@{digest}"


def referrers_index(rows: list[ManifestRow]) -> bytes:
    """The answer of the referrers API. Source: distribution-spec v1.1, "Listing Referrers"."""
    manifests = [
        {
            "mediaType": row.media_type,
            "digest": str(row.digest),
            "size": row.size_bytes,
            "artifactType": row.artifact_type,
            **({"annotations": row.annotations} if row.annotations else {}),
        }
        for row in rows
    ]
    return msgspec.json.encode({"schemaVersion": 2, "mediaType": mediatype.OCI_INDEX, "manifests": manifests})

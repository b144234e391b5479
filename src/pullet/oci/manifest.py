"""Manifests and indexes, decoded beside their exact bytes. Source: image-spec v1.1 manifest.md, image-index.md."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Generic, TypeVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor, decode_hook, encode_hook
from pullet.oci.digest import Digest

MAX_MANIFEST_BYTES: Final = 8 * 1024 * 1024  # Source: containerd refuses larger manifests
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class ManifestInvalidError(PulletError):
    """The document is not a manifest, index or config that can be used; the text says where it is wrong."""

    reason: ClassVar[str] = "ManifestInvalid"


class SchemaOneError(ManifestInvalidError):
    """A Docker schema 1 manifest: a format that containerd and Docker gave up."""

    reason: ClassVar[str] = "ManifestSchema1"


class Document(Value, Generic[T_co]):
    """A decoded value beside the exact bytes that its digest was taken over."""

    raw: bytes
    value: T_co

    @property
    def digest(self) -> Digest:
        """sha256 of the raw bytes."""
        return Digest.of(self.raw)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One image for one platform: its config and its layers, lowest first."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

    @property
    def size_bytes(self) -> int:
        """Compressed config and layers together: what CRI calls the image's size."""
        return self.config.size + sum(layer.size for layer in self.layers)


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Manifests (or further indexes) for several platforms."""

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None


class _Probe(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int = 2
    media_type: str = ""
    manifests: msgspec.Raw = msgspec.Raw()
    layers: msgspec.Raw = msgspec.Raw()
    config: msgspec.Raw = msgspec.Raw()
    fs_layers: msgspec.Raw = msgspec.Raw()


def decode_json(raw: bytes, wanted: type[T], *, what: str) -> T:
    """Decode a JSON document of ours. Raises ManifestInvalidError, naming `what` and the path of the mistake."""
    try:
        return msgspec.json.decode(raw, type=decodable(wanted), dec_hook=decode_hook)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestInvalidError(f"{what} is not valid: {error}") from error


def encode_json(value: Any) -> bytes:
    """Encode a struct of ours; only for documents made here, never to re-encode what came from outside."""
    return msgspec.json.encode(value, enc_hook=encode_hook)


def decode_manifest(raw: bytes, media_type: str = "") -> Document[Manifest | Index]:
    """Decode a manifest or index of the given media type (of its own `mediaType` or its shape when empty).

    Raises:
        SchemaOneError: Docker schema 1, by media type or by shape.
        ManifestInvalidError: anything else that is no manifest, including a document that could be read both ways.
    """
    if media_type in mediatype.SCHEMA1:
        raise SchemaOneError(_SCHEMA1_TEXT)
    probe = decode_json(raw, _Probe, what="manifest")
    if probe.schema_version == 1 or bytes(probe.fs_layers):
        raise SchemaOneError(_SCHEMA1_TEXT)
    looks_like_index, looks_like_manifest = bytes(probe.manifests) != b"", bytes(probe.layers) != b""
    if looks_like_index and (looks_like_manifest or bytes(probe.config)):
        raise ManifestInvalidError("manifest is not valid: it has both `manifests` and `layers` or `config`")
    kind = media_type if media_type in mediatype.MANIFESTS | mediatype.INDEXES else probe.media_type
    if not kind:
        kind = mediatype.OCI_INDEX if looks_like_index else mediatype.OCI_MANIFEST
    if mediatype.is_index(kind) and looks_like_index:
        return Document(raw, decode_json(raw, Index, what="image index"))
    if mediatype.is_manifest(kind) and not looks_like_index:
        return Document(raw, decode_json(raw, Manifest, what="image manifest"))
    raise ManifestInvalidError(f"manifest is not valid: its content does not fit its media type {kind}")


_SCHEMA1_TEXT: Final = (
    "the image is in Docker schema 1 format (application/vnd.docker.distribution.manifest.v1), which is no longer "
    "supported; push it again with a current client to get schema 2 or OCI"
)

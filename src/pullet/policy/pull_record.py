"""Proofs of access: which credentials once pulled which image, and the intents of pulls under way.

Values, their JSON form on disk, and how a new proof joins an old one. Writing them is the node's.
Source: kubernetes pkg/kubelet/images/pullmanager; kubelet.config.k8s.io v1beta1; kubelet-images spec 11.1, 11.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import ClassVar, TypeVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.errors import PulletError
from pullet.base.values import Value
from pullet.policy.credential_match import CredentialSource, SecretSource, ServiceAccountSource, TrackedCredential

API_VERSION = "kubelet.config.k8s.io/v1beta1"
_READABLE_VERSIONS = (API_VERSION, "kubelet.config.k8s.io/v1alpha1")


class PullRecordInvalidError(PulletError):
    """A record or intent on disk cannot be read; it counts as missing."""

    reason: ClassVar[str] = "PullRecordInvalid"


class RecordedSecret(Value):
    """A Secret whose content pulled the image."""

    source: SecretSource
    credential_hash: str


class ImageAccess(Value):
    """Who may use an image under one name. `node_pods_accessible`: every pod of this node."""

    secrets: tuple[RecordedSecret, ...] = ()
    service_accounts: tuple[ServiceAccountSource, ...] = ()
    node_pods_accessible: bool = False


class PulledRecord(Value, kw_only=True):
    """Proofs for one image ref, by image name without tag and digest in the user's spelling.

    `last_updated_at` is an RFC 3339 time; it moves only when something changed.
    """

    image_ref: str
    last_updated_at: str
    access: Mapping[str, ImageAccess] = msgspec.field(default_factory=dict)


def access_of(credential: TrackedCredential | None) -> ImageAccess:
    """What a successful pull with that credential (None: anonymous) proves."""
    source: CredentialSource = credential.source if credential is not None else None
    match source:
        case SecretSource():
            assert credential is not None
            return ImageAccess(secrets=(RecordedSecret(source, credential.hash),))
        case ServiceAccountSource():
            return ImageAccess(service_accounts=(source,))
        case None:
            return ImageAccess(node_pods_accessible=True)


def merge_access(
    record: PulledRecord | None, *, image_ref: str, name: str, access: ImageAccess | None, now: str
) -> PulledRecord:
    """The record with the new proof in it; the very same record when it adds nothing.

    `access` None or empty ensures that a record exists, and proves nothing.
    """
    if record is None:
        mapping = {name: access} if access is not None and access != ImageAccess() else {}
        return PulledRecord(image_ref=image_ref, last_updated_at=now, access=mapping)
    if access is None or access == ImageAccess():
        return record
    known = record.access.get(name)
    merged = access if known is None else _join(known, access)
    if merged == known:
        return record
    return msgspec.structs.replace(record, last_updated_at=now, access={**record.access, name: merged})


def _join(known: ImageAccess, new: ImageAccess) -> ImageAccess:
    if known.node_pods_accessible:
        return known  # never narrowed
    if new.node_pods_accessible:
        return ImageAccess(node_pods_accessible=True)
    secrets = {each.source: each for each in (*known.secrets, *new.secrets)}  # of equal sources the new hash wins
    accounts = set(known.service_accounts) | set(new.service_accounts)
    return ImageAccess(
        secrets=tuple(secrets[source] for source in sorted(secrets)), service_accounts=tuple(sorted(accounts))
    )


# --- the form on disk -----------------------------------------------------------------------------------------------


class _SecretJSON(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    uid: str
    namespace: str
    name: str
    credential_hash: str


class _ServiceAccountJSON(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    uid: str
    namespace: str
    name: str


class _AccessJSON(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    kubernetes_secrets: tuple[_SecretJSON, ...] = ()
    kubernetes_service_accounts: tuple[_ServiceAccountJSON, ...] = ()
    node_pods_accessible: bool = False


class _RecordJSON(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    kind: str
    api_version: str
    last_updated_time: str
    image_ref: str
    credential_mapping: dict[str, _AccessJSON] = msgspec.field(default_factory=dict)


class _IntentJSON(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    kind: str
    api_version: str
    image: str


F = TypeVar("F", _RecordJSON, _IntentJSON)


def record_file_name(key: str) -> str:
    """File name of a record (key: image ref) or an intent (key: image as in the pod)."""
    return f"sha256-{hashlib.sha256(key.encode()).hexdigest()}"


def encode_intent(image: str) -> bytes:
    """An intent as the kubelet writes it."""
    return msgspec.json.encode(_IntentJSON("ImagePullIntent", API_VERSION, image))


def decode_intent(data: bytes) -> str:
    """The image of an intent.

    Raises:
        PullRecordInvalidError: not an intent this version reads.
    """
    intent = _decode(data, _IntentJSON, "ImagePullIntent")
    return intent.image


def encode_record(record: PulledRecord) -> bytes:
    """A record as the kubelet writes it."""
    mapping = {
        name: _AccessJSON(
            tuple(
                _SecretJSON(each.source.uid, each.source.namespace, each.source.name, each.credential_hash)
                for each in access.secrets
            ),
            tuple(_ServiceAccountJSON(each.uid, each.namespace, each.name) for each in access.service_accounts),
            access.node_pods_accessible,
        )
        for name, access in sorted(record.access.items())
    }
    return msgspec.json.encode(
        _RecordJSON("ImagePulledRecord", API_VERSION, record.last_updated_at, record.image_ref, mapping)
    )


def decode_record(data: bytes) -> PulledRecord:
    """A record from disk.

    Raises:
        PullRecordInvalidError: not a record this version reads, or a field it does not know.
    """
    raw = _decode(data, _RecordJSON, "ImagePulledRecord")
    access = {
        name: ImageAccess(
            tuple(
                RecordedSecret(SecretSource(each.namespace, each.name, each.uid), each.credential_hash)
                for each in entry.kubernetes_secrets
            ),
            tuple(
                ServiceAccountSource(each.namespace, each.name, each.uid) for each in entry.kubernetes_service_accounts
            ),
            entry.node_pods_accessible,
        )
        for name, entry in raw.credential_mapping.items()
    }
    return PulledRecord(image_ref=raw.image_ref, last_updated_at=raw.last_updated_time, access=access)


def needs_rewrite(data: bytes) -> bool:
    """Whether a readable file has an older form and should be written anew at start."""
    return API_VERSION.encode() not in data


def _decode(data: bytes, form: type[F], kind: str) -> F:
    try:
        value = msgspec.json.decode(data, type=decodable(form))
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise PullRecordInvalidError(f"not a readable {kind}: {error}") from error
    if value.kind != kind or value.api_version not in _READABLE_VERSIONS:
        raise PullRecordInvalidError(f"{value.kind} of {value.api_version} is not a readable {kind}")
    return value

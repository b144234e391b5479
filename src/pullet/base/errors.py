"""The root of every error pullet raises on purpose.

PulletError
├ oci       ReferenceInvalidError, ManifestInvalidError …
├ registry  RegistryError ─ UnauthorizedError, ManifestUnknownError, RegistryUnavailableError …
├ store     StoreError ─ DigestMismatchError, DiskFullError, LayerRefusedError …
├ ociruntime OciRuntimeError
├ cri       CriError ─ the only family that crosses from runtime to node
├ node      ImageError(reason) ─ what a container's waiting state shows
└ kube      ApiError(reason) ─ what becomes a metav1.Status
"""

from __future__ import annotations

from typing import ClassVar


class PulletError(Exception):
    """An expected failure: facts as attributes, one plain sentence as its text.

    `reason` is a stable CamelCase word that tools may match on. `retryable` says whether the same call can
    succeed later without anybody changing anything; how often to try is the caller's business. The text never
    holds a secret.
    """

    reason: ClassVar[str] = "Internal"
    retryable: ClassVar[bool] = False


class UsageError(PulletError):
    """What the user gave cannot work: the text names what is wrong, where, and what would be right."""

    reason: ClassVar[str] = "Usage"

"""The root of every error pullet raises on purpose.

PulletError
├ oci          ReferenceInvalidError, ManifestInvalidError …
├ registry     RegistryError ─ UnauthorizedError, ManifestUnknownError, RegistryUnavailableError …
├ store        StoreError ─ DigestMismatchError, DiskFullError, LayerRefusedError …
├ ociruntime   OciRuntimeError, RuntimeMissingError …
├ engine       what is no image for this machine; made into CriErrors by engine.errors
├ cri          CriError ─ the only family that crosses from runtime to node
├ credentials  docker configs and providers that cannot be used
├ policy       inputs of decisions that cannot be right
├ node         ImageError(reason) and its kin ─ what a container's waiting state shows
├ kube         ApiError(reason) ─ what becomes a metav1.Status; views that cannot be read
├ kubeclient   ApiUnreachableError, beside the ApiErrors a server answered with
├ apiserver    what keeps a server from starting
├ registryd    RefusedError ─ an answer of the registry protocol
├ control      what a running node said, or that none runs
└ assembly     RootInUseError, PortTakenError: what keeps a process from starting (UsageErrors)
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

"""Descriptors: pointers to content. Source: image-spec v1.1 descriptor.md."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from pullet.oci.digest import Digest, DigestInvalidError
from pullet.oci.platform import Platform

Size = Annotated[int, msgspec.Meta(ge=0)]  # bytes


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Points at content by digest and size in bytes."""

    media_type: str
    digest: Digest
    size: Size
    platform: Platform | None = None
    annotations: dict[str, str] | None = None
    urls: tuple[str, ...] | None = None
    artifact_type: str = ""

    def __str__(self) -> str:
        return f"{self.digest} ({self.media_type}, {self.size} bytes)"


def decode_hook(wanted: type, value: Any) -> Any:
    """Msgspec's dec_hook for every document with digests in it."""
    if wanted is Digest and isinstance(value, str):
        try:
            return Digest(value)
        except DigestInvalidError as error:
            raise ValueError(str(error)) from error  # what msgspec adds the path to
    raise NotImplementedError(f"no conversion to {wanted.__name__}")


def encode_hook(value: Any) -> Any:
    """Msgspec's enc_hook: a Digest is its text."""
    if isinstance(value, Digest):
        return str.__str__(value)
    raise NotImplementedError(f"cannot encode {type(value).__name__}")

"""Digests: content named by its hash. Source: image-spec v1.1 descriptor.md; go-digest for the error texts."""

from __future__ import annotations

import hashlib
import re
from typing import ClassVar, Final, NewType

from pullet.base.errors import PulletError

HEX_LENGTH: Final = {"sha256": 64, "sha384": 96, "sha512": 128}  # the algorithms a kubelet registers
_SHAPE: Final = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_LOWER_HEX: Final = re.compile(r"[0-9a-f]+")

DiffID = NewType("DiffID", str)  # digest of a layer's uncompressed tar
ChainID = NewType("ChainID", str)  # digest of a stack of layers
ImageID = NewType("ImageID", str)  # digest of the image config


class DigestInvalidError(PulletError):
    """The text is not a digest; its text is exactly go-digest's."""

    reason: ClassVar[str] = "InvalidDigest"

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class Digest(str):
    """`algorithm:hex`, checked when made; a str in every other respect (dictionary key, JSON string, SQL value).

    Raises:
        DigestInvalidError: from the constructor.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Digest:
        algorithm, colon, encoded = text.partition(":")
        if not colon or not algorithm or not encoded:
            raise DigestInvalidError("invalid checksum digest format", text=text)
        length = HEX_LENGTH.get(algorithm)
        if length is None:
            known_shape = _SHAPE.fullmatch(text) is not None
            raise DigestInvalidError(
                "unsupported digest algorithm" if known_shape else "invalid checksum digest format", text=text
            )
        if len(encoded) != length:
            raise DigestInvalidError("invalid checksum digest length", text=text)
        if not _LOWER_HEX.fullmatch(encoded):
            raise DigestInvalidError("invalid checksum digest format", text=text)
        return super().__new__(cls, text)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of `content`."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")

    @property
    def algorithm(self) -> str:
        """`sha256`, `sha384` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The hash in lower-case hex."""
        return self.partition(":")[2]


def parse_digest(text: str) -> Digest:
    """`text` as a Digest. Raises DigestInvalidError."""
    return Digest(text)

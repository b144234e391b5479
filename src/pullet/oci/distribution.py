"""Words of the registry protocol: paths, error bodies, challenges, links, ranges.

Source: distribution-spec v1.1; RFC 9110 for WWW-Authenticate, Range and Retry-After; RFC 8288 for Link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

import msgspec

from pullet.base.decodable import decodable
from pullet.base.values import Value
from pullet.oci.digest import Digest

MAX_ERROR_BODY_BYTES: Final = 64 * 1024
API_VERSION_HEADER: Final = ("Docker-Distribution-Api-Version", "registry/2.0")
CONTENT_DIGEST_HEADER: Final = "Docker-Content-Digest"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAM: Final = re.compile(r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))\s*')
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_LINK: Final = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')


class ErrorCode(StrEnum):
    """Codes in a registry's error body. Source: distribution-spec v1.1, "Error Codes"."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"


class RegistryMessage(msgspec.Struct, frozen=True):
    """One entry of an error body; any code is kept as sent."""

    code: str = ""
    message: str = ""
    detail: Any = None

    def __str__(self) -> str:
        return f"{self.code.lower()}: {self.message}" if self.message else self.code.lower()


# what a code means by itself; such a message adds nothing. Source: distribution registry/api/errcode/register.go
_OWN_MESSAGES: Final = {
    "UNKNOWN": "unknown error",
    "UNSUPPORTED": "The operation is unsupported.",
    "UNAUTHORIZED": "authentication required",
    "DENIED": "requested access to the resource is denied",
    "UNAVAILABLE": "service unavailable",
    "TOOMANYREQUESTS": "too many requests",
}


def describe_errors(messages: Sequence[RegistryMessage]) -> str:
    """The entries of an error body as containerd prints them; "" for none."""
    texts = []
    for one in messages:
        code = one.code.lower().replace("_", " ")
        is_plain = not one.message or one.message == _OWN_MESSAGES.get(one.code)
        texts.append(code if is_plain else f"{code}: {one.message}")
    return "".join(texts) if len(texts) < 2 else "".join(["errors:\n", *(f"{text}\n" for text in texts)])


class _ErrorBody(msgspec.Struct, frozen=True):
    errors: tuple[RegistryMessage, ...] = ()


class Challenge(Value):
    """One challenge of a WWW-Authenticate header; `scheme` in lower case."""

    scheme: str
    parameters: Mapping[str, str] = msgspec.field(default_factory=dict)


def manifest_path(repository: str, identifier: str) -> str:
    """Path of a manifest; `repository` without the host, `identifier` a tag or digest."""
    return f"/v2/{quote(repository)}/manifests/{quote(identifier, safe=':')}"


def blob_path(repository: str, digest: Digest) -> str:
    """Path of a blob."""
    return f"/v2/{quote(repository)}/blobs/{quote(digest, safe=':')}"


def uploads_path(repository: str) -> str:
    """Where an upload starts."""
    return f"/v2/{quote(repository)}/blobs/uploads/"


def tags_path(repository: str) -> str:
    """The list of tags."""
    return f"/v2/{quote(repository)}/tags/list"


def referrers_path(repository: str, digest: Digest) -> str:
    """Manifests whose subject is `digest`."""
    return f"/v2/{quote(repository)}/referrers/{quote(digest, safe=':')}"


def encode_errors(code: ErrorCode, message: str, detail: Any = None) -> bytes:
    """An error body with one entry."""
    entry: dict[str, Any] = {"code": str(code), "message": message}
    if detail is not None:
        entry["detail"] = detail
    return msgspec.json.encode({"errors": [entry]})


def decode_errors(body: bytes) -> tuple[RegistryMessage, ...]:
    """The entries of an error body; empty if the body is something else (a proxy's HTML, say)."""
    try:
        return msgspec.json.decode(body, type=decodable(_ErrorBody)).errors
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ()


def parse_www_authenticate(values: Sequence[str]) -> tuple[Challenge, ...]:
    """The challenges of all WWW-Authenticate headers, in order; what cannot be read is left out."""
    return tuple(challenge for value in values for challenge in _challenges(value))


def _challenges(value: str) -> Iterator[Challenge]:
    position = 0
    while (scheme := _TOKEN.match(value, _skip(value, position))) is not None:
        parameters: dict[str, str] = {}
        position = scheme.end()
        while (parameter := _PARAM.match(value, position)) is not None:
            name, quoted, plain = parameter.groups()
            parameters[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            position = parameter.end()
            if value[position : position + 1] != ",":
                break
            position += 1
        yield Challenge(scheme.group().lower(), parameters)


def _skip(value: str, position: int) -> int:
    while position < len(value) and value[position] in ", \t":
        position += 1
    return position


def parse_next_link(value: str) -> str | None:
    """The target of `rel="next"` in a Link header, relative or absolute, as sent."""
    match = _LINK.search(value)
    return match[1] if match else None


def parse_content_range(value: str) -> tuple[int, int, int | None] | None:
    """(first, last, total or None) of a Content-Range header; None if unreadable."""
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        return None
    return int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])


def parse_range(value: str, size: int) -> tuple[int, int] | None:
    """(first, last) bytes asked for by a Range header of one range, clipped to `size`; None if it cannot be met.

    Source: RFC 9110, 14.1.2. Several ranges count as unreadable, which a server may ignore.
    """
    match = _RANGE.fullmatch(value.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, size - 1) if length else None
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    return (first, last) if first <= last else None


def parse_rate_limit(value: str) -> tuple[int, float | None] | None:
    """(count, window in seconds) of a RateLimit-Limit or RateLimit-Remaining header, `76;w=21600`; None if unreadable.

    Source: draft-ietf-httpapi-ratelimit-headers, as Docker Hub sends them.
    """
    count, *parameters = value.split(",")[0].split(";")
    if not (count.strip().isascii() and count.strip().isdigit()):
        return None
    windows = [one.strip()[2:] for one in parameters if one.strip().startswith("w=")]
    window = float(windows[0]) if windows and windows[0].isascii() and windows[0].isdigit() else None
    return int(count), window


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Seconds to wait according to a Retry-After header, never negative; None if unreadable."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())

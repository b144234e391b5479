"""The fields of tar headers: numbers, extended records, sparse maps. Bytes in, values out.

Source: POSIX.1-2017 pax, "pax Interchange Format"; GNU tar manual, "Basic Tar Format", "Sparse Formats".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

BLOCK: Final = 512
# name mode uid gid size mtime [checksum] type link magic [owner group] major minor prefix
HEADER: Final = struct.Struct("100s8s8s8s12s12s8xc100s8s64x8s8s155s12x")
ZERO_BLOCK: Final = bytes(BLOCK)
MAX_ID: Final = 0xFFFFFFFF
_MAX_TIME: Final = 1 << 62
_DECIMAL: Final = re.compile(rb"-?\d{1,20}")
_PAX_TIME: Final = re.compile(rb"(-?)(\d{1,19})(?:\.(\d*))?")
_EXPONENT: Final = re.compile(rb"-?\d(?:\.\d{1,20})?e[-+]\d\d")
_SPARSE_AT: Final = 386
_MAX_SPARSE_PIECES: Final = 1 << 20

SparseMap = tuple[tuple[int, int], ...]  # (offset in the file, length), in order


class TarFormatError(ValueError):
    """The bytes are not a tar that can be read. `entry` is the member at hand, where its name is known."""

    def __init__(self, detail: str, entry: bytes = b"") -> None:
        super().__init__(detail)
        self.detail, self.entry = detail, entry


class NeedMoreError(Exception):
    """The header goes on beyond the bytes at hand."""


def parse_number(field: bytes) -> int:
    """A numeric field: octal digits among blanks and NULs, or GNU's base-256. Raises TarFormatError."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big", signed=field[0] == 0xFF)
        return value if field[0] == 0xFF else value & ((1 << (8 * len(field) - 1)) - 1)
    digits = field.split(b"\0", 1)[0].strip()
    if not digits:
        return 0
    if not digits.isdigit():
        raise TarFormatError(f"{field!r} is not a number")
    try:
        return int(digits, 8)
    except ValueError as error:
        raise TarFormatError(f"{field!r} is not an octal number") from error


def check_id(value: int, what: str, entry: bytes) -> int:
    """A user or group id within 32 bits. Raises TarFormatError."""
    if not 0 <= value <= MAX_ID:
        raise TarFormatError(f"{what} {value} is out of range", entry)
    return value


def checksum_matches(block: bytes) -> bool:
    """Whether the header's checksum is right, summed as unsigned or (old tars) signed bytes."""
    try:
        stored = parse_number(block[148:156])
    except TarFormatError:
        return False
    rest = block[:148] + block[156:512]
    unsigned = sum(rest) + 8 * 0x20
    return stored == unsigned or stored == unsigned - 256 * sum(byte >> 7 for byte in rest)


class OctalMemo(dict[bytes, int]):
    """Numeric fields seen before: modes, owners and times repeat."""

    def __missing__(self, field: bytes) -> int:
        value = parse_number(field)
        if not -_MAX_TIME < value < _MAX_TIME:
            raise TarFormatError(f"{value} is out of range")
        if len(self) < 65536:
            self[field] = value
        return value


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """Records of the form `length key=value`, each on a line.

    Sparse maps of format 0.0 (repeated keys) are folded into `GNU.sparse.map`.

    Raises TarFormatError.
    """
    records: dict[bytes, bytes] = {}
    pieces: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        blank = data.find(b" ", position, position + 20)
        digits = data[position:blank] if blank >= 0 else b""
        if not digits.isdigit():
            if not data[position:].strip(b"\0"):
                break
            raise TarFormatError("malformed extended header record")
        stop = position + int(digits)
        if not blank + 2 < stop <= end or data[stop - 1] != 0x0A:
            raise TarFormatError("malformed extended header record")
        key, equals, value = data[blank + 1 : stop - 1].partition(b"=")
        if not equals or not key:
            raise TarFormatError("malformed extended header record")
        if key in {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}:
            pieces.append(value)
        else:
            records[key] = value
        position = stop
    if pieces:
        records[b"GNU.sparse.map"] = b",".join(pieces)
    return records


def pax_integer(records: Mapping[bytes, bytes], key: bytes, entry: bytes) -> int:
    """The decimal integer under `key`. Raises TarFormatError."""
    value = records.get(key, b"")
    if not _DECIMAL.fullmatch(value):
        raise TarFormatError(f"{key.decode(errors='replace')}={value[:40]!r} is not a number", entry)
    return int(value)


def pax_time(value: bytes, entry: bytes) -> tuple[int, int]:
    """Seconds and nanoseconds (0 ≤ ns < 10⁹) of a decimal time, also before 1970. Raises TarFormatError."""
    if _EXPONENT.fullmatch(value):  # Python's tarfile writes times near 1970 so
        value = f"{Decimal(value.decode()):f}".encode()
    match = _PAX_TIME.fullmatch(value)
    if match is None:
        raise TarFormatError(f"mtime={value[:40]!r} is not a time", entry)
    sign, whole, fraction = match.groups()
    seconds = int(whole)
    nanoseconds = int(((fraction or b"") + b"000000000")[:9])
    if sign:
        seconds = -seconds
        if nanoseconds:
            seconds, nanoseconds = seconds - 1, 1_000_000_000 - nanoseconds
    return seconds, nanoseconds


# -- sparse files: where in the file the stored bytes belong
def old_gnu_sparse(buffer: bytes, position: int) -> tuple[SparseMap, int, int]:
    """Of a type `S` header at `position`: the map, the file's real size, and where its data begins.

    Raises:
        NeedMoreError: the map's extension blocks are not in `buffer` yet.
        TarFormatError: senseless.
    """
    header = buffer[position : position + BLOCK]
    numbers = [parse_number(header[at : at + 12]) for at in range(_SPARSE_AT, _SPARSE_AT + 96, 12)]
    is_extended, real_size = header[482] != 0, parse_number(header[483:495])
    position += BLOCK
    while is_extended:
        block = buffer[position : position + BLOCK]
        if len(block) < BLOCK:
            raise NeedMoreError
        numbers += [parse_number(block[at : at + 12]) for at in range(0, 504, 12)]
        is_extended = block[504] != 0
        position += BLOCK
        if len(numbers) > 2 * _MAX_SPARSE_PIECES:
            raise TarFormatError("a sparse map of more than a million pieces")
    return _pairs(numbers), real_size, position


def pax_sparse_map(text: bytes, entry: bytes) -> SparseMap:
    """The map of formats 0.0 and 0.1: comma-separated offsets and lengths."""
    fields = text.split(b",") if text else []
    if not all(field.isdigit() for field in fields) or len(fields) > 2 * _MAX_SPARSE_PIECES:
        raise TarFormatError("malformed sparse map", entry)
    return _pairs([int(field) for field in fields])


def data_sparse_map(buffer: bytes, position: int, entry: bytes) -> tuple[SparseMap, int]:
    """The map of format 1.0, which precedes the data at `position`, and where the data begins.

    Raises:
        NeedMoreError: the map is not wholly in `buffer` yet.
    """
    numbers: list[int] = []
    at = position
    while not numbers or len(numbers) < 1 + 2 * numbers[0]:
        newline = buffer.find(b"\n", at, at + 21)
        if newline < 0:
            if len(buffer) - at > 20:
                raise TarFormatError("malformed sparse map", entry)
            raise NeedMoreError
        if not buffer[at:newline].isdigit():
            raise TarFormatError("malformed sparse map", entry)
        numbers.append(int(buffer[at:newline]))
        if numbers[0] > _MAX_SPARSE_PIECES:
            raise TarFormatError("a sparse map of more than a million pieces", entry)
        at = newline + 1
    return _pairs(numbers[1:]), position + (at - position + BLOCK - 1) // BLOCK * BLOCK


def _pairs(numbers: list[int]) -> SparseMap:
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True)) if len(numbers) % 2 == 0 else None
    if pairs is None:
        raise TarFormatError("malformed sparse map")
    end = 0
    for offset, length in pairs:
        if length and offset < end:
            raise TarFormatError("overlapping pieces in a sparse map")
        end = max(end, offset + length)
        if offset < 0 or length < 0:
            raise TarFormatError("negative numbers in a sparse map")
    return tuple((offset, length) for offset, length in pairs if length)

"""Pull intents and pulled records on disk, where a kubelet would keep them.

    <root>/image_manager/pulling/sha256-…   one intent per image string being pulled
    <root>/image_manager/pulled/sha256-…    one record per image ref

Directories 0700, files 0600, written beside and renamed; `.tmp` files and other names are ignored. Everything here
blocks: call it on worker threads. Contents are policy.pull_record's. Source: kubelet-images spec 11.1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from pullet.kit.atomic_file import write_atomic
from pullet.policy.pull_record import (
    PulledRecord,
    PullRecordInvalidError,
    decode_intent,
    decode_record,
    encode_intent,
    encode_record,
    needs_rewrite,
    record_file_name,
)

log = logging.getLogger(__name__)


class PullRecords:
    """The two directories. Not locked: the PullManager holds a lock per key around each use."""

    def __init__(self, root: Path) -> None:
        self._pulling = root / "image_manager" / "pulling"
        self._pulled = root / "image_manager" / "pulled"

    def open(self) -> None:
        """Make the directories; rewrite files of an older API version, remove what a crash left half-written."""
        for directory in (self._pulling.parent, self._pulling, self._pulled):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for leftover in directory.glob("*.tmp"):
                leftover.unlink()
        for path in _files(self._pulling):
            if needs_rewrite(data := path.read_bytes()) and (image := _intent(path, data)) is not None:
                self.write_intent(image)
        for path in _files(self._pulled):
            if needs_rewrite(data := path.read_bytes()) and (record := _record(path, data)) is not None:
                self.write_record(record)

    def has_intent(self, image: str) -> bool:
        """Whether a pull of exactly this image string is on record as begun.

        Raises:
            PullRecordInvalidError: the file is there and unreadable.
        """
        data = _read(self._pulling / record_file_name(image))
        return data is not None and decode_intent(data) == image

    def write_intent(self, image: str) -> None:
        """Record that a pull of `image` begins.

        Raises:
            PullRecordInvalidError: it could not be written; nothing is left behind.
        """
        path = self._pulling / record_file_name(image)
        try:
            write_atomic(path, encode_intent(image))
        except OSError as error:
            raise PullRecordInvalidError(f"{path}: {error.strerror}") from error

    def delete_intent(self, image: str) -> None:
        """The pull ended; absent is success."""
        (self._pulling / record_file_name(image)).unlink(missing_ok=True)

    def intents(self) -> list[str]:
        """The images of all readable intents."""
        found = (_intent(path, path.read_bytes()) for path in _files(self._pulling))
        return [image for image in found if image is not None]

    def read_record(self, image_ref: str) -> PulledRecord | None:
        """The record of `image_ref`, or None; a file that names another image ref counts as missing.

        Raises:
            PullRecordInvalidError: the file is there and unreadable.
        """
        data = _read(self._pulled / record_file_name(image_ref))
        if data is None:
            return None
        record = decode_record(data)
        return record if record.image_ref == image_ref else None

    def write_record(self, record: PulledRecord) -> None:
        """Replace the record of its image ref."""
        write_atomic(self._pulled / record_file_name(record.image_ref), encode_record(record))

    def delete_record(self, image_ref: str) -> None:
        """Forget the image ref; absent is success."""
        (self._pulled / record_file_name(image_ref)).unlink(missing_ok=True)

    def records(self) -> list[PulledRecord]:
        """All readable records."""
        found = (_record(path, path.read_bytes()) for path in _files(self._pulled))
        return [record for record in found if record is not None]


def _files(directory: Path) -> Iterator[Path]:
    for path in sorted(directory.iterdir()):
        if path.name.startswith("sha256-") and not path.name.endswith(".tmp") and path.is_file():
            yield path


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PullRecordInvalidError(f"{path}: {error.strerror}") from error


def _intent(path: Path, data: bytes) -> str | None:
    try:
        return decode_intent(data)
    except PullRecordInvalidError as error:
        log.warning("unreadable pull intent is skipped", extra={"path": str(path), "error": str(error)})
        return None


def _record(path: Path, data: bytes) -> PulledRecord | None:
    try:
        return decode_record(data)
    except PullRecordInvalidError as error:
        log.warning("unreadable pull record is skipped", extra={"path": str(path), "error": str(error)})
        return None

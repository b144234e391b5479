"""One blob as a stream of bytes that survives cut connections and endpoints that fail.

    read ─► connection breaks or stalls ─► same source again, from the offset reached (Range)
                                        └► too often without progress ─► next source ─► none left: the error

Sources are the endpoints that may have the blob, then the descriptor's own urls. Sizes are checked here; the digest is
checked by whoever reads, who may ask anew without the host that lied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.oci.descriptor import Descriptor
from pullet.oci.distribution import parse_content_range
from pullet.registry.errors import (
    BlobUnknownError,
    ContentMismatchError,
    RegistryError,
    RegistryUnavailableError,
    StatusError,
)
from pullet.registry.response import Response
from pullet.registry.settings import DownloadLimits
from pullet.registry.transport import Caller, pause_unless_stopped

FIRST_PAUSE_SECONDS: Final = 0.1
_DISCARD_BYTES: Final = 128 * 1024


class BlobSource(Value):
    """A place that may have the blob; `open` sends the GET with the headers given."""

    host: str
    url: str
    open: Callable[[dict[str, str]], Response]


class BlobStream:
    """Bytes of one blob, in order, from `offset` on. Used by one thread; stopped through the caller's StopFlag.

    Nothing is requested before the first read.
    """

    def __init__(
        self,
        *,
        sources: Sequence[BlobSource],
        descriptor: Descriptor,
        caller: Caller,
        clock: Clock,
        limits: DownloadLimits,
        offset: int = 0,
        what: str = "blob",
    ) -> None:
        self._sources = list(sources)
        self._descriptor, self._caller, self._limits = descriptor, caller, limits
        self._clock, self._what = clock, what
        self._response: Response | None = None
        self._failures = 0
        self._offset_at_failure = offset
        self._error: RegistryError | None = None
        self._waited_seconds, self._bytes_in_window = 0.0, 0
        self.offset = offset
        self.received_bytes = 0  # over the network, with what was received twice
        self.host = ""  # that served the last byte
        self.hosts: set[str] = set()  # that served any of them

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they arrive; b"" once all of the descriptor's size was given.

        Raises:
            BlobUnknownError: no source has it.
            ContentMismatchError: every source has it with another size.
            RegistryError: what the most telling source answered, when all failed.
            StoppedError: the caller's stop was set.
        """
        while self.offset < self._descriptor.size:
            response = self._response or self._open()
            try:
                data = self._read_watched(response, min(size, self._descriptor.size - self.offset))
            except RegistryUnavailableError as error:
                self._resume_after(error)
                continue
            self.offset += len(data)
            return data
        self.close()
        return b""

    def close(self) -> None:
        """Close what is open; reading on would open it again."""
        response, self._response = self._response, None
        if response is not None:
            response.close()

    def _open(self) -> Response:
        while self._sources:
            source = self._sources[0]
            try:
                response = self._open_at_offset(source)
            except RegistryUnavailableError as error:
                if error.was_cut:
                    self._resume_after(error)
                else:
                    self._drop_source(error)
            except RegistryError as error:
                self._drop_source(error)
            else:
                self._response, self.host = response, source.host
                self.hosts.add(source.host)
                self._waited_seconds, self._bytes_in_window = 0.0, 0
                return response
        raise self._error or BlobUnknownError(
            f"{self._what} {self._descriptor.digest} is at none of its endpoints", status=404
        )

    def _open_at_offset(self, source: BlobSource) -> Response:
        headers = {"Accept": f"{self._descriptor.media_type}, */*", "Accept-Encoding": "identity"}
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
        response = source.open(headers)
        try:
            if response.status == 206:
                self._check_range(source, response)
            else:
                self._check_size(source, response.length)
                self._discard(response)
        except BaseException:
            response.close()
            raise
        return response

    def _check_range(self, source: BlobSource, response: Response) -> None:
        header = response.header("Content-Range")
        found = parse_content_range(header)
        if found is None or found[0] != self.offset:
            raise ContentMismatchError(
                host=source.host, url=source.url, what=self._what, want=f"bytes from {self.offset} on", got=header
            )
        self._check_size(source, found[2])

    def _check_size(self, source: BlobSource, size: int | None) -> None:
        if size is not None and size != self._descriptor.size:
            raise ContentMismatchError(
                host=source.host,
                url=source.url,
                what=f"{self._what} {self._descriptor.digest}",
                want=f"{self._descriptor.size} bytes",
                got=f"{size} bytes",
            )

    def _discard(self, response: Response) -> None:
        """Read over what was received before, from a source that does not know Range."""
        left = self.offset
        while left:
            left -= len(self._read_watched(response, min(left, _DISCARD_BYTES)))

    def _read_watched(self, response: Response, size: int) -> bytes:
        started = self._clock.monotonic()
        data = response.read_some(size)
        if not data:
            raise response.cut("unexpected EOF")
        self.received_bytes += len(data)
        self._waited_seconds += self._clock.monotonic() - started
        self._bytes_in_window += len(data)
        if self._waited_seconds >= self._limits.stall_window_seconds:
            if self._bytes_in_window < self._limits.stall_min_bytes:
                raise response.cut(
                    f"download stalled: {self._bytes_in_window} bytes in {self._waited_seconds:.0f} seconds"
                )
            self._waited_seconds, self._bytes_in_window = 0.0, 0
        return data

    def _resume_after(self, error: RegistryUnavailableError) -> None:
        self.close()
        if self.offset - self._offset_at_failure >= self._limits.progress_bytes:
            self._failures = 0
        self._offset_at_failure = self.offset
        self._failures += 1
        if self._failures > self._limits.max_resumes:
            self._drop_source(error)
        elif self._failures > 1:  # the first resume is made at once
            pause_unless_stopped(self._caller.stop, FIRST_PAUSE_SECONDS * 2 ** (self._failures - 2))

    def _drop_source(self, error: RegistryError) -> None:
        self._sources.pop(0)
        self._failures = 0
        is_absent = isinstance(error, StatusError) and error.status == 404
        if not is_absent and self._error is None:
            self._error = error

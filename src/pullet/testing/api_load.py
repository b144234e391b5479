"""A client that costs little beside the server it loads: HTTP/1.1 on one TLS connection, bodies left as bytes."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

_EVENT = re.compile(rb'^\{"type":"([A-Z]+)"')
_VERSION = re.compile(rb'"resourceVersion":"(\d+)"')
_CHUNK_BYTES = 1 << 20


class RawConnection:
    """One connection; requests go one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader, self._writer, self._host = reader, writer, host

    @classmethod
    async def open(cls, url: str, tls: ssl.SSLContext) -> Self:
        """Connect to the server of a base URL."""
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls, limit=_CHUNK_BYTES)
        return cls(reader, writer, parts.netloc)

    async def close(self) -> None:
        """Hang up, whatever is still under way."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def request(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> tuple[int, bytes]:
        """Status code and body."""
        status, headers = await self._send(method, path, body, content_type)
        if headers.get("transfer-encoding") == "chunked":
            return status, b"".join([chunk async for chunk in self._chunks()])
        return status, await self._reader.readexactly(int(headers.get("content-length") or 0))

    async def watch(self, path: str) -> AsyncIterator[bytes]:
        """The lines of a watch, as many together as came together, until the server ends it."""
        status, _ = await self._send("GET", path, b"", "")
        if status != 200:
            raise AssertionError(f"the watch of {path} was answered with {status}")
        rest = b""
        async for chunk in self._chunks():
            whole, _, rest = (rest + chunk).rpartition(b"\n")
            if whole:
                yield whole

    async def _send(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, dict[str, str]]:
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._host}\r\naccept: application/json\r\n"
        if body:
            head += f"content-type: {content_type or 'application/json'}\r\ncontent-length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = answer.decode("latin-1").split("\r\n")
        headers = {}
        for line in filter(None, lines):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(first.split()[1]), headers

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            size = int(await self._reader.readline(), 16)
            chunk = await self._reader.readexactly(size + 2)
            if not size:
                return
            yield chunk[:-2]


def events_in(lines: bytes) -> list[tuple[str, int]]:
    """Type and resourceVersion of every watch event in the lines."""
    found = []
    for line in lines.split(b"\n"):
        kind, version = _EVENT.match(line), _VERSION.search(line)
        if kind is None or version is None:
            raise AssertionError(f"no watch event: {line[:200]!r}")
        found.append((kind[1].decode(), int(version[1])))
    return found

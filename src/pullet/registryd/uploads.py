"""Blobs on their way in: sessions over the content store's resumable ingests.

A session ends with the process that took it: what it left is dropped at the next start, and the client begins anew, as
docker, podman and skopeo do.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.oci.digest import Digest, DigestInvalidError
from pullet.oci.distribution import ErrorCode
from pullet.registryd.errors import RefusedError
from pullet.store.content import ContentStore
from pullet.store.errors import ContentNotFoundError, DigestMismatchError
from pullet.store.ingest import Ingest

WRITE_BYTES = 1 << 20  # gathered on the loop before a hop to a thread


def parse_digest(text: str) -> Digest:
    """A digest of a request. Raises RefusedError."""
    try:
        return Digest(text)
    except DigestInvalidError as error:
        raise RefusedError(400, ErrorCode.DIGEST_INVALID, f"invalid digest: {error}", {"digest": text}) from error


class Uploads:
    """Sessions by id, one writer at a time each."""

    def __init__(self, content: ContentStore, threads: WorkerThreads, clock: Clock) -> None:
        self._content, self._threads = content, threads
        self._busy: set[str] = set()
        content.drop_stale_ingests(0.0, clock.now().timestamp())

    async def start(self) -> str:
        """A new session's id."""
        session = str(uuid.uuid4())
        ingest = await self._threads.run(self._content.start_ingest, _key(session))
        await self._threads.run(ingest.close)
        return session

    async def offset(self, session: str) -> int:
        """Bytes received so far. Raises RefusedError."""
        ingest = await self._open(session)
        await self._threads.run(ingest.close)
        return ingest.offset

    async def append(self, session: str, body: AsyncIterator[bytes], *, first: int | None = None) -> int:
        """Append the body; `first` is the offset its Content-Range claims. Gives the new offset.

        Raises:
            RefusedError: no such session, or `first` is not where the upload stands (416).
        """
        if session in self._busy:
            raise RefusedError(409, ErrorCode.BLOB_UPLOAD_INVALID, "another request writes to this upload")
        self._busy.add(session)
        try:
            ingest = await self._open(session)
            try:
                if first is not None and first != ingest.offset:
                    raise RefusedError(
                        416, ErrorCode.BLOB_UPLOAD_INVALID, f"the upload stands at {ingest.offset}, not at {first}"
                    )
                gathered = bytearray()
                async for chunk in body:
                    gathered += chunk
                    if len(gathered) >= WRITE_BYTES:
                        await self._threads.run(ingest.write, bytes(gathered))
                        gathered.clear()
                if gathered:
                    await self._threads.run(ingest.write, bytes(gathered))
                return ingest.offset
            finally:
                await self._threads.run(ingest.close)
        finally:
            self._busy.discard(session)

    async def finish(self, session: str, digest: Digest) -> None:
        """Make the blob visible under `digest`. Raises RefusedError when the bytes hash to something else."""
        ingest = await self._open(session)
        try:
            await self._threads.run(ingest.commit, digest)
        except DigestMismatchError as error:
            raise RefusedError(
                400, ErrorCode.DIGEST_INVALID, f"provided digest did not match uploaded content: {error}"
            ) from error
        finally:
            await self._threads.run(ingest.close)

    async def cancel(self, session: str) -> None:
        """Drop the session. Raises RefusedError when there is none."""
        ingest = await self._open(session)
        await self._threads.run(ingest.abort)

    async def _open(self, session: str) -> Ingest:
        try:
            return await self._threads.run(self._content.open_ingest, _key(session))
        except ContentNotFoundError as error:
            raise RefusedError(
                404, ErrorCode.BLOB_UPLOAD_UNKNOWN, "blob upload unknown to registry", {"uuid": session}
            ) from error


def _key(session: str) -> str:
    return f"registry-upload/{session}"

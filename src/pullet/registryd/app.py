"""The registry's routes. Source: distribution-spec v1.1, "Endpoints".

Bodies never block the loop: they are written and read on worker threads, a mebibyte at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from io import FileIO
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.oci import mediatype
from pullet.oci.digest import Digest
from pullet.oci.distribution import (
    API_VERSION_HEADER,
    CONTENT_DIGEST_HEADER,
    ErrorCode,
    encode_errors,
    parse_content_range,
    parse_range,
)
from pullet.oci.reference import ReferenceInvalidError, parse_strict
from pullet.registryd.catalogue import Catalogue
from pullet.registryd.errors import RefusedError, blob_unknown, manifest_unknown, name_unknown
from pullet.registryd.manifests import MAX_MANIFEST_BYTES, ManifestStore, referrers_index
from pullet.registryd.uploads import Uploads, parse_digest
from pullet.store.content import ContentStore
from pullet.store.errors import ContentNotFoundError

READ_BYTES = 1 << 20
Handler = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")


class Registry:
    """Push and pull over one content store."""

    def __init__(self, *, catalogue: Catalogue, content: ContentStore, threads: WorkerThreads, clock: Clock) -> None:
        self._catalogue, self._content, self._threads = catalogue, content, threads
        self._manifests = ManifestStore(catalogue, content)
        self._uploads = Uploads(content, threads, clock)

    def app(self) -> Starlette:
        """The ASGI application."""
        name = "/v2/{name:path}"
        table: list[tuple[str, dict[str, Handler]]] = [
            ("/v2/", {"GET": self._version}),
            ("/v2", {"GET": self._version}),
            ("/v2/_catalog", {"GET": self._list_repositories}),
            (f"{name}/tags/list", {"GET": self._list_tags}),
            (f"{name}/referrers/{{digest}}", {"GET": self._referrers}),
            (
                f"{name}/manifests/{{reference}}",
                {"GET": self._get_manifest, "PUT": self._put_manifest, "DELETE": self._delete_manifest},
            ),
            (f"{name}/blobs/uploads/", {"POST": self._start_upload}),
            (f"{name}/blobs/uploads", {"POST": self._start_upload}),
            (
                f"{name}/blobs/uploads/{{session}}",
                {
                    "PATCH": self._append_upload,
                    "PUT": self._finish_upload,
                    "GET": self._show_upload,
                    "DELETE": self._cancel_upload,
                },
            ),
            (f"{name}/blobs/{{digest}}", {"GET": self._get_blob, "DELETE": self._delete_blob}),
        ]
        routes = [
            Route(path, _wrapped(handler), methods=[method]) for path, row in table for method, handler in row.items()
        ]
        return Starlette(routes=routes)

    async def _do(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        return await self._threads.run(work, *args, **kwargs)

    async def _version(self, _: Request) -> Response:
        return JSONResponse({})

    async def _list_repositories(self, request: Request) -> Response:
        limit, after = _page(request)
        found = await self._do(self._catalogue.repositories, after=after, limit=limit + 1 if limit >= 0 else -1)
        return _page_of("repositories", found, limit, "/v2/_catalog", {})

    async def _list_tags(self, request: Request) -> Response:
        repository = _repository(request)
        limit, after = _page(request)
        if not await self._do(self._catalogue.has_repository, repository):
            raise name_unknown(repository)
        found = await self._do(self._catalogue.tags, repository, after=after, limit=limit + 1 if limit >= 0 else -1)
        return _page_of("tags", found, limit, f"/v2/{quote(repository)}/tags/list", {"name": repository})

    async def _referrers(self, request: Request) -> Response:
        repository, subject = _repository(request), parse_digest(request.path_params["digest"])
        rows = list(await self._do(self._catalogue.referrers, repository, subject))
        wanted = request.query_params.get("artifactType")
        headers = {}
        if wanted is not None:
            rows = [row for row in rows if row.artifact_type == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        return Response(referrers_index(rows), media_type=mediatype.OCI_INDEX, headers=headers)

    # -- manifests
    async def _get_manifest(self, request: Request) -> Response:
        repository, reference = _repository(request), request.path_params["reference"]
        row = await self._do(self._catalogue.manifest, repository, reference)
        if row is None:
            raise manifest_unknown(repository, reference)
        headers = {
            CONTENT_DIGEST_HEADER: str(row.digest),
            "Content-Length": str(row.size_bytes),
            "ETag": f'"{row.digest}"',
        }
        if request.method == "HEAD":
            return Response(media_type=row.media_type, headers=headers)
        return Response(await self._do(self._content.read, row.digest), media_type=row.media_type, headers=headers)

    async def _put_manifest(self, request: Request) -> Response:
        repository, reference = _repository(request), request.path_params["reference"]
        if ":" in reference:
            parse_digest(reference)
        else:
            _check_reference(f"{repository}:{reference}", ErrorCode.MANIFEST_INVALID)
        raw = bytearray()
        async for chunk in request.stream():
            raw += chunk
            if len(raw) > MAX_MANIFEST_BYTES:
                raise RefusedError(413, ErrorCode.MANIFEST_INVALID, f"manifest exceeds {MAX_MANIFEST_BYTES} bytes")
        media_type = request.headers.get("content-type", "")
        row = await self._do(self._manifests.put, repository, reference, bytes(raw), media_type)
        headers = {
            "Location": f"/v2/{quote(repository)}/manifests/{row.digest}",
            CONTENT_DIGEST_HEADER: str(row.digest),
            **({"OCI-Subject": row.subject} if row.subject else {}),
        }
        return Response(status_code=201, headers=headers)

    async def _delete_manifest(self, request: Request) -> Response:
        repository, reference = _repository(request), request.path_params["reference"]
        delete = self._manifests.delete if ":" in reference else self._catalogue.delete_tag
        if not await self._do(delete, repository, reference):
            raise manifest_unknown(repository, reference)
        return Response(status_code=202)

    # -- blobs
    async def _get_blob(self, request: Request) -> Response:
        repository, digest = _repository(request), parse_digest(request.path_params["digest"])
        if not await self._do(self._catalogue.has_blob, repository, digest):
            raise blob_unknown(digest)
        try:
            file = await self._do(self._content.open, digest)
        except ContentNotFoundError as error:
            raise blob_unknown(digest) from error
        with ExitStack() as stack:
            stack.enter_context(file)
            size = await self._do(self._content.size, digest)
            headers = {CONTENT_DIGEST_HEADER: str(digest), "Accept-Ranges": "bytes", "ETag": f'"{digest}"'}
            status, first, last = 200, 0, size - 1
            if wanted := request.headers.get("range"):
                part = parse_range(wanted, size)
                if part is None:
                    return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
                status, (first, last) = 206, part
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            headers["Content-Length"] = str(last - first + 1)
            if request.method == "HEAD":
                return Response(status_code=status, media_type=mediatype.OCTET_STREAM, headers=headers)
            stack.pop_all()  # the body closes the file
        body = self._read(file, first, last - first + 1)
        return StreamingResponse(body, status_code=status, media_type=mediatype.OCTET_STREAM, headers=headers)

    async def _read(self, file: FileIO, first: int, length: int) -> AsyncIterator[bytes]:
        with file:
            file.seek(first)
            while length > 0:
                data = await self._threads.run(file.read, min(READ_BYTES, length))
                if not data:
                    return
                length -= len(data)
                yield data

    async def _delete_blob(self, request: Request) -> Response:
        repository, digest = _repository(request), parse_digest(request.path_params["digest"])
        if not await self._do(self._catalogue.delete_blob, repository, digest):
            raise blob_unknown(digest)
        return Response(status_code=202)

    # -- uploads
    async def _start_upload(self, request: Request) -> Response:
        repository, query = _repository(request), request.query_params
        if mount := query.get("mount"):
            digest = parse_digest(mount)
            if await self._do(self._can_mount, query.get("from"), digest):
                await self._do(self._catalogue.add_blobs, repository, [digest])
                return _created_blob(repository, digest)
        session = await self._uploads.start()
        if claimed := query.get("digest"):
            await self._uploads.append(session, request.stream())
            return await self._commit(repository, session, parse_digest(claimed))
        return _upload(repository, session, 0)

    def _can_mount(self, source: str | None, digest: Digest) -> bool:
        found = source or self._catalogue.repository_with_blob(digest)
        return bool(found) and self._catalogue.has_blob(found or "", digest) and self._content.has(digest)

    async def _append_upload(self, request: Request) -> Response:
        repository, session = _repository(request), request.path_params["session"]
        offset = await self._uploads.append(session, request.stream(), first=_first_byte(request))
        return _upload(repository, session, offset)

    async def _finish_upload(self, request: Request) -> Response:
        repository, session = _repository(request), request.path_params["session"]
        digest = parse_digest(request.query_params.get("digest", ""))
        await self._uploads.append(session, request.stream(), first=_first_byte(request))
        return await self._commit(repository, session, digest)

    async def _commit(self, repository: str, session: str, digest: Digest) -> Response:
        await self._uploads.finish(session, digest)
        await self._do(self._catalogue.add_blobs, repository, [digest])
        return _created_blob(repository, digest)

    async def _show_upload(self, request: Request) -> Response:
        session = request.path_params["session"]
        offset = await self._uploads.offset(session)
        response = _upload(_repository(request), session, offset)
        response.status_code = 204
        return response

    async def _cancel_upload(self, request: Request) -> Response:
        await self._uploads.cancel(request.path_params["session"])
        return Response(status_code=204)


def _wrapped(handler: Handler) -> Handler:
    async def respond(request: Request) -> Response:
        try:
            response = await handler(request)
        except RefusedError as error:
            body = encode_errors(error.code, str(error), error.detail)
            response = Response(body, status_code=error.status, media_type="application/json")
        response.headers.setdefault(*API_VERSION_HEADER)
        return response

    return respond


def _repository(request: Request) -> str:
    name = str(request.path_params["name"])
    _check_reference(f"registry.invalid/{name}", ErrorCode.NAME_INVALID)
    return name


def _check_reference(text: str, code: ErrorCode) -> None:
    try:
        parse_strict(text)
    except ReferenceInvalidError as error:
        raise RefusedError(400, code, str(error), {"name": text.removeprefix("registry.invalid/")}) from error


def _first_byte(request: Request) -> int | None:
    value = request.headers.get("content-range")
    if value is None:
        return None
    parsed = parse_content_range(value if value.startswith("bytes ") else f"bytes {value}/*")
    if parsed is None:
        raise RefusedError(400, ErrorCode.BLOB_UPLOAD_INVALID, f"unreadable Content-Range {value!r}")
    return parsed[0]


def _upload(repository: str, session: str, offset: int) -> Response:
    headers = {
        "Location": f"/v2/{quote(repository)}/blobs/uploads/{session}",
        "Range": f"0-{max(0, offset - 1)}",
        "Docker-Upload-UUID": session,
        "Content-Length": "0",
    }
    return Response(status_code=202, headers=headers)


def _created_blob(repository: str, digest: Digest) -> Response:
    headers = {"Location": f"/v2/{quote(repository)}/blobs/{digest}", CONTENT_DIGEST_HEADER: str(digest)}
    return Response(status_code=201, headers=headers)


def _page(request: Request) -> tuple[int, str]:
    raw = request.query_params.get("n", "")
    if raw and not raw.isdecimal():
        raise RefusedError(400, ErrorCode.UNSUPPORTED, f"n must be a whole number, not {raw!r}")
    return int(raw) if raw else -1, request.query_params.get("last", "")


def _page_of(key: str, found: list[str], limit: int, path: str, more: dict[str, str]) -> Response:
    headers = {}
    if 0 <= limit < len(found):
        found = found[:limit]
        if found:
            headers["Link"] = f'<{path}?{urlencode({"n": limit, "last": found[-1]})}>; rel="next"'
    return JSONResponse({**more, key: found}, headers=headers)

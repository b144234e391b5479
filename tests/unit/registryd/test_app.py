"""The embedded registry over HTTP, as a client of the protocol sees it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pullet.assembly.serving import bind_tcp, serve
from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import WorkerThreads
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage, FileEntry, build_image, build_index, build_layer
from pullet.registry.push import push_image
from pullet.registryd.app import Registry
from pullet.registryd.catalogue import Catalogue
from pullet.store.settings import StoreSettings
from pullet.store.store import Store


@dataclass
class Running:
    port: int
    threads: WorkerThreads

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
        def talk() -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request(
                    method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
                )
                response = connection.getresponse()
                return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
            finally:
                connection.close()

        return await self.threads.run(talk)

    async def run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await self.threads.run(work, *args)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Running]:
    threads = WorkerThreads("test", 4)
    store = await threads.run(Store.open, tmp_path / "store", clock=SystemClock(), settings=StoreSettings())
    catalogue = await threads.run(Catalogue, tmp_path / "registry.sqlite")
    app = await threads.run(
        lambda: Registry(catalogue=catalogue, content=store.content, threads=threads, clock=SystemClock()).app()
    )
    listener: socket.socket = bind_tcp("127.0.0.1", 0, what="test", option="--port")
    port = listener.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(app, listener))
        yield Running(port, threads)
        serving.cancel()
    await threads.run(catalogue.close)
    await threads.run(store.close)
    await threads.aclose()


def image(text: str) -> BuiltImage:
    return build_image([build_layer({"hello": FileEntry(data=text.encode())})], defaults={"Cmd": ["/hello"]})


async def test_what_was_pushed_can_be_pulled_byte_for_byte(registry: Running) -> None:
    one = image("one")
    await registry.run(push_image, registry.url, "library/app", "1", one)
    status, headers, body = await registry.ask("GET", "/v2/library/app/manifests/1")
    assert (status, body) == (200, one.raw)
    assert headers["docker-content-digest"] == one.descriptor.digest
    assert headers["content-type"] == one.descriptor.media_type
    for digest, blob in one.blobs.items():
        assert (await registry.ask("GET", f"/v2/library/app/blobs/{digest}"))[::2] == (200, blob)


async def test_head_tells_size_and_digest_without_a_body(registry: Running) -> None:
    one = image("one")
    await registry.run(push_image, registry.url, "library/app", "1", one)
    status, headers, body = await registry.ask("HEAD", "/v2/library/app/manifests/1")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(one.raw)))


async def test_an_index_needs_its_manifests_first(registry: Running) -> None:
    index = build_index([image("one")])
    status, _, body = await registry.ask(
        "PUT", "/v2/app/manifests/1", index.raw, Content_Type=index.descriptor.media_type
    )
    assert status == 404
    assert json.loads(body)["errors"][0]["code"] == "MANIFEST_BLOB_UNKNOWN"
    await registry.run(push_image, registry.url, "app", "1", index)
    assert (await registry.ask("GET", "/v2/app/manifests/1"))[2] == index.raw


async def test_a_chunked_upload_is_taken_in_order_and_verified(registry: Running) -> None:
    blob = b"0123456789" * 1000
    digest = Digest.of(blob)
    _, headers, _ = await registry.ask("POST", "/v2/app/blobs/uploads/")
    where = headers["location"]
    status, headers, _ = await registry.ask("PATCH", where, blob[:4000], Content_Range="0-3999")
    assert (status, headers["range"]) == (202, "0-3999")
    assert (await registry.ask("PATCH", where, blob[5000:], Content_Range="5000-9999"))[0] == 416
    status, headers, _ = await registry.ask("GET", where)
    assert (status, headers["range"]) == (204, "0-3999")
    status, _, _ = await registry.ask("PUT", f"{where}?digest={digest}", blob[4000:], Content_Range="4000-9999")
    assert status == 201
    assert (await registry.ask("GET", f"/v2/app/blobs/{digest}"))[2] == blob


async def test_bytes_that_hash_to_something_else_are_refused_and_gone(registry: Running) -> None:
    claimed = Digest.of(b"claimed")
    status, _, body = await registry.ask("POST", f"/v2/app/blobs/uploads/?digest={claimed}", b"other")
    assert status == 400
    assert json.loads(body)["errors"][0]["code"] == "DIGEST_INVALID"
    assert (await registry.ask("HEAD", f"/v2/app/blobs/{claimed}"))[0] == 404


async def test_a_blob_is_mounted_from_another_repository_and_unknown_elsewhere(registry: Running) -> None:
    one = image("one")
    await registry.run(push_image, registry.url, "library/app", "1", one)
    digest = next(iter(one.blobs))
    assert (await registry.ask("HEAD", f"/v2/other/blobs/{digest}"))[0] == 404
    assert (await registry.ask("POST", f"/v2/other/blobs/uploads/?mount={digest}&from=library/app"))[0] == 201
    assert (await registry.ask("HEAD", f"/v2/other/blobs/{digest}"))[0] == 200


async def test_ranges_of_a_blob(registry: Running) -> None:
    blob = bytes(range(256))
    digest = Digest.of(blob)
    assert (await registry.ask("POST", f"/v2/app/blobs/uploads/?digest={digest}", blob))[0] == 201
    status, headers, body = await registry.ask("GET", f"/v2/app/blobs/{digest}", Range="bytes=10-19")
    assert (status, headers["content-range"], body) == (206, "bytes 10-19/256", blob[10:20])
    assert (await registry.ask("GET", f"/v2/app/blobs/{digest}", Range="bytes=256-"))[0] == 416


async def test_tags_and_repositories_come_in_pages(registry: Running) -> None:
    for tag in ("a", "b", "c"):
        await registry.run(push_image, registry.url, "app", tag, image(tag))
    status, headers, body = await registry.ask("GET", "/v2/app/tags/list?n=2")
    assert (status, json.loads(body)) == (200, {"name": "app", "tags": ["a", "b"]})
    assert headers["link"] == '</v2/app/tags/list?n=2&last=b>; rel="next"'
    assert json.loads((await registry.ask("GET", "/v2/app/tags/list?n=2&last=b"))[2])["tags"] == ["c"]
    assert json.loads((await registry.ask("GET", "/v2/_catalog"))[2]) == {"repositories": ["app"]}


async def test_deleting_a_tag_leaves_the_manifest_and_deleting_the_manifest_takes_its_tags(registry: Running) -> None:
    one = image("one")
    for tag in ("a", "b"):
        await registry.run(push_image, registry.url, "app", tag, one)
    assert (await registry.ask("DELETE", "/v2/app/manifests/a"))[0] == 202
    assert (await registry.ask("GET", "/v2/app/manifests/a"))[0] == 404
    assert (await registry.ask("GET", "/v2/app/manifests/b"))[0] == 200
    assert (await registry.ask("DELETE", f"/v2/app/manifests/{one.descriptor.digest}"))[0] == 202
    assert (await registry.ask("GET", "/v2/app/manifests/b"))[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/UPPER/manifests/1", 400, "NAME_INVALID"),
        ("GET", "/v2/app/manifests/nosuch", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/app/blobs/sha256:short", 400, "DIGEST_INVALID"),
        ("GET", "/v2/nosuch/tags/list", 404, "NAME_UNKNOWN"),
        ("PATCH", "/v2/app/blobs/uploads/nosuch", 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PUT", "/v2/app/manifests/1", 400, "MANIFEST_INVALID"),
    ],
)
async def test_refusals_have_the_protocols_codes(
    registry: Running, method: str, path: str, status: int, code: str
) -> None:
    got, _, body = await registry.ask(method, path, b"{}" if method == "PUT" else b"")
    assert (got, json.loads(body)["errors"][0]["code"]) == (status, code)

"""The pieces of the replay on their own: registry, pusher and request log."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.golden.images import ImageSpec, PushedImages, Pusher
from tests.golden.registry_process import RegistryProcess, docker_registry
from tests.golden.request_log import Answer, RequestLog

pytestmark = pytest.mark.root
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryProcess]:
    with docker_registry(tmp_path / "registry") as process:
        yield process


@pytest.fixture
def log(registry: RegistryProcess) -> Iterator[RequestLog]:
    with RequestLog(registry.port).serving() as one:
        yield one


def ask(log: RequestLog, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(log.address, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_what_is_pushed_is_served_through_the_log_and_written_down(registry: RegistryProcess, log: RequestLog) -> None:
    pushed = PushedImages()
    pusher = Pusher(registry, pushed)
    pusher.push(ImageSpec(name="nginx:1"))
    pusher.push(ImageSpec(name="nginx:1", text="moved", label="nginx:1#2"))
    pusher.close()
    status, body = ask(log, "GET", "/v2/library/nginx/manifests/1?ns=docker.io", Accept=INDEX)
    assert status == 200
    assert pushed.digest("manifest", "nginx:1#2") in body.decode()
    assert ask(log, "HEAD", "/v2/library/nginx/manifests/2", Accept=INDEX) == (404, b"")
    layer = pushed.digest("layer", "nginx:1#2")
    status, blob = ask(log, "GET", f"/v2/library/nginx/blobs/{layer}", Authorization="Basic YWxpY2U6eA==")
    assert status == 200
    rows = [(row.method, row.repository, row.kind, row.reference, row.status, row.user) for row in log.requests()]
    assert rows == [
        ("GET", "library/nginx", "manifests", "1", 200, ""),
        ("HEAD", "library/nginx", "manifests", "2", 404, ""),
        ("GET", "library/nginx", "blobs", layer, 200, "alice"),
    ]
    assert len(blob) > 0


def test_the_log_can_answer_in_the_place_of_the_registry(log: RequestLog) -> None:
    log.answers["library/err"] = Answer(status=429, body=b"slow down", headers=(("Retry-After", "5"),))
    assert ask(log, "GET", "/v2/library/err/manifests/1") == (429, b"slow down")
    assert log.requests()[-1].status == 429


def test_a_registry_with_a_password_takes_only_those_who_know_it(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "private", with_password=True) as registry:
        pusher = Pusher(registry, PushedImages())
        pusher.push(ImageSpec(name="team/app:1", is_index=False))
        pusher.close()
        with RequestLog(registry.port).serving() as log:
            path, right, wrong = "/v2/team/app/manifests/1", "Basic YWxpY2U6czNjcmV0", "Basic Ym9iOm5vcGU="
            assert ask(log, "GET", path, Accept=MANIFEST)[0] == 401
            assert ask(log, "GET", path, Accept=MANIFEST, Authorization=right)[0] == 200
            assert ask(log, "GET", path, Accept=MANIFEST, Authorization=wrong)[0] == 401

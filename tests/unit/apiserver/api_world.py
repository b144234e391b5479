"""A client of the API server under test, and small objects to give it."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from pullet.apiserver.server import ApiServer


class Api:
    """A client of the server, saying JSON."""

    def __init__(self, server: ApiServer, http: httpx2.AsyncClient) -> None:
        self.server, self.http = server, http

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send and decode; the status code and the body."""
        given = {"content-type": "application/json", **{key.replace("_", "-"): value for key, value in headers.items()}}
        content = body if isinstance(body, bytes) else None if body is None else msgspec.json.encode(body)
        response = await self.http.request(method, path, content=content, headers=given)
        return response.status_code, msgspec.json.decode(response.content) if response.content else None

    async def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The body of a call that must succeed."""
        status, value = await self.call(method, path, body, **headers)
        assert status < 300, value
        return value

    async def refused(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """The Status of a call that must not."""
        status, value = await self.call(method, path, body, **headers)
        assert status >= 400, value
        assert value["kind"] == "Status", value
        assert value["code"] == status
        assert isinstance(value, dict)
        return value

    async def pod(self, name: str, **labels: str) -> Any:
        """A new pod in `default`."""
        return await self.ok("POST", PODS, pod(name, **labels))


PODS = "/api/v1/namespaces/default/pods"


def pod(name: str, **labels: str) -> dict[str, Any]:
    """A small pod."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "nginx:1"}]},
    }


def configmap(name: str, **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def client_tls(server: ApiServer, directory: Path, user: str, groups: list[str]) -> ssl.SSLContext:
    """A TLS context that shows a certificate of the server's own authority. Blocking."""
    certificate = server.authority.issue_client(user, groups, now=datetime.now(UTC))
    both = directory / f"{user.replace(':', '-')}.pem"
    both.write_bytes(certificate.certificate_pem + certificate.key_pem)
    context = ssl.create_default_context(cafile=str(server.authority.certificate_path))
    context.load_cert_chain(both)
    return context

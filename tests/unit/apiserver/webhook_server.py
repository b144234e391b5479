"""A webhook over HTTPS: it notes every AdmissionReview and answers as a test tells it to."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

Review = dict[str, Any]
Reply = Callable[[Review], Review | bytes]


def allow(request: Review) -> Review:
    """Yes."""
    return {"uid": request["uid"], "allowed": True}


def patching(*operations: Review) -> Reply:
    """Yes, with a JSON Patch."""

    def reply(request: Review) -> Review:
        patch = base64.b64encode(msgspec.json.encode(list(operations))).decode()
        return {**allow(request), "patchType": "JSONPatch", "patch": patch}

    return reply


def denying(**status: Any) -> Reply:
    """No, with a status."""
    return lambda request: {"uid": request["uid"], "allowed": False, **({"status": status} if status else {})}


class WebhookServer:
    """Replies by path; `seen` are the requests of the reviews, in order of arrival."""

    def __init__(self, tls: ssl.SSLContext, authority_pem: bytes) -> None:
        self._tls = tls
        self.bundle = base64.b64encode(authority_pem).decode()
        self.replies: dict[str, Reply] = {}
        self.status = 200
        self.delay_seconds = 0.0
        self.seen: list[tuple[str, Review]] = []
        self.reviews: list[Review] = []

    async def __aenter__(self) -> WebhookServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def url(self, path: str) -> str:
        return f"https://127.0.0.1:{self.port}{path}"

    def requests(self, path: str) -> list[Review]:
        return [request for where, request in self.seen if where == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            target = head.split(" ", 2)[1]
            length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
            review = msgspec.json.decode(await reader.readexactly(length))
            path = target.partition("?")[0]
            self.reviews.append(review | {"target": target})
            self.seen.append((path, review["request"]))
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            answer = self.replies.get(path, allow)(review["request"])
            body = answer if isinstance(answer, bytes) else msgspec.json.encode(
                {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": answer}
            )  # fmt: skip
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%s" % (self.status, len(body), body))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client gave up
        finally:
            writer.close()


def configuration(kind: str, name: str, *webhooks: Review) -> Review:
    """A MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": list(webhooks),
    }


def rule(resources: Iterable[str], operations: Iterable[str] = ("*",), **more: Any) -> Review:
    """A rule for core/v1."""
    given = {"operations": list(operations), "resources": list(resources)}
    return {"apiGroups": [""], "apiVersions": ["v1"], **given, **more}

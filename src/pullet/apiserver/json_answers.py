"""Bodies in JSON, written as upstream writes them: ended by a newline, or indented for whoever reads them.

Clients print bodies as they are, and join them; a body without its newline runs into what follows. Long bodies are
sent in slices, small enough that the copies on their way (encryption, socket) stay in memory that is used again, and
that a slow client holds no more than a few of them.
Source: apimachinery pkg/runtime/serializer/json, apiserver pkg/endpoints/handlers/negotiation (isPrettyPrint).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pullet.apiserver.decoding import JSON
from pullet.apiserver.records import encode_json

_SLICE_BYTES = 256 * 1024
_READERS: Final = ("curl", "Wget", "Mozilla/5.0")
_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")


class JsonResponse(Response):
    """A response whose body comes in parts; long ones are never joined. The newline is added here."""

    def __init__(
        self, parts: Sequence[bytes], status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(None, status_code, headers, JSON)
        self._set([*parts, b"\n"])

    def _set(self, parts: Sequence[bytes]) -> None:
        length = sum(map(len, parts))
        self._parts = [b"".join(parts)] if length <= _SLICE_BYTES else parts
        self.headers["content-length"] = str(length)

    def indent(self) -> None:
        """Put every value on a line of its own; there is no newline at the end then."""
        self._set([indented(b"".join(self._parts).rstrip())])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry."""
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        last = len(self._parts) - 1
        for number, part in enumerate(self._parts):
            view = memoryview(part)
            for start in range(0, len(part), _SLICE_BYTES):
                body: Any = view[start : start + _SLICE_BYTES]
                is_end = number == last and start + _SLICE_BYTES >= len(part)
                await send({"type": "http.response.body", "body": body, "more_body": not is_end})


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """A value as the answer."""
    return JsonResponse([encode_json(value)], status, headers)


def indented(body: bytes) -> bytes:
    """JSON with every value on a line of its own."""
    return msgspec.json.format(body, indent=2)


def wants_indent(request: Request) -> bool:
    """Whether a request comes from somebody who reads the answer: `pretty` says so, or the program that asks."""
    if b"pretty" in request.scope["query_string"] and (pretty := request.query_params.get("pretty", "")):
        return pretty in _TRUE
    return request.headers.get("user-agent", "").startswith(_READERS)

"""What a call can fail with: the server's Status as an ApiError, or no answer at all."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from pullet.kube.status import ServiceUnavailableError, error_from_status

_SHOWN_CHARACTERS = 256


class ApiUnreachableError(ServiceUnavailableError):
    """No answer: refused, cut, timed out, or not the API at all. Whether a write took place is unknown."""

    reason = "ApiUnreachable"

    @classmethod
    def of(cls, method: str, path: str, error: Exception) -> Self:
        """Names the request and what the transport said."""
        return cls(f"{method} {path}: no answer from the API server: {str(error) or type(error).__name__}")


def check_response(status: int, body: bytes) -> None:
    """Raise the ApiError that an answer of 400 or more stands for; anything below passes."""
    if status < 400:
        return
    try:
        decoded: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        decoded = None
    if isinstance(decoded, dict) and decoded.get("kind") == "Status":
        raise error_from_status(decoded, status)
    text = body.decode("utf-8", "replace").strip()[:_SHOWN_CHARACTERS]
    raise error_from_status({"message": f"the server answered {status}" + (f": {text}" if text else "")}, status)

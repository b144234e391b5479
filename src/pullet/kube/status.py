"""metav1.Status and the errors that become one: ApiError and its family, with the API server's texts.

ApiError
├ BadRequestError 400        ├ UnauthorizedError 401         ├ ForbiddenError 403
├ NotFoundError 404          ├ MethodNotAllowedError 405     ├ NotAcceptableError 406
├ AlreadyExistsError 409     ├ ConflictError 409             ├ GoneError, ExpiredError 410
├ EntityTooLargeError 413    ├ UnsupportedMediaTypeError 415 ├ InvalidError 422
├ TooManyRequestsError 429   ├ InternalApiError 500          ├ ServiceUnavailableError 503
└ TimeoutApiError 504
Raised by the server where the rule is broken, and by the client from the Status it received.
Source: apimachinery pkg/api/errors/errors.go, pkg/apis/meta/v1/types.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, aggregate_text, quote
from pullet.kube.scheme import Resource


class ApiError(PulletError):
    """A request the API refused: `code` is the HTTP status, `details` what metav1.StatusDetails holds."""

    reason: ClassVar[str] = ""
    code: ClassVar[int] = 500

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: JsonObject = dict(details or {})
        self.http_code = code or self.code

    @property
    def causes(self) -> list[JsonObject]:
        """`details.causes`: reason, message, field of each."""
        causes: list[JsonObject] = self.details.get("causes") or []
        return causes

    @property
    def retry_after_seconds(self) -> int | None:
        """What the server asked to wait, if it did."""
        return self.details.get("retryAfterSeconds")

    def to_status(self) -> JsonObject:
        """The metav1.Status body."""
        status: JsonObject = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details:
            status["details"] = self.details
        status["code"] = self.http_code
        return status

    @classmethod
    def about(cls, resource: Resource | None, name: str, message: str, **details: Any) -> Self:
        """An error on one object, whose details name it by resource."""
        facts: JsonObject = {}
        if name:
            facts["name"] = name
        if resource is not None:
            if resource.group:
                facts["group"] = resource.group
            facts["kind"] = resource.plural
        return cls(message, details=facts | {key: value for key, value in details.items() if value is not None})


class BadRequestError(ApiError):
    """The request itself cannot be understood."""

    reason = "BadRequest"
    code = 400


class UnauthorizedError(ApiError):
    """Nobody known is asking."""

    reason = "Unauthorized"
    code = 401

    def __init__(
        self, message: str = "Unauthorized", *, details: Mapping[str, Any] | None = None, code: int | None = None
    ) -> None:
        super().__init__(message, details=details, code=code)


class ForbiddenError(ApiError):
    """The one who asks may not, or admission says no."""

    reason = "Forbidden"
    code = 403

    @classmethod
    def on(cls, resource: Resource | None, name: str, why: str) -> Self:
        """`pods "x" is forbidden: why`."""
        if resource is None:
            return cls(f"forbidden: {why}")
        subject = f"{resource} {quote(name)}" if name else f"{resource}"
        return cls.about(resource, name, f"{subject} is forbidden: {why}")


class NotFoundError(ApiError):
    """No such object, or no such path."""

    reason = "NotFound"
    code = 404

    @classmethod
    def on(cls, resource: Resource, name: str) -> Self:
        """`pods "x" not found`."""
        return cls.about(resource, name, f"{resource} {quote(name)} not found")

    @classmethod
    def path(cls) -> Self:
        """No resource is served there."""
        return cls("the server could not find the requested resource")


class MethodNotAllowedError(ApiError):
    """The resource is there, the verb is not."""

    reason = "MethodNotAllowed"
    code = 405

    @classmethod
    def on(cls, resource: Resource, verb: str) -> Self:
        """`delete is not supported on resources of kind "pods"`."""
        return cls.about(resource, "", f"{verb} is not supported on resources of kind {quote(str(resource))}")


class NotAcceptableError(ApiError):
    """No representation the client accepts."""

    reason = "NotAcceptable"
    code = 406


class AlreadyExistsError(ApiError):
    """Create of a name that is taken."""

    reason = "AlreadyExists"
    code = 409

    @classmethod
    def on(cls, resource: Resource, name: str) -> Self:
        """`pods "x" already exists`."""
        return cls.about(resource, name, f"{resource} {quote(name)} already exists")


MODIFIED_TEXT = "the object has been modified; please apply your changes to the latest version and try again"


class ConflictError(ApiError):
    """The object changed since it was read, a precondition fails, or fields belong to another manager."""

    reason = "Conflict"
    code = 409

    @classmethod
    def on(cls, resource: Resource, name: str, why: str = MODIFIED_TEXT) -> Self:
        """`Operation cannot be fulfilled on pods "x": why`."""
        return cls.about(resource, name, f"Operation cannot be fulfilled on {resource} {quote(name)}: {why}")

    @classmethod
    def fields(cls, message: str, causes: Sequence[JsonObject]) -> Self:
        """A server-side apply that would take fields from other managers."""
        return cls(message, details={"causes": list(causes)} if causes else None)


class GoneError(ApiError):
    """It was there and never will be again."""

    reason = "Gone"
    code = 410


class ExpiredError(ApiError):
    """A resourceVersion or continue token older than what is kept: list again."""

    reason = "Expired"
    code = 410

    @classmethod
    def watch(cls, asked: int, oldest: int) -> Self:
        """`too old resource version: 5 (80)`."""
        return cls(f"too old resource version: {asked} ({oldest})")

    @classmethod
    def page(cls, text: str, continue_token: str) -> Self:
        """The next page of a list whose moment is gone; the token goes on with what is there now."""
        error = cls(text)
        error.continue_token = continue_token
        return error

    continue_token = ""

    def to_status(self) -> JsonObject:
        """With the token of an inconsistent continuation, if there is one."""
        status = super().to_status()
        if self.continue_token:
            status["metadata"] = {"continue": self.continue_token}
        return status


class EntityTooLargeError(ApiError):
    """The body is larger than the server reads."""

    reason = "RequestEntityTooLarge"
    code = 413


class UnsupportedMediaTypeError(ApiError):
    """The body is in a format the server does not read."""

    reason = "UnsupportedMediaType"
    code = 415

    @classmethod
    def accepting(cls, *media_types: str) -> Self:
        """Says which formats it does read."""
        return cls(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(media_types)
        )


class InvalidError(ApiError):
    """The object breaks validation; one cause per field."""

    reason = "Invalid"
    code = 422

    @classmethod
    def on(cls, group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Self:
        """`Pod "x" is invalid: spec.containers: Required value`."""
        details: JsonObject = {"name": name} if name else {}
        if group:
            details["group"] = group
        if kind:
            details["kind"] = kind
        details["causes"] = [{"reason": error.reason, "message": error.body, "field": error.field} for error in errors]
        qualified = f"{kind}.{group}" if group else kind
        return cls(f"{qualified} {quote(name)} is invalid: {aggregate_text(errors)}", details=details)


class TooManyRequestsError(ApiError):
    """Asked again too soon."""

    reason = "TooManyRequests"
    code = 429
    retryable = True


class InternalApiError(ApiError):
    """The server failed; the text says at what."""

    reason = "InternalError"
    code = 500
    retryable = True

    @classmethod
    def because(cls, error: object) -> Self:
        """`Internal error occurred: …`."""
        return cls(f"Internal error occurred: {error}", details={"causes": [{"message": str(error)}]})


class ServiceUnavailableError(ApiError):
    """Not now."""

    reason = "ServiceUnavailable"
    code = 503
    retryable = True


class TimeoutApiError(ApiError):
    """The server gave up waiting."""

    reason = "Timeout"
    code = 504
    retryable = True


_FAMILY: dict[str, type[ApiError]] = {
    kind.reason: kind
    for kind in (
        BadRequestError, UnauthorizedError, ForbiddenError, NotFoundError, MethodNotAllowedError, NotAcceptableError,
        AlreadyExistsError, ConflictError, GoneError, ExpiredError, EntityTooLargeError, UnsupportedMediaTypeError,
        InvalidError, TooManyRequestsError, InternalApiError, ServiceUnavailableError, TimeoutApiError,
    )
}  # fmt: skip
_BY_CODE: dict[int, type[ApiError]] = {
    kind.code: kind for reason, kind in _FAMILY.items() if reason not in ("AlreadyExists", "Gone")
}


def error_from_status(status: Mapping[str, Any], http_code: int | None = None) -> ApiError:
    """The error a received metav1.Status (or a body that is none, given its HTTP code) stands for."""
    code = http_code or int(status.get("code") or 500)
    kind = _FAMILY.get(str(status.get("reason") or "")) or _BY_CODE.get(code, ApiError)
    message = str(status.get("message") or f"the server answered {code}")
    return kind(message, details=status.get("details") or {}, code=code)


def success_status(resource: Resource, name: str, uid: str) -> JsonObject:
    """The Status a finished delete answers with."""
    details = {"name": name, "kind": resource.plural, "uid": uid}
    if resource.group:
        details["group"] = resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

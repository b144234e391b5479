"""AdmissionReview: what a webhook is asked and how its answer is read. Pure.

Source: k8s.io/api/admission/v1, apiserver pkg/admission/plugin/webhook/{request,errors}.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.field_error import quote
from pullet.kube.scheme import Resource
from pullet.kube.status import ApiError

VERSIONS = ("v1", "v1beta1")  # spoken here, in the order preferred


class AnswerInvalidError(ValueError):
    """The answer is no AdmissionReview that can be obeyed."""


class WebhookDeniedError(ApiError):
    """A webhook said no; the status' code and reason are the webhook's own."""

    reason = "AdmissionDenied"

    def __init__(self, message: str, *, reason: str, code: int, details: Mapping[str, Any] | None) -> None:
        super().__init__(message, details=details, code=code)
        self.given_reason = reason

    def to_status(self) -> JsonObject:
        """The metav1.Status body."""
        status = super().to_status()
        del status["reason"]
        return status | ({"reason": self.given_reason} if self.given_reason else {})


class Question(Value, kw_only=True):
    """A request as a webhook is told of it; `resource` is the view whose rule matched, `asked` the one requested."""

    operation: str
    resource: Resource
    asked: Resource
    subresource: str
    namespace: str
    name: str
    obj: JsonObject | None
    old: JsonObject | None
    user: JsonObject
    options: JsonObject | None
    dry_run: bool

    def review(self, uid: str, version: str) -> JsonObject:
        """The AdmissionReview to send."""
        request: JsonObject = {
            "uid": uid,
            "kind": _kind(self.resource, self.subresource, self.operation),
            "resource": _resource(self.resource),
        }
        if self.subresource:
            request["subResource"] = self.subresource
        request["requestKind"] = _kind(self.asked, self.subresource, self.operation)
        request["requestResource"] = _resource(self.asked)
        if self.subresource:
            request["requestSubResource"] = self.subresource
        if self.name:
            request["name"] = self.name
        if self.namespace:
            request["namespace"] = self.namespace
        request |= {
            "operation": self.operation,
            "userInfo": self.user,
            "object": self.obj,
            "oldObject": self.old,
            "dryRun": self.dry_run,
            "options": self.options,
        }
        return {"kind": "AdmissionReview", "apiVersion": f"admission.k8s.io/{version}", "request": request}


def _kind(resource: Resource, subresource: str, operation: str) -> JsonObject:
    sub = resource.subresource(subresource) if subresource else None
    if sub is None or not sub.kind:
        return {"group": resource.group, "version": resource.version, "kind": resource.kind}
    group, version = (sub.group, sub.version) if sub.version else (resource.group, resource.version)
    return {"group": group, "version": version, "kind": sub.kind}


def _resource(resource: Resource) -> JsonObject:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def review_version(offered: Iterable[str]) -> str:
    """The first version of AdmissionReview a webhook offers that is spoken here; empty if none."""
    return next((version for version in offered if version in VERSIONS), "")


class Answer(Value, kw_only=True):
    """What a webhook said. `patch` are the operations of a JSON Patch."""

    allowed: bool
    status: JsonObject
    warnings: tuple[str, ...]
    patch: list[Any]


def read_answer(body: bytes, *, uid: str, version: str, is_mutating: bool) -> Answer:
    """The response in a webhook's body.

    Raises:
        AnswerInvalidError: not an AdmissionReview of that version, for another uid, or with a patch that is none.
    """
    try:
        review: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerInvalidError(f"couldn't get version/kind; json parse error: {error}") from error
    if not isinstance(review, dict):
        raise AnswerInvalidError("expected an AdmissionReview, got no object")
    wanted = f"admission.k8s.io/{version}"
    if review.get("apiVersion") != wanted or review.get("kind") != "AdmissionReview":
        got = f"{review.get('apiVersion') or ''}, Kind={review.get('kind') or ''}"
        raise AnswerInvalidError(f"expected webhook response of {wanted}, Kind=AdmissionReview, got {got}")
    response = review.get("response")
    if not isinstance(response, dict):
        raise AnswerInvalidError("webhook response was absent")
    if version == "v1" and response.get("uid") != uid:
        raise AnswerInvalidError(f"expected response.uid={quote(uid)}, got {quote(str(response.get('uid') or ''))}")
    status, warnings = response.get("status"), response.get("warnings")
    return Answer(
        allowed=response.get("allowed") is True,
        status=status if isinstance(status, dict) else {},
        warnings=tuple(str(text) for text in warnings) if isinstance(warnings, list) else (),
        patch=_patch(response, version) if is_mutating else [],
    )


def _patch(response: Mapping[str, Any], version: str) -> list[Any]:
    text, kind = response.get("patch"), response.get("patchType")
    if not text:
        if kind:
            raise AnswerInvalidError("webhook returned response.patchType but not response.patch")
        return []
    if not kind and version == "v1":
        raise AnswerInvalidError("webhook returned response.patch but not response.patchType")
    if kind not in (None, "JSONPatch"):
        raise AnswerInvalidError(f"webhook returned invalid response.patchType of {quote(str(kind))}")
    try:
        patch: Any = msgspec.json.decode(base64.b64decode(text, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise AnswerInvalidError(f"response.patch is not the base64 of a JSON Patch: {error}") from error
    if not isinstance(patch, list):
        raise AnswerInvalidError("response.patch is not a JSON Patch: it must be a list of operations")
    return patch


def denial(webhook: str, status: Mapping[str, Any]) -> WebhookDeniedError:
    """The error that the webhook's refusal becomes. Source: webhook/errors/statuserror.go."""
    text = f"admission webhook {quote(webhook)} denied the request"
    why = status.get("message") or status.get("reason")
    code = status.get("code")
    details = status.get("details")
    return WebhookDeniedError(
        f"{text}: {why}" if why else f"{text} without explanation",
        reason=str(status.get("reason") or ""),
        code=code if isinstance(code, int) and 400 <= code <= 599 else 400,
        details=details if isinstance(details, dict) else None,
    )

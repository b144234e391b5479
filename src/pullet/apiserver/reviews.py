"""Resources that only answer: who am I, may I, is this token good."""

from __future__ import annotations

from pullet.apiserver.authorization import AccessRequest, rules_of
from pullet.apiserver.node_authorizer import Authorizer
from pullet.apiserver.request_context import RequestContext, User
from pullet.apiserver.service_account_tokens import ServiceAccountTokens
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import scheme
from pullet.kube.field_error import invalid
from pullet.kube.meta import format_time
from pullet.kube.scheme import Resource
from pullet.kube.status import BadRequestError, InvalidError, MethodNotAllowedError


class Reviews:
    """Fills in the status of a review."""

    def __init__(self, *, authorizer: Authorizer, tokens: ServiceAccountTokens, clock: Clock) -> None:
        self._authorizer = authorizer
        self._tokens = tokens
        self._clock = clock

    def answer(self, resource: Resource, namespace: str, review: JsonObject, context: RequestContext) -> JsonObject:
        """The review with its status."""
        review["spec"] = spec = review.get("spec") or {}
        review.setdefault("metadata", {})["creationTimestamp"] = None
        match resource:
            case scheme.SELFSUBJECTREVIEWS:
                del review["spec"]
                review["metadata"]["creationTimestamp"] = format_time(self._clock.now())
                review["status"] = {"userInfo": context.user.to_info()}
            case scheme.SELFSUBJECTACCESSREVIEWS:
                review["status"] = self._access(context.user, spec)
            case scheme.SUBJECTACCESSREVIEWS | scheme.LOCALSUBJECTACCESSREVIEWS:
                if resource is scheme.LOCALSUBJECTACCESSREVIEWS:
                    spec.setdefault("resourceAttributes", {})["namespace"] = namespace
                if not (spec.get("user") or spec.get("groups")):
                    text = "at least one of user or group must be specified"
                    raise InvalidError.on(resource.group, resource.kind, "", [invalid("spec.user", "", text)])
                user = User(name=spec.get("user") or "", groups=tuple(spec.get("groups") or ()))
                review["status"] = self._access(user, spec)
            case scheme.SELFSUBJECTRULESREVIEWS:
                if not spec.get("namespace"):
                    raise BadRequestError("no namespace on request")
                review["status"] = rules_of(context.user, spec["namespace"])
            case scheme.TOKENREVIEWS:
                if not spec.get("token"):
                    raise BadRequestError("token is required for TokenReview in authentication")
                review["status"] = self._token(spec)
            case _:
                raise MethodNotAllowedError.on(resource, "create")
        return review

    def _token(self, spec: JsonObject) -> JsonObject:
        checked = self._tokens.check(spec.get("token") or "", spec.get("audiences"))
        if checked is None:
            return {"user": {}, "error": "[invalid bearer token]"}
        user, audiences = checked
        return {"authenticated": True, "user": user.to_info(), "audiences": audiences}

    def _access(self, user: User, spec: JsonObject) -> JsonObject:
        decision = self._authorizer.decide(_request(user, spec))
        status: JsonObject = {"allowed": decision.is_allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return status


def _request(user: User, spec: JsonObject) -> AccessRequest:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if bool(resource) == bool(path):
        raise BadRequestError("exactly one of nonResourceAttributes or resourceAttributes must be specified")
    if path:
        return AccessRequest(user=user, verb=path.get("verb") or "get", path=path.get("path") or "/")
    assert resource is not None
    name = resource.get("resource") or ""
    if resource.get("subresource"):
        name += f"/{resource['subresource']}"
    requirements = (resource.get("fieldSelector") or {}).get("requirements") or ()
    nodes = [
        (item.get("values") or [""])[0]
        for item in requirements
        if item.get("key") == "spec.nodeName" and item.get("operator") == "In"
    ]
    return AccessRequest(
        user=user,
        verb=resource.get("verb") or "",
        group=resource.get("group") or "",
        resource=name,
        namespace=resource.get("namespace") or "",
        name=resource.get("name") or "",
        selected_node=nodes[0] if nodes else "",
    )

"""Acting as somebody else: the Impersonate-* headers, for those who may.

Source: apiserver pkg/endpoints/filters/impersonation.go.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.datastructures import Headers

from pullet.apiserver.authorization import AccessRequest, is_allowed
from pullet.apiserver.request_context import AUTHENTICATED_GROUP, User
from pullet.apiserver.service_account_tokens import ACCOUNT_PREFIX
from pullet.kube.field_error import quote
from pullet.kube.status import BadRequestError, ForbiddenError

_EXTRA = "impersonate-extra-"


def impersonated(user: User, headers: Headers) -> User:
    """The user the request acts as.

    Raises:
        ForbiddenError: `user` may not act as others. BadRequestError: groups without a user.
    """
    name = headers.get("impersonate-user", "")
    groups = headers.getlist("impersonate-group")
    extra = sorted({key for key in headers if key.startswith(_EXTRA)})
    if not name:
        if groups or extra or "impersonate-uid" in headers:
            raise BadRequestError(f"requested {groups or extra} without impersonating a user")
        return user
    asked = AccessRequest(user=user, verb="impersonate", resource="users", name=name)
    if not is_allowed(asked):
        error = ForbiddenError(f"users {quote(name)} is forbidden: {asked.forbidden_text}")
        error.details |= {"name": name, "kind": "users"}
        raise error
    if name.startswith(ACCOUNT_PREFIX) and not groups:
        namespace = name.removeprefix(ACCOUNT_PREFIX).partition(":")[0]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    if AUTHENTICATED_GROUP not in groups:
        groups = [*groups, AUTHENTICATED_GROUP]
    return User(
        name=name,
        uid=headers.get("impersonate-uid", ""),
        groups=tuple(groups),
        extra=tuple((unquote(key.removeprefix(_EXTRA)), tuple(headers.getlist(key))) for key in extra),
    )

"""metav1.ListOptions of a list or watch, from its query.

Source: apimachinery pkg/apis/meta/internalversion/validation/validation.go.
"""

from __future__ import annotations

from pullet.apiserver.routing import Query
from pullet.base.values import Value
from pullet.kube.field_error import FieldError, forbidden, not_supported, quote
from pullet.kube.status import BadRequestError, InvalidError

EXACT = "Exact"
NOT_OLDER_THAN = "NotOlderThan"
_MATCH = "resourceVersionMatch"
_MAX_DIGITS = 18


class ListOptions(Value, kw_only=True):
    """The options beside the selectors. A `resource_version` of None was not given; limit 0 is none."""

    resource_version: int | None
    match: str
    limit: int
    token: str
    timeout_seconds: int
    sends_initial_events: bool | None
    allows_bookmarks: bool

    @classmethod
    def of(cls, query: Query, *, is_watch: bool) -> ListOptions:
        """Read and check.

        Raises:
            BadRequestError: what is no number. InvalidError: options that do not go together.
        """
        made = cls(
            resource_version=_version(query.get("resourceVersion")),
            match=query.get(_MATCH),
            limit=_number(query.get("limit")),
            token=query.get("continue"),
            timeout_seconds=_number(query.get("timeoutSeconds")),
            sends_initial_events=query.flag("sendInitialEvents") if query.get("sendInitialEvents") else None,
            allows_bookmarks=query.flag("allowWatchBookmarks"),
        )
        errors = made._watch_errors() if is_watch else made._list_errors()
        if errors:
            raise InvalidError.on("meta.k8s.io", "ListOptions", "", errors)
        if not is_watch and made.token and made.resource_version:
            raise BadRequestError("specifying resource version is not allowed when using continue")
        return made

    def _list_errors(self) -> list[FieldError]:
        errors = []
        if self.match:
            if self.resource_version is None:
                errors.append(forbidden(_MATCH, f"{_MATCH} is forbidden unless resourceVersion is provided"))
            if self.token:
                errors.append(forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
            if self.match not in (EXACT, NOT_OLDER_THAN):
                errors.append(not_supported(_MATCH, self.match, (EXACT, NOT_OLDER_THAN, "")))
            if self.match == EXACT and self.resource_version == 0:
                errors.append(forbidden(_MATCH, f'{_MATCH} "exact" is forbidden for resourceVersion "0"'))
        if self.sends_initial_events is not None:
            errors.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        return errors

    def _watch_errors(self) -> list[FieldError]:
        errors = []
        if self.sends_initial_events is not None and self.match != NOT_OLDER_THAN:
            errors.append(forbidden(_MATCH, f"sendInitialEvents requires setting {_MATCH} to {NOT_OLDER_THAN}"))
        if self.match:
            if self.sends_initial_events is None:
                errors.append(
                    forbidden(_MATCH, f"{_MATCH} is forbidden for watch unless sendInitialEvents is provided")
                )
            if self.match != NOT_OLDER_THAN:
                errors.append(not_supported(_MATCH, self.match, (NOT_OLDER_THAN,)))
            if self.token:
                errors.append(forbidden(_MATCH, f"{_MATCH} is forbidden when continue is provided"))
        return errors


def _number(text: str) -> int:
    """An int64 as Go reads it; what is negative counts as absent."""
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        raise BadRequestError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if len(digits) > _MAX_DIGITS:
        raise BadRequestError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    return max(int(text), 0)


def _version(text: str) -> int | None:
    if not text:
        return None
    why = ""
    if not (text.isascii() and text.isdecimal()):
        why = "invalid syntax"
    elif len(text) > _MAX_DIGITS:
        why = "value out of range"
    if why:
        raise BadRequestError(
            f"resourceVersion: Invalid value: {quote(text)}: strconv.ParseUint: parsing {quote(text)}: {why}"
        )
    return int(text)

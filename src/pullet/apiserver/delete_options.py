"""metav1.DeleteOptions of a request: from its body, and from its query for what the body does not say.

Source: apiserver pkg/endpoints/handlers/delete.go, apimachinery pkg/apis/meta/v1/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pullet.apiserver.decoding import SchemaDecoder
from pullet.apiserver.routing import Query
from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, invalid, not_supported, quote
from pullet.kube.status import BadRequestError, InvalidError
from pullet.policy.deletion import PROPAGATION_POLICIES, DeleteOptions

_DRY_RUN_ALL = "All"


def parse_delete_options(value: Any, query: Query, decoder: SchemaDecoder) -> tuple[DeleteOptions, bool]:
    """The options, and whether this is but a dry run.

    Raises:
        BadRequestError: no DeleteOptions. InvalidError: values that do not exist.
    """
    if not isinstance(value, dict):
        raise BadRequestError("the body of a delete must be DeleteOptions")
    body: JsonObject = {**_from_query(query), **decoder.decode(value, "", "v1", "DeleteOptions").obj}
    errors: list[FieldError] = []
    policy = body.get("propagationPolicy") or ""
    if policy and "orphanDependents" in body:
        text = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(invalid("propagationPolicy", policy, text))
    if policy and policy not in PROPAGATION_POLICIES:
        errors.append(not_supported("propagationPolicy", policy, ("Foreground", "Background", "Orphan", "nil")))
    dry_run = body.get("dryRun") or ()
    errors += dry_run_errors(dry_run)
    if errors:
        raise InvalidError.on("meta.k8s.io", "DeleteOptions", "", errors)
    return DeleteOptions.from_body(body), _DRY_RUN_ALL in dry_run


def dry_run_errors(values: Iterable[str]) -> list[FieldError]:
    """What is wrong with a dryRun parameter."""
    given = list(values)
    return [not_supported("dryRun", given, (_DRY_RUN_ALL,))] if any(each != _DRY_RUN_ALL for each in given) else []


def _from_query(query: Query) -> JsonObject:
    found: JsonObject = {}
    text = query.get("gracePeriodSeconds")
    if text:
        if not text.removeprefix("-").isdecimal() or len(text) > 19:
            raise BadRequestError(
                f"strconv.ParseInt: parsing {quote(text)}: invalid syntax"
                if len(text) < 20
                else f"strconv.ParseInt: parsing {quote(text)}: value out of range"
            )
        found["gracePeriodSeconds"] = int(text)
    if query.get("orphanDependents"):
        found["orphanDependents"] = query.flag("orphanDependents")
    if query.get("propagationPolicy"):
        found["propagationPolicy"] = query.get("propagationPolicy")
    return found

"""The `paths` of the OpenAPI v3 documents: every operation served, with its parameters, bodies and answers.

Source: the names and actions of kube-apiserver's own documents (api/openapi-spec/v3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.resource import Resource, Subresource

Definition = Callable[[str, str, str], str | None]  # group, version, kind → name of the schema

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_STRATEGIC = "application/strategic-merge-patch+json"
_PATCH_TYPES = (
    "application/json-patch+json", "application/merge-patch+json", _STRATEGIC, "application/apply-patch+yaml",
)  # fmt: skip
_BODY_TYPES = ("*/*",)
# verb → method, action, what the body is ("" none, "object", "options", "patch"), query parameters
_VERBS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "get": ("get", "get", "", ("pretty",)),
    "list": ("get", "list", "", (
        "pretty", "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
        "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch")),
    "create": ("post", "post", "object", ("pretty", "dryRun", "fieldManager", "fieldValidation")),
    "update": ("put", "put", "object", ("pretty", "dryRun", "fieldManager", "fieldValidation")),
    "patch": ("patch", "patch", "patch", ("pretty", "dryRun", "fieldManager", "fieldValidation", "force")),
    "delete": ("delete", "delete", "options", ("pretty", "dryRun", "gracePeriodSeconds", "propagationPolicy")),
    "deletecollection": ("delete", "deletecollection", "options", (
        "pretty", "continue", "dryRun", "fieldSelector", "gracePeriodSeconds", "labelSelector", "limit",
        "propagationPolicy", "resourceVersion", "resourceVersionMatch")),
}  # fmt: skip
_TYPES = {
    "allowWatchBookmarks": "boolean", "force": "boolean", "gracePeriodSeconds": "integer", "limit": "integer",
    "sendInitialEvents": "boolean", "timeoutSeconds": "integer", "watch": "boolean",
}  # fmt: skip
_COLLECTION_VERBS = ("list", "create", "deletecollection")
_OBJECT_VERBS = ("get", "update", "patch", "delete")


def paths_of(row: Resource, definition: Definition) -> JsonObject:
    """The path items of a kind: everywhere, in a namespace, one object, its subresources."""
    paths: JsonObject = {}
    collection = row.path("{namespace}")
    names = ("namespace",) if row.namespaced else ()
    if row.namespaced and "list" in row.verbs:
        paths[row.path()] = _item(row, None, ("list",), (), definition, scope="ForAllNamespaces")
    paths[collection] = _item(row, None, _of(row.verbs, _COLLECTION_VERBS), names, definition)
    if row.is_stored:
        one = (*names, "name")
        paths[f"{collection}/{{name}}"] = _item(row, None, _of(row.verbs, _OBJECT_VERBS), one, definition)
        for sub in row.subresources:
            path = f"{collection}/{{name}}/{sub.name}"
            paths[path] = _item(row, sub, sub.verbs, one, definition, scope=sub.name.capitalize())
    return {path: item for path, item in paths.items() if item}


def _of(served: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(verb for verb in wanted if verb in served)


def _item(
    row: Resource,
    sub: Subresource | None,
    verbs: tuple[str, ...],
    names: tuple[str, ...],
    definition: Definition,
    *,
    scope: str = "",
) -> JsonObject:
    if not verbs:
        return {}
    item: JsonObject = {}
    for verb in verbs:
        item[_VERBS[verb][0]] = _operation(row, sub, verb, definition, scope)
    if names:
        item["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "uniqueItems": True}}
            for name in names
        ]
    return item


def _operation(row: Resource, sub: Subresource | None, verb: str, definition: Definition, scope: str) -> JsonObject:
    group, version, kind = row.group, row.version, row.kind
    if sub is not None and sub.kind:
        kind = sub.kind
        if sub.group or sub.version:
            group, version = sub.group, sub.version
    _, action, body, queries = _VERBS[verb]
    is_stream = sub is not None and sub.kind.endswith("Options")
    schema = _reference(definition(group, version, kind))
    answer = _reference(definition(group, version, row.list_kind)) if verb == "list" else schema
    if verb in ("delete", "deletecollection"):
        answer = _reference(f"{_META}Status")
    method = ""
    if is_stream or (sub is not None and sub.name == "log"):
        action, body, answer, method = "connect", "", {"type": "string"}, _VERBS[verb][0].capitalize()
    of = f"{_camel(row)}{row.version.capitalize()}{method}{'Namespaced' if row.namespaced else ''}{row.kind}"
    ok = {"description": "OK", "content": {"application/json": {"schema": answer}}}
    made: JsonObject = {
        "operationId": action + of + scope,
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        "parameters": [
            {"name": query, "in": "query", "schema": {"type": _TYPES.get(query, "string"), "uniqueItems": True}}
            for query in queries
        ],
        "responses": {"200": ok, "401": {"description": "Unauthorized"}},
    }
    if verb in ("create", "update", "patch"):
        made["responses"]["201"] = {**ok, "description": "Created"}
    if verb in ("create", "delete"):
        made["responses"]["202"] = {**ok, "description": "Accepted"}
    match body:
        case "":
            pass
        case "object":
            made["requestBody"] = {"required": True, "content": {each: {"schema": schema} for each in _BODY_TYPES}}
        case "options":
            options = _reference(f"{_META}DeleteOptions")
            made["requestBody"] = {"content": {each: {"schema": options} for each in _BODY_TYPES}}
        case _:  # a patch
            patch = _reference(f"{_META}Patch")
            types = [each for each in _PATCH_TYPES if not row.custom or each != _STRATEGIC]
            made["requestBody"] = {"required": True, "content": {each: {"schema": patch} for each in types}}
    return made


def _reference(name: str | None) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"} if name else {"type": "object"}


def _camel(row: Resource) -> str:
    """The group in an operation's name; of custom kinds all of it."""
    labels = (row.group or "core").split(".")
    return "".join(part.capitalize() for label in (labels if row.custom else labels[:1]) for part in label.split("-"))

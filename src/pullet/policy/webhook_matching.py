"""Which requests a webhook is called for: rules, scope, selectors.

Source: apiserver pkg/admission/plugin/webhook/predicates/{rules,namespace,object}, generic/webhook.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.meta import labels_of
from pullet.kube.scheme import NAMESPACES, Resource
from pullet.kube.selector import label_selector_from

ANY = "*"


class Attributes(Value, kw_only=True):
    """A write as webhooks are matched against it.

    `namespace` of a Namespace object is its own name. `obj` is None for a delete, `old` for a create.
    """

    operation: str
    resource: Resource
    views: Sequence[Resource]  # every row that shows the same objects
    subresource: str
    namespace: str
    obj: JsonObject | None
    old: JsonObject | None


def matching_resource(webhook: Mapping[str, Any], attributes: Attributes) -> Resource | None:
    """The view of the kind that the webhook's rules name, or None if they do not match.

    The view asked for comes first; under matchPolicy Equivalent another view of the same objects will do.
    """
    views = [attributes.resource]
    if webhook.get("matchPolicy") != "Exact":
        views += [row for row in attributes.views if row is not attributes.resource]
    rules: Sequence[Mapping[str, Any]] = webhook.get("rules") or ()
    return next((view for view in views if any(_rule_matches(rule, view, attributes) for rule in rules)), None)


def _rule_matches(rule: Mapping[str, Any], resource: Resource, attributes: Attributes) -> bool:
    return (
        _scope_matches(rule.get("scope") or ANY, attributes)
        and _has(rule.get("operations"), attributes.operation)
        and _has(rule.get("apiGroups"), resource.group)
        and _has(rule.get("apiVersions"), resource.version)
        and _resource_matches(rule.get("resources") or (), resource.plural, attributes.subresource)
    )


def _has(allowed: Iterable[str] | None, value: str) -> bool:
    return any(item in (ANY, value) for item in allowed or ())


def _scope_matches(scope: str, attributes: Attributes) -> bool:
    is_inside = attributes.resource is not NAMESPACES and bool(attributes.namespace)
    match scope:
        case "Namespaced":
            return is_inside
        case "Cluster":
            return not is_inside
        case _:
            return True


def _resource_matches(patterns: Iterable[str], plural: str, subresource: str) -> bool:
    for pattern in patterns:
        resource, _, sub = pattern.partition("/")
        if resource in (ANY, plural) and sub in (ANY, subresource):
            return True
    return False


def needs_namespace(webhook: Mapping[str, Any], attributes: Attributes) -> bool:
    """Whether the webhook's namespaceSelector asks for labels of a namespace that is another object."""
    selector = webhook.get("namespaceSelector")
    return bool(selector) and bool(attributes.namespace) and not _brings_namespace(attributes)


def _brings_namespace(attributes: Attributes) -> bool:
    is_object = attributes.resource is NAMESPACES and not attributes.subresource
    return is_object and attributes.operation in ("CREATE", "UPDATE")


def selectors_match(webhook: Mapping[str, Any], attributes: Attributes, namespace: JsonObject | None) -> bool:
    """Whether namespaceSelector and objectSelector let the request through.

    `namespace` is the request's namespace, needed where `needs_namespace` says so. Requests outside any namespace
    pass every namespaceSelector.

    Raises:
        SelectorError: a selector that cannot be read.
    """
    if attributes.namespace and webhook.get("namespaceSelector"):
        subject = attributes.obj if _brings_namespace(attributes) else namespace
        if not label_selector_from(webhook["namespaceSelector"]).matches(labels_of(subject or {})):
            return False
    if not webhook.get("objectSelector"):
        return True
    selector = label_selector_from(webhook["objectSelector"])
    return any(selector.matches(labels_of(obj)) for obj in (attributes.obj, attributes.old) if obj is not None)

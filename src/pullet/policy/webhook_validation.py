"""Rules on webhook configurations, in the API server's words.

Source: kubernetes pkg/apis/admissionregistration/validation/validation.go, apiserver pkg/util/webhook/validation.go.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, duplicate, forbidden, invalid, not_supported, required
from pullet.kube.meta import dns_subdomain_problems
from pullet.kube.selector import SelectorError, label_selector_from
from pullet.policy.admission_review import VERSIONS

_OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_URL_FORM = "; desired format: https://host[:port]/path"
SIDE_EFFECT_FREE = ("None", "NoneOnDryRun")
# sets whose `*` stands alone, and what it is called when it does not
_SETS = (("apiGroups", "API groups"), ("apiVersions", "API versions"), ("operations", "operations"))


def validate_webhooks(configuration: JsonObject) -> list[FieldError]:
    """Rules on a MutatingWebhookConfiguration or ValidatingWebhookConfiguration."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for index, webhook in enumerate(configuration.get("webhooks") or ()):
        path = f"webhooks[{index}]"
        name = webhook.get("name") or ""
        errors += _validate_name(name, f"{path}.name")
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        errors += _validate_webhook(webhook, path)
    return errors


def _validate_name(name: str, path: str) -> list[FieldError]:
    if not name:
        return [required(path)]
    problems = dns_subdomain_problems(name)
    if not problems and name.count(".") < 2:
        problems = ["should be a domain with at least three segments separated by dots"]
    return [invalid(path, name, text) for text in problems]


def _validate_webhook(webhook: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, rule in enumerate(webhook.get("rules") or ()):
        errors += _validate_rule(rule, f"{path}.rules[{index}]")
    for field, allowed in (("failurePolicy", ("Fail", "Ignore")), ("matchPolicy", ("Equivalent", "Exact"))):
        if webhook.get(field) not in allowed:
            errors.append(not_supported(f"{path}.{field}", webhook.get(field), allowed))
    again = webhook.get("reinvocationPolicy")
    if again is not None and again not in ("IfNeeded", "Never"):
        errors.append(not_supported(f"{path}.reinvocationPolicy", again, ("IfNeeded", "Never")))
    effects = webhook.get("sideEffects")
    if effects is None:
        errors.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(SIDE_EFFECT_FREE)}"))
    elif effects not in SIDE_EFFECT_FREE:
        errors.append(not_supported(f"{path}.sideEffects", effects, SIDE_EFFECT_FREE))
    seconds = webhook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        errors.append(invalid(f"{path}.timeoutSeconds", seconds, "the timeout value must be between 1 and 30 seconds"))
    versions = webhook.get("admissionReviewVersions") or ()
    if not versions:
        errors.append(required(f"{path}.admissionReviewVersions", f"must specify one of {', '.join(VERSIONS)}"))
    elif not set(versions) & set(VERSIONS):
        text = f"must include at least one of {', '.join(VERSIONS)}"
        errors.append(invalid(f"{path}.admissionReviewVersions", versions, text))
    for field in ("namespaceSelector", "objectSelector"):
        try:
            _ = label_selector_from(webhook.get(field))
        except (SelectorError, KeyError) as error:
            errors.append(invalid(f"{path}.{field}", webhook.get(field), f"invalid label selector: {error}"))
    if webhook.get("matchConditions"):
        text = "expressions are not evaluated by this API server; narrow the webhook by rules and selectors"
        errors.append(forbidden(f"{path}.matchConditions", text))
    return errors + _validate_client(webhook.get("clientConfig") or {}, f"{path}.clientConfig")


def _validate_rule(rule: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field, what in _SETS:
        values = rule.get(field) or ()
        if not values:
            errors.append(required(f"{path}.{field}"))
        elif "*" in values and len(values) > 1:
            errors.append(invalid(f"{path}.{field}", values, f"if '*' is present, must not specify other {what}"))
    for index, operation in enumerate(rule.get("operations") or ()):
        if operation not in _OPERATIONS:
            errors.append(not_supported(f"{path}.operations[{index}]", operation, _OPERATIONS))
    for index, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            errors.append(required(f"{path}.apiVersions[{index}]"))
    resources = rule.get("resources") or ()
    if not resources:
        errors.append(required(f"{path}.resources"))
    errors += _validate_resources(resources, f"{path}.resources")
    if rule.get("scope") not in (None, "*", "Cluster", "Namespaced"):
        errors.append(not_supported(f"{path}.scope", rule["scope"], ("*", "Cluster", "Namespaced")))
    return errors


def _validate_resources(resources: Iterable[str], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    every_sub: set[str] = set()  # resources given with /*
    every_resource: set[str] = set()  # subresources given with */
    given = list(resources)
    for index, text in enumerate(given):
        here = f"{path}[{index}]"
        if not text:
            errors.append(required(here))
            continue
        resource, _, sub = text.partition("/")
        if text == "*/*" and len(given) > 1:
            errors.append(invalid(path, given, "if '*/*' is present, must not specify other resources"))
            return errors
        if resource in every_sub and sub:
            errors.append(invalid(here, text, f"if '{resource}/*' is present, must not specify {text}"))
        if sub in every_resource and resource != "*":
            errors.append(invalid(here, text, f"if '*/{sub}' is present, must not specify {text}"))
        if sub == "*":
            every_sub.add(resource)
        if resource == "*" and sub:
            every_resource.add(sub)
    if "*" in given and any("/" not in text and text != "*" for text in given):
        errors.append(invalid(path, given, "if '*' is present, must not specify other resources without subresources"))
    return errors


def _validate_client(client: Mapping[str, Any], path: str) -> list[FieldError]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        return [required(path, "exactly one of url or service is required")]
    errors = _validate_url(str(url), f"{path}.url") if url is not None else []
    if isinstance(service, dict):
        errors += [required(f"{path}.service.{field}") for field in ("name", "namespace") if not service.get(field)]
        port = service.get("port", 443)
        if not 1 <= port <= 65535:
            errors.append(invalid(f"{path}.service.port", port, "must be between 1 and 65535, inclusive"))
    bundle = client.get("caBundle")
    if bundle and not _is_bundle(bundle):
        text = "unable to load root certificates: unable to parse bytes as PEM block"
        errors.append(invalid(f"{path}.caBundle", bundle, text))
    return errors


def _validate_url(url: str, path: str) -> list[FieldError]:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{_URL_FORM}")]
    errors = []
    if parts.scheme != "https":
        errors.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_URL_FORM}"))
    if not parts.hostname:
        errors.append(invalid(path, parts.netloc, f"host must be specified{_URL_FORM}"))
    if parts.username is not None:
        errors.append(invalid(path, "", "user information is not permitted in the URL"))
    if parts.fragment:
        errors.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        errors.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return errors


def _is_bundle(text: str) -> bool:
    try:
        return b"-----BEGIN CERTIFICATE-----" in base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False


def webhook_warnings(configuration: JsonObject) -> list[str]:
    """What will not work although it is accepted: services are stored, not routed."""
    return [
        f"webhooks[{index}].clientConfig.service: services are not routed by this API server, so calls of this webhook "
        "will fail; use clientConfig.url"
        for index, webhook in enumerate(configuration.get("webhooks") or ())
        if (webhook.get("clientConfig") or {}).get("service")
    ]

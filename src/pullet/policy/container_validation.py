"""Rules on one container of a pod or template, in the API server's words and order.

Source: kubernetes pkg/apis/core/validation/validation.go (validateContainerCommon and below).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from pullet.kube.field_error import FieldError, duplicate, invalid, not_found, not_supported, required
from pullet.kube.meta import dns_label_problems, port_name_problems
from pullet.kube.quantity import parse_quantity
from pullet.policy.pod_settings_validation import validate_seccomp

PULL_POLICIES = ("Always", "IfNotPresent", "Never")
SCHEMES = ("HTTP", "HTTPS")
PROTOCOLS = ("SCTP", "TCP", "UDP")
_ENV_NAME = re.compile(r"[ -<>-~]+")
_PORT_TEXT = "must be between 1 and 65535, inclusive"


def validate_container(
    container: Mapping[str, Any], path: str, *, volumes: Set[str], is_template: bool
) -> list[FieldError]:
    """Rules on a container; `volumes` are the names its mounts may use."""
    errors: list[FieldError] = []
    name = container.get("name") or ""
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        errors += [invalid(f"{path}.name", name, text) for text in dns_label_problems(name)]
    image = container.get("image") or ""
    if not image:
        errors.append(required(f"{path}.image"))
    elif not is_template and image != image.strip():
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy")
    if policy not in ("File", "FallbackToLogsOnError"):
        errors.append(not_supported(f"{path}.terminationMessagePolicy", policy, ("File", "FallbackToLogsOnError")))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe):
            errors += _validate_probe(container[probe], f"{path}.{probe}", is_readiness=probe == "readinessProbe")
    for hook in ("postStart", "preStop"):
        handler = (container.get("lifecycle") or {}).get(hook)
        if handler is not None:
            errors += _validate_handler(handler, f"{path}.lifecycle.{hook}")
    errors += _validate_ports(container, path)
    errors += _validate_env(container, path)
    errors += _validate_mounts(container, path, volumes)
    pull = container.get("imagePullPolicy")
    if not pull:
        errors.append(required(f"{path}.imagePullPolicy"))
    elif pull not in PULL_POLICIES:
        errors.append(not_supported(f"{path}.imagePullPolicy", pull, PULL_POLICIES))
    errors += _validate_resources(container.get("resources") or {}, f"{path}.resources")
    return errors + _validate_security(container.get("securityContext") or {}, f"{path}.securityContext")


def _validate_ports(container: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        here = f"{path}.ports[{index}]"
        name = port.get("name") or ""
        if name:
            problems = port_name_problems(name)
            errors += [invalid(f"{here}.name", name, text) for text in problems]
            if not problems and name in names:
                errors.append(duplicate(f"{here}.name", name))
            names.add(name)
        number = port.get("containerPort") or 0
        if not number:
            errors.append(required(f"{here}.containerPort"))
        elif not 0 < number < 65536:
            errors.append(invalid(f"{here}.containerPort", number, _PORT_TEXT))
        host = port.get("hostPort") or 0
        if host and not 0 < host < 65536:
            errors.append(invalid(f"{here}.hostPort", host, _PORT_TEXT))
        if not port.get("protocol"):
            errors.append(required(f"{here}.protocol"))
        elif port["protocol"] not in PROTOCOLS:
            errors.append(not_supported(f"{here}.protocol", port["protocol"], PROTOCOLS))
    return errors


_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELD_REFS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip


def _validate_env(container: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, variable in enumerate(container.get("env") or ()):
        here = f"{path}.env[{index}]"
        name = variable.get("name") or ""
        if not name:
            errors.append(required(f"{here}.name"))
        elif not _ENV_NAME.fullmatch(name):
            errors.append(
                invalid(f"{here}.name", name, "a valid environment variable name must consist only of printable ASCII "
                        "characters other than '='")
            )  # fmt: skip
        source = variable.get("valueFrom")
        if source is None:
            continue
        given = [field for field in _ENV_SOURCES if source.get(field) is not None]
        if len(given) != 1:
            errors.append(
                invalid(f"{here}.valueFrom", "", "must specify one of: `fieldRef`, `resourceFieldRef`, "
                        "`configMapKeyRef`, `secretKeyRef`, or `fileKeyRef`" if not given else
                        "may not have more than one field specified at a time")
            )  # fmt: skip
        if variable.get("value"):
            errors.append(invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty"))
        for field in given:
            errors += _validate_env_source(source[field], field, f"{here}.valueFrom.{field}")
    return errors


def _validate_env_source(source: Mapping[str, Any], field: str, path: str) -> list[FieldError]:
    if field in ("configMapKeyRef", "secretKeyRef"):
        return [required(f"{path}.{name}") for name in ("name", "key") if not source.get(name)]
    if field == "fieldRef":
        reference = source.get("fieldPath") or ""
        if not reference:
            return [required(f"{path}.fieldPath")]
        known = reference in _FIELD_REFS or re.fullmatch(r"metadata\.(labels|annotations)\['[^']+'\]", reference)
        if not known:
            return [
                invalid(
                    f"{path}.fieldPath",
                    reference,
                    f"error converting fieldPath: field label not supported: {reference}",
                )
            ]
    if field == "resourceFieldRef" and not source.get("resource"):
        return [required(f"{path}.resource")]
    return []


def _validate_mounts(container: Mapping[str, Any], path: str, volumes: Set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    targets: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{path}.volumeMounts[{index}]"
        name = mount.get("name") or ""
        if not name:
            errors.append(required(f"{here}.name"))
        if name not in volumes:
            errors.append(not_found(f"{here}.name", name))
        target = mount.get("mountPath") or ""
        if not target:
            errors.append(required(f"{here}.mountPath"))
        elif ":" in target:
            errors.append(invalid(f"{here}.mountPath", target, "must not contain ':'"))
        if target in targets:
            errors.append(invalid(f"{here}.mountPath", target, "must be unique"))
        targets.add(target)
        sub_path = mount.get("subPath") or ""
        if sub_path.startswith("/"):
            errors.append(invalid(f"{here}.subPath", sub_path, "must be a relative path"))
        elif ".." in sub_path.split("/"):
            errors.append(invalid(f"{here}.subPath", sub_path, "must not contain '..'"))
    return errors


def _validate_probe(probe: Mapping[str, Any], path: str, *, is_readiness: bool) -> list[FieldError]:
    errors = _validate_handler(probe, path)
    for field in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        value = probe.get(field) or 0
        if value < 0:
            errors.append(invalid(f"{path}.{field}", value, "must be greater than or equal to 0"))
    grace = probe.get("terminationGracePeriodSeconds")
    if grace is not None and is_readiness:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"))
    elif grace is not None and grace <= 0:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than 0"))
    if not is_readiness and probe.get("successThreshold", 1) != 1:
        errors.append(invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1"))
    return errors


_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def _validate_handler(handler: Mapping[str, Any], path: str) -> list[FieldError]:
    given = [name for name in _HANDLERS if handler.get(name) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    errors = [invalid(f"{path}.{name}", "", "may not specify more than 1 handler type") for name in given[1:]]
    action = handler[given[0]]
    here = f"{path}.{given[0]}"
    match given[0]:
        case "exec" if not action.get("command"):
            errors.append(required(f"{here}.command"))
        case "httpGet" | "tcpSocket" | "grpc":
            port = action.get("port") or 0
            scheme = action.get("scheme") or "HTTP"
            if scheme not in SCHEMES:
                errors.append(not_supported(f"{here}.scheme", scheme, SCHEMES))
            if isinstance(port, int) and not 0 < port < 65536:
                errors.append(invalid(f"{here}.port", port, _PORT_TEXT))
        case _:
            pass
    return errors


def _validate_resources(resources: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, text in sorted(amounts.items()):
            if parse_quantity(text).value < 0:
                errors.append(invalid(f"{path}.{field}[{name}]", text, "must be greater than or equal to 0"))
            standard = name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-") or "/" in name
            if not standard:
                errors.append(invalid(f"{path}.{field}[{name}]", name, "must be a standard resource for containers"))
    for name, text in sorted(requests.items()):
        limit = limits.get(name)
        if limit is not None and parse_quantity(text).value > parse_quantity(limit).value:
            errors.append(invalid(f"{path}.requests", text, f"must be less than or equal to {name} limit of {limit}"))
    return errors


def _validate_security(security: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = []
    for field in ("runAsUser", "runAsGroup"):
        value = security.get(field)
        if value is not None and not 0 <= value <= 2**31 - 1:
            errors.append(invalid(f"{path}.{field}", value, "must be between 0 and 2147483647, inclusive"))
    if security.get("privileged") and security.get("allowPrivilegeEscalation") is False:
        errors.append(
            invalid(path, security, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
        )
    return errors + validate_seccomp(security, path)

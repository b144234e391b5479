"""Rules on Services, in the API server's words.

Source: kubernetes pkg/apis/core/validation/validation.go, ValidateService.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, duplicate, invalid, not_supported, required
from pullet.kube.meta import (
    dns_label_problems,
    dns_subdomain_problems,
    label_value_problems,
    port_name_problems,
    qualified_name_problems,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PORT_TEXT = "must be between 1 and 65535, inclusive"


def validate_service(service: JsonObject) -> list[FieldError]:
    """Ports, selector, affinity, type, external name."""
    spec = service.get("spec") or {}
    errors: list[FieldError] = []
    kind = spec.get("type")
    ports = spec.get("ports") or []
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        errors.append(required("spec.ports"))
    if kind == "ExternalName":
        external = spec.get("externalName") or ""
        if not external:
            errors.append(required("spec.externalName"))
        errors += [invalid("spec.externalName", external, text) for text in dns_subdomain_problems(external)]
    names: set[str] = set()
    for index, port in enumerate(ports):
        errors += _validate_port(port, f"spec.ports[{index}]", is_named=len(ports) > 1, names=names)
    for key, value in sorted((spec.get("selector") or {}).items()):
        errors += [invalid("spec.selector", key, text) for text in qualified_name_problems(key)]
        errors += [invalid("spec.selector", value, text) for text in label_value_problems(value)]
    if spec.get("sessionAffinity") not in _AFFINITIES:
        errors.append(not_supported("spec.sessionAffinity", spec.get("sessionAffinity"), _AFFINITIES))
    if kind not in _TYPES:
        errors.append(not_supported("spec.type", kind, _TYPES))
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        pair = str(port.get("protocol")), port.get("port") or 0
        if pair in seen:
            shown = {"Name": "", "Protocol": pair[0], "AppProtocol": None, "Port": pair[1], "TargetPort": 0,
                     "NodePort": 0}  # fmt: skip
            errors.append(duplicate(f"spec.ports[{index}]", shown))
        seen.add(pair)
    return errors


def _validate_port(port: Mapping[str, Any], path: str, *, is_named: bool, names: set[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    name = port.get("name") or ""
    if not name:
        if is_named:
            errors.append(required(f"{path}.name"))
    else:
        errors += [invalid(f"{path}.name", name, text) for text in dns_label_problems(name)]
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
    number = port.get("port") or 0
    if not 0 < number < 65536:
        errors.append(invalid(f"{path}.port", number, _PORT_TEXT))
    if port.get("protocol") not in _PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", port.get("protocol"), _PROTOCOLS))
    target = port.get("targetPort")
    if isinstance(target, str):
        errors += [invalid(f"{path}.targetPort", target, text) for text in port_name_problems(target)]
    elif target is not None and not 0 < target < 65536:
        errors.append(invalid(f"{path}.targetPort", target, _PORT_TEXT))
    return errors

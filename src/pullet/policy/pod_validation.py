"""Rules on pods and pod templates, in the API server's words and order.

Source: kubernetes pkg/apis/core/validation/validation.go (ValidatePodSpec, ValidatePodCreate, ValidatePodUpdate),
pkg/api/pod/warnings.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, duplicate, forbidden, invalid, not_supported, required
from pullet.kube.meta import dns_label_problems, dns_subdomain_problems
from pullet.policy.container_validation import PULL_POLICIES, validate_container
from pullet.policy.ephemeral_validation import difference, validate_ephemeral_container
from pullet.policy.placement_validation import validate_placement
from pullet.policy.pod_settings_validation import (
    validate_dns,
    validate_host_aliases,
    validate_items,
    validate_seccomp,
)

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_VOLUME_SOURCES = frozenset(
    {
        "emptyDir", "hostPath", "secret", "configMap", "downwardAPI", "projected", "image", "persistentVolumeClaim",
        "nfs", "csi", "ephemeral", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "iscsi", "glusterfs", "rbd",
        "flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk",
        "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos",
    }
)  # fmt: skip


def validate_pod(pod: JsonObject) -> list[FieldError]:
    """Rules on a pod."""
    return validate_pod_spec(pod.get("spec") or {}, "spec", is_template=False)


def validate_pod_create(pod: JsonObject) -> list[FieldError]:
    """Rules on a new pod, beyond those on every pod."""
    spec = pod.get("spec") or {}
    errors = []
    if spec.get("ephemeralContainers"):
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        errors.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return errors


def validate_pod_template(template: JsonObject, path: str) -> list[FieldError]:
    """Rules on the template of a workload."""
    spec = template.get("spec") or {}
    errors = validate_pod_spec(spec, f"{path}.spec", is_template=True)
    if spec.get("ephemeralContainers"):
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return errors


def validate_pod_spec(spec: Mapping[str, Any], path: str, *, is_template: bool) -> list[FieldError]:
    """Rules on a PodSpec. A template is spared what is checked again when its pods are made."""
    volumes, errors = _validate_volumes(spec.get("volumes") or (), f"{path}.volumes", is_template=is_template)
    containers = spec.get("containers") or ()
    inits = spec.get("initContainers") or ()
    if not containers:
        errors.append(required(f"{path}.containers"))
    seen: set[str] = set()
    ports: set[tuple[str, str, int]] = set()
    for field, items in (("containers", containers), ("initContainers", inits)):
        for index, container in enumerate(items):
            here = f"{path}.{field}[{index}]"
            errors += validate_container(container, here, volumes=volumes, is_template=is_template)
            if field == "initContainers":
                errors += _validate_init(container, here)
            name = container.get("name")
            if name and name in seen:
                errors.append(duplicate(f"{here}.name", name))
            seen.add(name)
            errors += _host_ports(container, here, ports) if field == "containers" else []
    others = frozenset(seen)
    for index, container in enumerate(spec.get("ephemeralContainers") or ()):
        here = f"{path}.ephemeralContainers[{index}]"
        errors += validate_container(container, here, volumes=volumes, is_template=is_template)
        if container.get("name") in seen:
            errors.append(duplicate(f"{here}.name", container.get("name")))
        seen.add(container.get("name"))
        errors += validate_ephemeral_container(container, here, others)
    return errors + _validate_rest(spec, path)


def _validate_init(container: Mapping[str, Any], path: str) -> list[FieldError]:
    policy = container.get("restartPolicy")
    if policy is not None and policy != "Always":
        return [not_supported(f"{path}.restartPolicy", policy, ("Always",))]
    if policy is None:
        return [
            forbidden(f"{path}.{probe}", "may not be set for init containers without restartPolicy=Always")
            for probe in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
            if container.get(probe)
        ]
    return []


def _host_ports(container: Mapping[str, Any], path: str, taken: set[tuple[str, str, int]]) -> list[FieldError]:
    errors = []
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("hostPort") or 0
        key = (port.get("protocol") or "TCP", port.get("hostIP") or "", number)
        if number and key in taken:
            text = "/".join(part for part in (key[0], key[1], str(number)) if part)
            errors.append(duplicate(f"{path}.ports[{index}].hostPort", text))
        taken.add(key)
    return errors


def _validate_rest(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = _validate_names(spec, path)
    for field, allowed in (("restartPolicy", RESTART_POLICIES), ("dnsPolicy", DNS_POLICIES)):
        value = spec.get(field)
        if not value:
            errors.append(required(f"{path}.{field}"))
        elif value not in allowed:
            errors.append(not_supported(f"{path}.{field}", value, allowed))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        errors.append(invalid(f"{path}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive"))
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        errors += _validate_toleration(toleration, f"{path}.tolerations[{index}]")
    security = spec.get("securityContext") or {}
    for field in ("runAsUser", "runAsGroup", "fsGroup"):
        value = security.get(field)
        if value is not None and not 0 <= value <= 2**31 - 1:
            errors.append(
                invalid(f"{path}.securityContext.{field}", value, "must be between 0 and 2147483647, inclusive")
            )
    errors += validate_seccomp(security, f"{path}.securityContext")
    errors += validate_placement(spec, path)
    return errors + validate_dns(spec, path) + validate_host_aliases(spec, path)


def _validate_names(spec: Mapping[str, Any], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, secret in enumerate(spec.get("imagePullSecrets") or ()):
        if set(secret) - {"name"}:
            errors.append(forbidden(f"{path}.imagePullSecrets[{index}]", "only name may be set"))
    for field in ("nodeName", "serviceAccountName", "priorityClassName"):
        if spec.get(field):
            errors += [invalid(f"{path}.{field}", spec[field], text) for text in dns_subdomain_problems(spec[field])]
    for field in ("hostname", "subdomain"):
        if spec.get(field):
            errors += [invalid(f"{path}.{field}", spec[field], text) for text in dns_label_problems(spec[field])]
    return errors


def _validate_toleration(toleration: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = []
    operator, effect = toleration.get("operator") or "Equal", toleration.get("effect") or ""
    if operator not in ("Equal", "Exists", "Lt", "Gt"):
        errors.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if not toleration.get("key") and operator != "Exists":
        errors.append(
            invalid(
                f"{path}.operator", operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            )
        )  # fmt: skip
    if operator == "Exists" and toleration.get("value"):
        errors.append(invalid(f"{path}.operator", toleration, "value must be empty when `operator` is 'Exists'"))
    if effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
        errors.append(not_supported(f"{path}.effect", effect, ("NoSchedule", "PreferNoSchedule", "NoExecute")))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        errors.append(invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
    return errors


def _validate_volumes(
    volumes: Sequence[Mapping[str, Any]], path: str, *, is_template: bool
) -> tuple[set[str], list[FieldError]]:
    names: set[str] = set()
    errors: list[FieldError] = []
    for index, volume in enumerate(volumes):
        here = f"{path}[{index}]"
        source_errors = _validate_volume_source(volume, here, is_template=is_template)
        name = volume.get("name") or ""
        if not name:
            source_errors.append(required(f"{here}.name"))
        else:
            source_errors += [invalid(f"{here}.name", name, text) for text in dns_label_problems(name)]
        if name in names:
            source_errors.append(duplicate(f"{here}.name", name))
        if not source_errors:
            names.add(name)  # a volume that is wrong counts as absent, as in the API
        errors += source_errors
    return names, errors


def _validate_volume_source(volume: Mapping[str, Any], path: str, *, is_template: bool) -> list[FieldError]:
    sources = [name for name in volume if name in _VOLUME_SOURCES]
    if not sources:
        return [required(path, "must specify a volume type")]
    errors = [forbidden(f"{path}.{name}", "may not specify more than 1 volume type") for name in sources[1:]]
    source = volume[sources[0]] or {}
    here = f"{path}.{sources[0]}"
    match sources[0]:
        case "hostPath" if not source.get("path"):
            errors.append(required(f"{here}.path"))
        case "hostPath" if ".." in source["path"].split("/"):
            errors.append(invalid(f"{here}.path", source["path"], "must not contain '..'"))
        case "secret" if not source.get("secretName"):
            errors.append(required(f"{here}.secretName"))
        case "configMap" if not source.get("name"):
            errors.append(required(f"{here}.name"))
        case "persistentVolumeClaim" if not source.get("claimName"):
            errors.append(required(f"{here}.claimName"))
        case "secret" | "configMap":
            errors += validate_items(source, here)
        case "image":
            if not source.get("reference") and not is_template:
                errors.append(required(f"{here}.reference"))
            policy = source.get("pullPolicy")
            if policy and policy not in PULL_POLICIES:
                errors.append(not_supported(f"{here}.pullPolicy", policy, PULL_POLICIES))
        case _:
            pass
    return errors


def validate_pod_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """What may change in a pod that exists: images, and a few fields in one direction."""
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    if (spec.get("ephemeralContainers") or []) == (before.get("ephemeralContainers") or []):
        for each in (spec, before):
            each.pop("ephemeralContainers", None)
    errors: list[FieldError] = []
    for field in ("containers", "initContainers"):
        mine, theirs = spec.get(field) or [], before.get(field) or []
        if len(mine) != len(theirs):
            return [forbidden(f"spec.{field}", f"pod updates may not add or remove {_PLURAL[field]}")]
        if mine:
            spec[field] = [{**one, "image": was.get("image")} for one, was in zip(mine, theirs, strict=True)]
    deadline, had = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if had is not None and (deadline is None or deadline > had):
        text = "must not update from a positive integer to nil value" if deadline is None else (
            f"must be less than or equal to previous value {had}")  # fmt: skip
        errors.append(invalid("spec.activeDeadlineSeconds", deadline, text))
    _same(spec, before, "activeDeadlineSeconds")
    if (before.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        _same(spec, before, "terminationGracePeriodSeconds")
    kept = before.get("tolerations") or []
    if all(item in (spec.get("tolerations") or []) for item in kept):
        _same(spec, before, "tolerations")
    gates, had_gates = spec.get("schedulingGates") or [], before.get("schedulingGates") or []
    if all(gate in had_gates for gate in gates):
        _same(spec, before, "schedulingGates")
    if spec != before:
        errors.append(forbidden("spec", f"{UPDATE_TEXT}\n{difference(before, spec)}"))
    return errors


_PLURAL = {"containers": "containers", "initContainers": "init containers"}


def _same(spec: dict[str, Any], before: Mapping[str, Any], field: str) -> None:
    if field in before:
        spec[field] = before[field]
    else:
        spec.pop(field, None)


def pod_warnings(pod: JsonObject) -> list[str]:
    """What a client is warned of though it is accepted."""
    spec = pod.get("spec") or {}
    warnings = [
        f'spec.imagePullSecrets[{index}].name: invalid empty name ""'
        for index, secret in enumerate(spec.get("imagePullSecrets") or ())
        if not secret.get("name")
    ]
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            names = [variable.get("name") for variable in container.get("env") or ()]
            warnings += [
                f'spec.{field}[{index}].env[{position}]: hides previous definition of "{name}", '
                "which may be dropped when using apply"
                for position, name in enumerate(names)
                if name in names[:position]
            ]
    return warnings

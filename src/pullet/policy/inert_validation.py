"""Rules on the kinds of `kube.inert_kinds`: what manifests get wrong most, in the API server's words.

Source: kubernetes pkg/apis/{core,autoscaling,batch,networking,rbac,scheduling,storage}/validation/validation.go.
"""

from __future__ import annotations

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, forbidden, invalid, not_supported, required
from pullet.policy.inert_defaulting import RBAC_GROUP
from pullet.policy.pod_validation import validate_pod_template

HIGHEST_PRIORITY = 1_000_000_000
_SYSTEM_CLASSES = ("system-cluster-critical", "system-node-critical")
_MAX_CRONJOB_NAME = 52  # a Job's name is eleven characters longer


def validate_claim(claim: JsonObject) -> list[FieldError]:
    """Access modes and size."""
    spec = claim.get("spec") or {}
    errors = []
    if not spec.get("accessModes"):
        errors.append(required("spec.accessModes", "at least 1 access mode is required"))
    modes = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
    given = spec.get("accessModes") or ()
    errors += [not_supported("spec.accessModes", mode, modes) for mode in given if mode not in modes]
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        errors.append(required("spec.resources[storage]"))
    return errors


def validate_claim_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Only the size may grow."""
    spec, before = dict(new.get("spec") or {}), dict(old.get("spec") or {})
    for each in (spec, before):
        each.pop("resources", None)
        each.pop("volumeAttributesClassName", None)
    if spec != before:
        text = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        return [forbidden("spec", text)]
    return []


def validate_replication_controller(controller: JsonObject) -> list[FieldError]:
    """Selector against template."""
    spec = controller.get("spec") or {}
    errors = []
    selector = spec.get("selector") or {}
    if not selector:
        errors.append(required("spec.selector"))
    if (spec.get("replicas") or 0) < 0:
        errors.append(invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0"))
    template = spec.get("template")
    if not template:
        return [*errors, required("spec.template")]
    labels = (template.get("metadata") or {}).get("labels") or {}
    if selector and not selector.items() <= labels.items():
        text = "`selector` does not match template `labels`"
        errors.append(invalid("spec.template.metadata.labels", labels, text))
    return errors + validate_pod_template(template, "spec.template")


def validate_autoscaler(autoscaler: JsonObject) -> list[FieldError]:
    """Bounds and target."""
    spec = autoscaler.get("spec") or {}
    errors = []
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        errors.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        errors.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = spec.get("scaleTargetRef") or {}
    return errors + [required(f"spec.scaleTargetRef.{name}") for name in ("kind", "name") if not target.get(name)]


def validate_cronjob(cronjob: JsonObject) -> list[FieldError]:
    """Schedule, overlap, template. The schedule's own form is not looked at."""
    spec = cronjob.get("spec") or {}
    errors = []
    if not spec.get("schedule"):
        errors.append(required("spec.schedule"))
    policy = spec.get("concurrencyPolicy")
    if policy not in ("Allow", "Forbid", "Replace"):
        errors.append(not_supported("spec.concurrencyPolicy", policy, ("Allow", "Forbid", "Replace")))
    errors += [
        invalid(f"spec.{name}", spec[name], "must be greater than or equal to 0")
        for name in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit")
        if (spec.get(name) or 0) < 0
    ]
    name = cronjob["metadata"].get("name") or ""
    if len(name) > _MAX_CRONJOB_NAME:
        errors.append(invalid("metadata.name", name, f"must be no more than {_MAX_CRONJOB_NAME} characters"))
    template = ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    errors += validate_pod_template(template, "spec.jobTemplate.spec.template")
    if (template.get("spec") or {}).get("restartPolicy") == "Always":
        path = "spec.jobTemplate.spec.template.spec.restartPolicy"
        errors.append(required(path, 'valid values: "OnFailure", "Never"'))
    return errors


def validate_ingress(ingress: JsonObject) -> list[FieldError]:
    """Something to route, and how paths are matched."""
    spec = ingress.get("spec") or {}
    rules = spec.get("rules") or []
    errors = []
    if not rules and not spec.get("defaultBackend"):
        errors.append(invalid("spec", rules, "either `defaultBackend` or `rules` must be specified"))
    for at, rule in enumerate(rules):
        for index, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            here = f"spec.rules[{at}].http.paths[{index}]"
            kinds = ("Exact", "ImplementationSpecific", "Prefix")
            if not path.get("pathType"):
                errors.append(required(f"{here}.pathType", "pathType must be specified"))
            elif path["pathType"] not in kinds:
                errors.append(not_supported(f"{here}.pathType", path["pathType"], kinds))
            elif path["pathType"] != "ImplementationSpecific" and not (path.get("path") or "").startswith("/"):
                errors.append(invalid(f"{here}.path", path.get("path") or "", "must be an absolute path"))
    return errors


def validate_binding(binding: JsonObject) -> list[FieldError]:
    """A role to bind, and subjects that can be named."""
    role = binding.get("roleRef") or {}
    errors = []
    if role.get("apiGroup") != RBAC_GROUP:
        errors.append(not_supported("roleRef.apiGroup", role.get("apiGroup"), (RBAC_GROUP,)))
    kinds = ("ClusterRole",) if binding.get("kind") == "ClusterRoleBinding" else ("Role", "ClusterRole")
    if role.get("kind") not in kinds:
        errors.append(not_supported("roleRef.kind", role.get("kind") or "", kinds))
    if not role.get("name"):
        errors.append(required("roleRef.name"))
    for index, subject in enumerate(binding.get("subjects") or ()):
        here = f"subjects[{index}]"
        if not subject.get("name"):
            errors.append(required(f"{here}.name"))
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            known = ("ServiceAccount", "User", "Group")
            errors.append(not_supported(f"{here}.kind", subject.get("kind") or "", known))
        elif subject["kind"] == "ServiceAccount" and not subject.get("namespace"):
            errors.append(required(f"{here}.namespace"))
    return errors


def validate_binding_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """A binding binds one role for life."""
    if new.get("roleRef") != old.get("roleRef"):
        return [invalid("roleRef", new.get("roleRef"), "cannot change roleRef")]
    return []


def validate_priority_class(priority_class: JsonObject) -> list[FieldError]:
    """User classes stay below the system's."""
    errors = []
    name = priority_class["metadata"].get("name") or ""
    if name.startswith("system-") and name not in _SYSTEM_CLASSES:
        text = "priority class names with 'system-' prefix are reserved for system use only"
        errors.append(forbidden("metadata.name", text))
    elif name not in _SYSTEM_CLASSES and priority_class.get("value", 0) > HIGHEST_PRIORITY:
        text = f"maximum allowed value of a user defined priority is {HIGHEST_PRIORITY}"
        errors.append(forbidden("value", text))
    policy = priority_class.get("preemptionPolicy")
    if policy not in ("Never", "PreemptLowerPriority"):
        errors.append(not_supported("preemptionPolicy", policy, ("Never", "PreemptLowerPriority")))
    return errors


def validate_priority_class_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """The value is for life."""
    return [
        forbidden(name, "may not be changed in an update.")
        for name in ("value", "preemptionPolicy")
        if new.get(name) != old.get(name)
    ]


def validate_storage_class(storage_class: JsonObject) -> list[FieldError]:
    """Somebody must provision."""
    return [] if storage_class.get("provisioner") else [required("provisioner")]


def validate_signing_request(request: JsonObject) -> list[FieldError]:
    """Who shall sign, and for what."""
    spec = request.get("spec") or {}
    return [required(f"spec.{name}") for name in ("usages", "signerName") if not spec.get(name)]

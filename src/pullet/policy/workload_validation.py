"""Rules on workloads: selector against template, strategy, the template itself.

Source: kubernetes pkg/apis/apps/validation/validation.go, pkg/apis/batch/validation/validation.go.
"""

from __future__ import annotations

import re
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, forbidden, invalid, not_supported, required
from pullet.kube.selector import SelectorError, label_selector_from
from pullet.policy.pod_validation import validate_pod_template

_PERCENT = re.compile(r"\d+%")
_FAILURE_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_REPLACEMENTS = ("Failed", "TerminatingOrFailed")
_NEGATIVE = "must be greater than or equal to 0"


def _not_negative(spec: JsonObject, fields: tuple[str, ...]) -> list[FieldError]:
    return [invalid(f"spec.{field}", spec[field], _NEGATIVE) for field in fields if (spec.get(field) or 0) < 0]


def validate_workload(obj: JsonObject) -> list[FieldError]:
    """Rules all pod-making workloads share."""
    spec = obj.get("spec") or {}
    template = spec.get("template") or {}
    errors = _not_negative(spec, ("replicas", "minReadySeconds", "revisionHistoryLimit"))
    selector = spec.get("selector")
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not selector:
        errors.append(required("spec.selector"))
    if selector is not None:
        try:
            matcher = label_selector_from(selector)
        except (SelectorError, KeyError) as error:
            errors.append(invalid("spec.selector", selector, f"invalid label selector: {error}"))
        else:
            if not matcher.requirements:
                errors.append(
                    invalid(
                        "spec.selector",
                        selector,
                        f"empty selector is invalid for {_NAMES.get(obj['kind'], obj['kind'])}",
                    )
                )
            elif not matcher.matches(labels):
                errors.append(
                    invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
                )
    errors += validate_pod_template(template, "spec.template")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy and policy != "Always":
        errors.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
    return errors


_NAMES = {
    "Deployment": "deployment",
    "ReplicaSet": "replicaset",
    "DaemonSet": "daemonset",
    "StatefulSet": "statefulset",
}


def validate_deployment(deployment: JsonObject) -> list[FieldError]:
    """A workload with a rolling strategy and a deadline."""
    spec = deployment.get("spec") or {}
    errors = validate_workload(deployment)
    strategy = spec.get("strategy") or {}
    kind = strategy.get("type")
    if kind not in ("Recreate", "RollingUpdate"):
        errors.append(not_supported("spec.strategy.type", kind, ("Recreate", "RollingUpdate")))
    elif kind == "Recreate" and strategy.get("rollingUpdate") is not None:
        errors.append(
            forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
        )
    elif kind == "RollingUpdate":
        errors += _validate_rolling(strategy.get("rollingUpdate") or {}, "spec.strategy.rollingUpdate")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def _validate_rolling(rolling: JsonObject, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("maxUnavailable", "maxSurge"):
        value = rolling.get(field)
        if isinstance(value, int) and value < 0:
            errors.append(invalid(f"{path}.{field}", value, _NEGATIVE))
        elif isinstance(value, str) and not _PERCENT.fullmatch(value):
            errors.append(
                invalid(f"{path}.{field}", value, "a valid percent string must be a numeric string followed by an "
                        "ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')")
            )  # fmt: skip
    if not errors and _is_zero(rolling.get("maxUnavailable")) and _is_zero(rolling.get("maxSurge")):
        errors.append(
            invalid(f"{path}.maxUnavailable", rolling.get("maxUnavailable"), "may not be 0 when `maxSurge` is 0")
        )
    return errors


def _is_zero(value: Any) -> bool:
    return value in (0, "0%", None)


def validate_selector_unchanged(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """A workload's selector is for life."""
    selector = (new.get("spec") or {}).get("selector")
    if selector != (old.get("spec") or {}).get("selector"):
        return [invalid("spec.selector", selector, "field is immutable")]
    return []


_STATEFUL_FIELDS = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip


def validate_statefulset(stateful_set: JsonObject) -> list[FieldError]:
    """A workload whose volumes are all its own: claims cannot be had here, and that is said rather than waited for."""
    errors = validate_workload(stateful_set)
    if (stateful_set.get("spec") or {}).get("volumeClaimTemplates"):
        text = "there is nobody here to provide volumes for claims: use a hostPath or emptyDir volume"
        errors.insert(0, forbidden("spec.volumeClaimTemplates", text))
    return errors


def validate_statefulset_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Only some fields of a StatefulSet may change."""
    spec = {key: value for key, value in (new.get("spec") or {}).items() if key not in _STATEFUL_FIELDS}
    before = {key: value for key, value in (old.get("spec") or {}).items() if key not in _STATEFUL_FIELDS}
    if spec != before:
        names = ", ".join(f"'{name}'" for name in _STATEFUL_FIELDS[:-1])
        text = f"updates to statefulset spec for fields other than {names} and '{_STATEFUL_FIELDS[-1]}' are forbidden"
        return [forbidden("spec", text)]
    return []


def validate_job(job: JsonObject) -> list[FieldError]:
    """Counts, and a template that ends."""
    spec = job.get("spec") or {}
    errors = _not_negative(
        spec,
        (
            "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished",
            "backoffLimitPerIndex", "maxFailedIndexes",
        ),
    )  # fmt: skip
    mode = spec.get("completionMode")
    if mode not in ("NonIndexed", "Indexed"):
        errors.append(not_supported("spec.completionMode", mode, ("NonIndexed", "Indexed")))
    elif mode == "Indexed" and spec.get("completions") is None:
        errors.append(required("spec.completions", "when completion mode is Indexed"))
    template = spec.get("template") or {}
    errors += validate_pod_template(template, "spec.template")
    policy = (template.get("spec") or {}).get("restartPolicy")
    if policy == "Always":
        errors.append(required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"'))
    return errors + _validate_failures_of_job(spec, policy) + _validate_success_policy(spec)


def _validate_failures_of_job(spec: JsonObject, restart_policy: str | None) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in ("podFailurePolicy", "backoffLimitPerIndex"):
        if spec.get(field) is not None and restart_policy != "Never":
            text = f'only "Never" is supported when {field} is specified'
            errors.append(invalid("spec.template.spec.restartPolicy", restart_policy, text))
    limit, most = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    if limit is not None and spec.get("completionMode") != "Indexed":
        errors.append(invalid("spec.backoffLimitPerIndex", limit, "requires indexed completion mode"))
    if most is not None and limit is None:
        errors.append(required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if most is not None and most > (spec.get("completions") or 0):
        errors.append(invalid("spec.maxFailedIndexes", most, "must be less than or equal to completions"))
    for number, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        errors += _validate_failure_rule(rule, f"spec.podFailurePolicy.rules[{number}]", spec)
    replacement = spec.get("podReplacementPolicy")
    if spec.get("podFailurePolicy") is not None and replacement != "Failed":
        errors.append(not_supported("spec.podReplacementPolicy", replacement, ("Failed",)))
    elif replacement not in _REPLACEMENTS:
        errors.append(not_supported("spec.podReplacementPolicy", replacement, _REPLACEMENTS))
    return errors


def _validate_failure_rule(rule: JsonObject, path: str, spec: JsonObject) -> list[FieldError]:
    errors: list[FieldError] = []
    action, exit_codes = rule.get("action"), rule.get("onExitCodes")
    if action not in _FAILURE_ACTIONS:
        errors.append(not_supported(f"{path}.action", action, _FAILURE_ACTIONS))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        errors.append(invalid(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    if (exit_codes is None) == (not rule.get("onPodConditions")):
        errors.append(invalid(path, rule, "specifying one of OnExitCodes and OnPodConditions is required"))
    if exit_codes is not None and exit_codes.get("operator") not in ("In", "NotIn"):
        errors.append(not_supported(f"{path}.onExitCodes.operator", exit_codes.get("operator"), ("In", "NotIn")))
    if exit_codes is not None and exit_codes.get("operator") == "In" and 0 in (exit_codes.get("values") or ()):
        index = exit_codes["values"].index(0)
        errors.append(invalid(f"{path}.onExitCodes.values[{index}]", 0, "must not be 0 for the In operator"))
    return errors


def _validate_success_policy(spec: JsonObject) -> list[FieldError]:
    policy = spec.get("successPolicy")
    if policy is None:
        return []
    if spec.get("completionMode") != "Indexed":
        return [invalid("spec.successPolicy", policy, "requires indexed completion mode")]
    if not policy.get("rules"):
        return [
            required("spec.successPolicy.rules", "at least one rules must be specified when successPolicy is specified")
        ]
    return [
        required(
            f"spec.successPolicy.rules[{number}]",
            "at least one of succeededCount or succeededIndexes must be specified",
        )
        for number, rule in enumerate(policy["rules"])
        if rule.get("succeededCount") is None and rule.get("succeededIndexes") is None
    ]


def validate_job_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Selector, template and completions of a job are for life."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    fields = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "successPolicy", "managedBy"]
    if not before.get("suspend"):
        fields.append("template")
    if spec.get("completionMode") != "Indexed":
        fields.append("completions")
    return [
        invalid(f"spec.{field}", spec.get(field), "field is immutable")
        for field in fields
        if spec.get(field) != before.get(field)
    ]


def validate_revision(revision: JsonObject) -> list[FieldError]:
    """Rules on a ControllerRevision."""
    errors = [] if revision.get("data") is not None else [required("data", "data is mandatory")]
    number = revision.get("revision") or 0
    if number < 0:
        errors.append(invalid("revision", number, "must be greater than or equal to 0"))
    return errors


def validate_revision_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """What a ControllerRevision holds is for life; its number is not."""
    if new.get("data") != old.get("data"):
        return [invalid("data", new.get("data"), "field is immutable")]
    return []

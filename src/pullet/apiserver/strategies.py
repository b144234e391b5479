"""What each kind does of its own when it is written: defaults, rules, which parts a write may touch.

One row per kind that differs from `Strategy()`; the generic verbs know nothing of kinds beyond this table.
Source: pkg/registry/*/*/strategy.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pullet.apiserver.custom_objects import default_custom, validate_custom
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube import inert_kinds, scheme
from pullet.kube.field_error import FieldError
from pullet.kube.meta import dns_label_problems, dns_subdomain_problems, path_segment_problems
from pullet.kube.scheme import Resource
from pullet.policy import (
    definition_defaulting,
    definition_naming,
    definition_validation,
    disruption,
    inert_defaulting,
    inert_validation,
    object_defaulting,
    object_validation,
    pod_defaulting,
    pod_validation,
    service_validation,
    webhook_validation,
    workload_validation,
)

Default = Callable[[JsonObject], None]
Validate = Callable[[JsonObject], list[FieldError]]
ValidateUpdate = Callable[[JsonObject, JsonObject], list[FieldError]]
NameRequester = Callable[[JsonObject, JsonObject], None]
ValidateWhole = Callable[[JsonObject, JsonObject | None], list[FieldError]]


def _nothing(obj: JsonObject) -> None:
    del obj


def _no_errors(obj: JsonObject) -> list[FieldError]:
    del obj
    return []


def _no_update_errors(new: JsonObject, old: JsonObject) -> list[FieldError]:
    del new, old
    return []


def _no_whole_errors(new: JsonObject, old: JsonObject | None) -> list[FieldError]:
    del new, old
    return []


def _nobody(obj: JsonObject, user: JsonObject) -> None:
    del obj, user


class Strategy(Value, kw_only=True):
    """A kind's own rules."""

    default: Default = _nothing  # fills absent fields, at every write
    prepare_create: Default = _nothing  # what a new object may not bring along
    name_requester: NameRequester = _nobody  # writes down who asked, in a new object that says so
    prepare_delete: Default = _nothing  # how an object shows that its end was asked for
    validate: Validate = _no_errors
    validate_create: Validate = _no_errors  # what holds for a new object besides
    validate_update: ValidateUpdate = _no_update_errors  # (new, old)
    validate_whole: ValidateWhole = _no_whole_errors  # (new, old or None), at every write, of whatever part
    warnings: Callable[[JsonObject], list[str]] = lambda obj: []
    name_problems: Callable[[str], list[str]] = dns_subdomain_problems
    wants_version: bool = False  # an update must name the version that it was made from
    returns_deleted: bool = False  # a finished delete answers with the object, not with a Status
    spec_fields: Sequence[str] | None = ("spec",)  # a change of these bumps the generation; None: of all but metadata


_BINDING = Strategy(
    default=inert_defaulting.default_binding,
    validate=inert_validation.validate_binding,
    validate_update=inert_validation.validate_binding_update,
    name_problems=path_segment_problems,
)
STRATEGIES: dict[str, Strategy] = {
    scheme.PODS.storage_key: Strategy(
        default=pod_defaulting.default_pod,
        prepare_create=object_defaulting.prepare_pod,
        validate=pod_validation.validate_pod,
        validate_create=pod_validation.validate_pod_create,
        validate_update=pod_validation.validate_pod_update,
        warnings=pod_validation.pod_warnings,
        returns_deleted=True,
    ),
    scheme.NAMESPACES.storage_key: Strategy(
        prepare_create=object_defaulting.prepare_namespace,
        prepare_delete=object_defaulting.end_namespace,
        default=object_defaulting.default_namespace,
        name_problems=dns_label_problems,
    ),
    scheme.NODES.storage_key: Strategy(default=object_defaulting.default_node),
    scheme.SERVICES.storage_key: Strategy(
        default=object_defaulting.default_service,
        validate=service_validation.validate_service,
        name_problems=dns_label_problems,
        returns_deleted=True,
    ),
    scheme.SERVICEACCOUNTS.storage_key: Strategy(returns_deleted=True),
    scheme.SECRETS.storage_key: Strategy(
        default=object_defaulting.default_secret,
        validate=object_validation.validate_secret,
        validate_update=object_validation.validate_secret_update,
    ),
    scheme.CONFIGMAPS.storage_key: Strategy(
        default=object_defaulting.default_configmap,
        validate=object_validation.validate_configmap,
        validate_update=object_validation.validate_configmap_update,
    ),
    scheme.EVENTS.storage_key: Strategy(
        default=object_defaulting.default_event,
        validate=object_validation.validate_event,
        name_problems=dns_subdomain_problems,
    ),
    scheme.DEPLOYMENTS.storage_key: Strategy(
        default=object_defaulting.default_deployment,
        prepare_create=object_defaulting.drop_status,
        validate=workload_validation.validate_deployment,
        validate_update=workload_validation.validate_selector_unchanged,
    ),
    scheme.REPLICASETS.storage_key: Strategy(
        default=object_defaulting.default_replicaset,
        prepare_create=object_defaulting.drop_status,
        validate=workload_validation.validate_workload,
        validate_update=workload_validation.validate_selector_unchanged,
    ),
    scheme.DAEMONSETS.storage_key: Strategy(
        default=object_defaulting.default_daemonset,
        prepare_create=object_defaulting.drop_status,
        validate=workload_validation.validate_workload,
        validate_update=workload_validation.validate_selector_unchanged,
    ),
    scheme.STATEFULSETS.storage_key: Strategy(
        default=object_defaulting.default_statefulset,
        prepare_create=object_defaulting.drop_status,
        validate=workload_validation.validate_statefulset,
        validate_update=workload_validation.validate_statefulset_update,
    ),
    scheme.JOBS.storage_key: Strategy(
        default=object_defaulting.default_job,
        prepare_create=object_defaulting.prepare_job,
        validate=workload_validation.validate_job,
        validate_update=workload_validation.validate_job_update,
    ),
    scheme.MUTATINGWEBHOOKCONFIGURATIONS.storage_key: Strategy(
        default=object_defaulting.default_webhooks,
        validate=webhook_validation.validate_webhooks,
        warnings=webhook_validation.webhook_warnings,
        spec_fields=("webhooks",),
    ),
    scheme.VALIDATINGWEBHOOKCONFIGURATIONS.storage_key: Strategy(
        default=object_defaulting.default_webhooks,
        validate=webhook_validation.validate_webhooks,
        warnings=webhook_validation.webhook_warnings,
        spec_fields=("webhooks",),
    ),
    scheme.CUSTOMRESOURCEDEFINITIONS.storage_key: Strategy(
        default=definition_defaulting.default_definition,
        prepare_create=definition_defaulting.prepare_definition,
        prepare_delete=definition_naming.end_definition,
        validate=definition_validation.validate_definition,
        validate_update=definition_validation.validate_definition_update,
        warnings=definition_validation.definition_warnings,
        wants_version=True,
        returns_deleted=True,
    ),
    scheme.PODDISRUPTIONBUDGETS.storage_key: Strategy(
        default=object_defaulting.default_budget,
        prepare_create=object_defaulting.drop_status,
        validate=disruption.validate_budget,
    ),
    scheme.CONTROLLERREVISIONS.storage_key: Strategy(
        validate=workload_validation.validate_revision,
        validate_update=workload_validation.validate_revision_update,
    ),
    inert_kinds.PERSISTENTVOLUMECLAIMS.storage_key: Strategy(
        default=inert_defaulting.default_claim,
        prepare_create=object_defaulting.drop_status,
        validate=inert_validation.validate_claim,
        validate_update=inert_validation.validate_claim_update,
        returns_deleted=True,
    ),
    inert_kinds.PERSISTENTVOLUMES.storage_key: Strategy(
        default=inert_defaulting.default_volume, prepare_create=object_defaulting.drop_status, returns_deleted=True
    ),
    inert_kinds.REPLICATIONCONTROLLERS.storage_key: Strategy(
        default=inert_defaulting.default_replication_controller,
        prepare_create=object_defaulting.drop_status,
        validate=inert_validation.validate_replication_controller,
    ),
    inert_kinds.RESOURCEQUOTAS.storage_key: Strategy(
        prepare_create=object_defaulting.drop_status, returns_deleted=True
    ),
    inert_kinds.HORIZONTALPODAUTOSCALERS.storage_key: Strategy(
        default=inert_defaulting.default_autoscaler,
        prepare_create=object_defaulting.drop_status,
        validate=inert_validation.validate_autoscaler,
    ),
    inert_kinds.CRONJOBS.storage_key: Strategy(
        default=inert_defaulting.default_cronjob,
        prepare_create=object_defaulting.drop_status,
        validate=inert_validation.validate_cronjob,
    ),
    inert_kinds.PODTEMPLATES.storage_key: Strategy(default=inert_defaulting.default_template, returns_deleted=True),
    inert_kinds.CERTIFICATESIGNINGREQUESTS.storage_key: Strategy(
        prepare_create=object_defaulting.drop_status,
        name_requester=inert_defaulting.name_requester,
        validate=inert_validation.validate_signing_request,
    ),
    inert_kinds.ENDPOINTSLICES.storage_key: Strategy(default=inert_defaulting.default_endpoint_slice),
    inert_kinds.INGRESSES.storage_key: Strategy(
        default=inert_defaulting.default_ingress,
        prepare_create=object_defaulting.drop_status,
        validate=inert_validation.validate_ingress,
    ),
    inert_kinds.NETWORKPOLICIES.storage_key: Strategy(default=inert_defaulting.default_network_policy),
    inert_kinds.ROLES.storage_key: Strategy(name_problems=path_segment_problems),
    inert_kinds.CLUSTERROLES.storage_key: Strategy(name_problems=path_segment_problems),
    inert_kinds.ROLEBINDINGS.storage_key: _BINDING,
    inert_kinds.CLUSTERROLEBINDINGS.storage_key: _BINDING,
    inert_kinds.PRIORITYCLASSES.storage_key: Strategy(
        default=inert_defaulting.default_priority_class,
        validate=inert_validation.validate_priority_class,
        validate_update=inert_validation.validate_priority_class_update,
    ),
    inert_kinds.CSIDRIVERS.storage_key: Strategy(default=inert_defaulting.default_driver, returns_deleted=True),
    inert_kinds.CSINODES.storage_key: Strategy(returns_deleted=True),
    inert_kinds.VOLUMEATTACHMENTS.storage_key: Strategy(
        prepare_create=object_defaulting.drop_status, returns_deleted=True
    ),
    inert_kinds.STORAGECLASSES.storage_key: Strategy(
        default=inert_defaulting.default_storage_class,
        validate=inert_validation.validate_storage_class,
        returns_deleted=True,
    ),
}
_PLAIN = Strategy()


def strategy_of(resource: Resource) -> Strategy:
    """The kind's rules, or the plain ones."""
    return _custom(resource) if resource.custom else STRATEGIES.get(resource.storage_key, _PLAIN)


def _custom(resource: Resource) -> Strategy:
    return Strategy(
        default=partial(default_custom, resource),
        prepare_create=_drop_status if resource.has_status else _nothing,
        validate_whole=partial(validate_custom, resource),
        wants_version=True,
        spec_fields=None,
    )


def _drop_status(obj: JsonObject) -> None:
    obj.pop("status", None)

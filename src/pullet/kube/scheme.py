"""The table of resources: kind ↔ path ↔ verbs. Every part that speaks the API reads its words from here.

Adding a kind is one row. Discovery, routing, OpenAPI paths and the clients derive from the rows; nothing else lists
resources. Source: the storage and discovery tables of kube-apiserver (pkg/registry/*/rest/storage_*.go).
"""

from __future__ import annotations

from pullet.kube.inert_kinds import INERT_KINDS
from pullet.kube.resource import STANDARD_VERBS, STATUS_VERBS, VIRTUAL_VERBS
from pullet.kube.resource import Resource as Resource
from pullet.kube.resource import Subresource as Subresource

_STATUS = Subresource("status", STATUS_VERBS)
_SCALE = Subresource("scale", STATUS_VERBS, "Scale", "autoscaling", "v1")
_CONNECT = ("create", "get")

# core/v1 ------------------------------------------------------------------------------------------------------------
BINDINGS = Resource(
    group="", version="v1", plural="bindings", singular="binding", kind="Binding", namespaced=True, verbs=VIRTUAL_VERBS
)
CONFIGMAPS = Resource(
    group="", version="v1", plural="configmaps", singular="configmap", kind="ConfigMap", namespaced=True,
    short_names=("cm",),
)  # fmt: skip
ENDPOINTS = Resource(
    group="", version="v1", plural="endpoints", singular="endpoints", kind="Endpoints", namespaced=True,
    short_names=("ep",),
)  # fmt: skip
EVENTS = Resource(
    group="", version="v1", plural="events", singular="event", kind="Event", namespaced=True, short_names=("ev",),
    field_labels=(
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type",
    ),
)  # fmt: skip
NAMESPACES = Resource(
    group="", version="v1", plural="namespaces", singular="namespace", kind="Namespace", namespaced=False,
    short_names=("ns",), has_status=True, field_labels=("status.phase",),
    verbs=tuple(verb for verb in STANDARD_VERBS if verb != "deletecollection"),
    subresources=(Subresource("finalize", ("update",)), _STATUS),
)  # fmt: skip
NODES = Resource(
    group="", version="v1", plural="nodes", singular="node", kind="Node", namespaced=False, short_names=("no",),
    has_status=True, field_labels=("spec.unschedulable",), subresources=(_STATUS,),
)  # fmt: skip
PODS = Resource(
    group="", version="v1", plural="pods", singular="pod", kind="Pod", namespaced=True, short_names=("po",),
    categories=("all",), has_status=True, has_generation=True,
    field_labels=(
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
    ),
    subresources=(
        Subresource("attach", _CONNECT, "PodAttachOptions"),
        Subresource("binding", VIRTUAL_VERBS, "Binding"),
        Subresource("ephemeralcontainers", STATUS_VERBS),
        Subresource("eviction", VIRTUAL_VERBS, "Eviction", "policy", "v1"),
        Subresource("exec", _CONNECT, "PodExecOptions"),
        Subresource("log", ("get",)),
        Subresource("portforward", _CONNECT, "PodPortForwardOptions"),
        Subresource("resize", ("get",)),  # in-place resize is not offered
        _STATUS,
    ),
)  # fmt: skip
SECRETS = Resource(
    group="", version="v1", plural="secrets", singular="secret", kind="Secret", namespaced=True, field_labels=("type",)
)
SERVICEACCOUNTS = Resource(
    group="", version="v1", plural="serviceaccounts", singular="serviceaccount", kind="ServiceAccount",
    namespaced=True, short_names=("sa",),
    subresources=(Subresource("token", VIRTUAL_VERBS, "TokenRequest", "authentication.k8s.io", "v1"),),
)  # fmt: skip
SERVICES = Resource(
    group="", version="v1", plural="services", singular="service", kind="Service", namespaced=True,
    short_names=("svc",), categories=("all",), has_status=True, field_labels=("spec.clusterIP", "spec.type"),
    subresources=(_STATUS,),
)  # fmt: skip

# apps/v1 ------------------------------------------------------------------------------------------------------------
CONTROLLERREVISIONS = Resource(
    group="apps", version="v1", plural="controllerrevisions", singular="controllerrevision",
    kind="ControllerRevision", namespaced=True,
)  # fmt: skip
DAEMONSETS = Resource(
    group="apps", version="v1", plural="daemonsets", singular="daemonset", kind="DaemonSet", namespaced=True,
    short_names=("ds",), categories=("all",), has_status=True, has_generation=True, subresources=(_STATUS,),
)  # fmt: skip
DEPLOYMENTS = Resource(
    group="apps", version="v1", plural="deployments", singular="deployment", kind="Deployment", namespaced=True,
    short_names=("deploy",), categories=("all",), has_status=True, has_generation=True,
    subresources=(_SCALE, _STATUS),
)  # fmt: skip
REPLICASETS = Resource(
    group="apps", version="v1", plural="replicasets", singular="replicaset", kind="ReplicaSet", namespaced=True,
    short_names=("rs",), categories=("all",), has_status=True, has_generation=True, field_labels=("status.replicas",),
    subresources=(_SCALE, _STATUS),
)  # fmt: skip
STATEFULSETS = Resource(
    group="apps", version="v1", plural="statefulsets", singular="statefulset", kind="StatefulSet", namespaced=True,
    short_names=("sts",), categories=("all",), has_status=True, has_generation=True, subresources=(_SCALE, _STATUS),
)  # fmt: skip

# batch/v1 -----------------------------------------------------------------------------------------------------------
JOBS = Resource(
    group="batch", version="v1", plural="jobs", singular="job", kind="Job", namespaced=True, categories=("all",),
    has_status=True, has_generation=True, field_labels=("status.successful",), subresources=(_STATUS,),
)  # fmt: skip

# the rest, by group -------------------------------------------------------------------------------------------------
MUTATINGWEBHOOKCONFIGURATIONS = Resource(
    group="admissionregistration.k8s.io", version="v1", plural="mutatingwebhookconfigurations",
    singular="mutatingwebhookconfiguration", kind="MutatingWebhookConfiguration", namespaced=False,
    categories=("api-extensions",), has_generation=True,
)  # fmt: skip
VALIDATINGWEBHOOKCONFIGURATIONS = Resource(
    group="admissionregistration.k8s.io", version="v1", plural="validatingwebhookconfigurations",
    singular="validatingwebhookconfiguration", kind="ValidatingWebhookConfiguration", namespaced=False,
    categories=("api-extensions",), has_generation=True,
)  # fmt: skip
SELFSUBJECTREVIEWS = Resource(
    group="authentication.k8s.io", version="v1", plural="selfsubjectreviews", singular="selfsubjectreview",
    kind="SelfSubjectReview", namespaced=False, verbs=VIRTUAL_VERBS,
)  # fmt: skip
TOKENREVIEWS = Resource(
    group="authentication.k8s.io", version="v1", plural="tokenreviews", singular="tokenreview", kind="TokenReview",
    namespaced=False, verbs=VIRTUAL_VERBS,
)  # fmt: skip
LOCALSUBJECTACCESSREVIEWS = Resource(
    group="authorization.k8s.io", version="v1", plural="localsubjectaccessreviews",
    singular="localsubjectaccessreview", kind="LocalSubjectAccessReview", namespaced=True, verbs=VIRTUAL_VERBS,
)  # fmt: skip
SELFSUBJECTACCESSREVIEWS = Resource(
    group="authorization.k8s.io", version="v1", plural="selfsubjectaccessreviews",
    singular="selfsubjectaccessreview", kind="SelfSubjectAccessReview", namespaced=False, verbs=VIRTUAL_VERBS,
)  # fmt: skip
SELFSUBJECTRULESREVIEWS = Resource(
    group="authorization.k8s.io", version="v1", plural="selfsubjectrulesreviews", singular="selfsubjectrulesreview",
    kind="SelfSubjectRulesReview", namespaced=False, verbs=VIRTUAL_VERBS,
)  # fmt: skip
SUBJECTACCESSREVIEWS = Resource(
    group="authorization.k8s.io", version="v1", plural="subjectaccessreviews", singular="subjectaccessreview",
    kind="SubjectAccessReview", namespaced=False, verbs=VIRTUAL_VERBS,
)  # fmt: skip
CUSTOMRESOURCEDEFINITIONS = Resource(  # each makes rows of its own: `custom_rows`
    group="apiextensions.k8s.io", version="v1", plural="customresourcedefinitions",
    singular="customresourcedefinition", kind="CustomResourceDefinition", namespaced=False,
    short_names=("crd", "crds"), categories=("api-extensions",), has_status=True, has_generation=True,
    subresources=(_STATUS,),
)  # fmt: skip
LEASES = Resource(
    group="coordination.k8s.io", version="v1", plural="leases", singular="lease", kind="Lease", namespaced=True
)
EVENTS_V1 = Resource(
    group="events.k8s.io", version="v1", plural="events", singular="event", kind="Event", namespaced=True,
    short_names=("ev",), storage="/events",
    field_labels=(
        "regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion",
        "regarding.resourceVersion", "regarding.fieldPath", "reason", "reportingController", "type",
    ),
)  # fmt: skip
PODDISRUPTIONBUDGETS = Resource(
    group="policy", version="v1", plural="poddisruptionbudgets", singular="poddisruptionbudget",
    kind="PodDisruptionBudget", namespaced=True, short_names=("pdb",), has_status=True, has_generation=True,
    subresources=(_STATUS,),
)  # fmt: skip

RESOURCES: tuple[Resource, ...] = (
    BINDINGS, CONFIGMAPS, ENDPOINTS, EVENTS, NAMESPACES, NODES, PODS, SECRETS, SERVICEACCOUNTS, SERVICES,
    CONTROLLERREVISIONS, DAEMONSETS, DEPLOYMENTS, REPLICASETS, STATEFULSETS,
    JOBS,
    MUTATINGWEBHOOKCONFIGURATIONS, VALIDATINGWEBHOOKCONFIGURATIONS, CUSTOMRESOURCEDEFINITIONS,
    SELFSUBJECTREVIEWS, TOKENREVIEWS,
    LOCALSUBJECTACCESSREVIEWS, SELFSUBJECTACCESSREVIEWS, SELFSUBJECTRULESREVIEWS, SUBJECTACCESSREVIEWS,
    LEASES, EVENTS_V1, PODDISRUPTIONBUDGETS,
    *INERT_KINDS,
)  # fmt: skip

_BY_PATH = {(row.group, row.version, row.plural): row for row in RESOURCES}
_BY_KIND = {(row.group_version, row.kind): row for row in RESOURCES}


def resource_at(group: str, version: str, plural: str) -> Resource | None:
    """The row served under this group, version and plural name."""
    return _BY_PATH.get((group, version, plural))


def resource_of(api_version: str, kind: str) -> Resource | None:
    """The row of objects that say this `apiVersion` and `kind`."""
    return _BY_KIND.get((api_version, kind))


def group_versions() -> dict[str, list[str]]:
    """Served versions by group, in the order of the rows."""
    found: dict[str, list[str]] = {}
    for row in RESOURCES:
        versions = found.setdefault(row.group, [])
        if row.version not in versions:
            versions.append(row.version)
    return found

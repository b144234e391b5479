"""Rows of kinds that are stored and shown, while nothing here acts on them: what usual manifests carry along.

Each row says what does not happen; clients that create one are warned in these words. PriorityClasses alone have an
effect: they give pods their priority (`policy.admission`).
"""

from __future__ import annotations

from pullet.kube.resource import STATUS_VERBS, Resource, Subresource

_STATUS = Subresource("status", STATUS_VERBS)
_SCALE = Subresource("scale", STATUS_VERBS, "Scale", "autoscaling", "v1")
_RBAC = "rights are fixed per identity, no rule changes them"
_NO_DRIVERS = "there are no drivers of volumes"
_NO_VOLUMES = "there are no PersistentVolumes to bind, pods with claims do not start"

# core/v1 ------------------------------------------------------------------------------------------------------------
LIMITRANGES = Resource(
    group="", version="v1", plural="limitranges", singular="limitrange", kind="LimitRange", namespaced=True,
    short_names=("limits",), inert="pods get no defaults and no bounds from it",
)  # fmt: skip
PERSISTENTVOLUMECLAIMS = Resource(
    group="", version="v1", plural="persistentvolumeclaims", singular="persistentvolumeclaim",
    kind="PersistentVolumeClaim", namespaced=True, short_names=("pvc",), has_status=True, subresources=(_STATUS,),
    inert=_NO_VOLUMES,
)  # fmt: skip
PODTEMPLATES = Resource(
    group="", version="v1", plural="podtemplates", singular="podtemplate", kind="PodTemplate", namespaced=True,
    inert="no pods are made of it",
)  # fmt: skip
PERSISTENTVOLUMES = Resource(
    group="", version="v1", plural="persistentvolumes", singular="persistentvolume", kind="PersistentVolume",
    namespaced=False, short_names=("pv",), has_status=True, subresources=(_STATUS,), inert="no claim is bound to it",
)  # fmt: skip
REPLICATIONCONTROLLERS = Resource(
    group="", version="v1", plural="replicationcontrollers", singular="replicationcontroller",
    kind="ReplicationController", namespaced=True, short_names=("rc",), categories=("all",), has_status=True,
    has_generation=True, field_labels=("status.replicas",), subresources=(_SCALE, _STATUS),
    inert="no pods are made of it; use a Deployment",
)  # fmt: skip
RESOURCEQUOTAS = Resource(
    group="", version="v1", plural="resourcequotas", singular="resourcequota", kind="ResourceQuota", namespaced=True,
    short_names=("quota",), has_status=True, subresources=(_STATUS,), inert="nothing is counted or refused by it",
)  # fmt: skip

# the rest, by group -------------------------------------------------------------------------------------------------
APISERVICES = Resource(
    group="apiregistration.k8s.io", version="v1", plural="apiservices", singular="apiservice", kind="APIService",
    namespaced=False, categories=("api-extensions",), has_status=True, subresources=(_STATUS,),
    inert="there is no aggregation, the API it describes is not served",
)  # fmt: skip
HORIZONTALPODAUTOSCALERS = Resource(
    group="autoscaling", version="v2", plural="horizontalpodautoscalers", singular="horizontalpodautoscaler",
    kind="HorizontalPodAutoscaler", namespaced=True, short_names=("hpa",), categories=("all",), has_status=True,
    subresources=(_STATUS,), inert="there are no metrics, nothing is scaled by it",
)  # fmt: skip
HORIZONTALPODAUTOSCALERS_V1 = Resource(
    group="autoscaling", version="v1", plural="horizontalpodautoscalers", singular="horizontalpodautoscaler",
    kind="HorizontalPodAutoscaler", namespaced=True, short_names=("hpa",), categories=("all",), has_status=True,
    subresources=(_STATUS,), inert=HORIZONTALPODAUTOSCALERS.inert, storage=HORIZONTALPODAUTOSCALERS.storage_key,
)  # fmt: skip
CRONJOBS = Resource(
    group="batch", version="v1", plural="cronjobs", singular="cronjob", kind="CronJob", namespaced=True,
    short_names=("cj",), categories=("all",), has_status=True, has_generation=True, subresources=(_STATUS,),
    inert="no Jobs are made of it",
)  # fmt: skip
CERTIFICATESIGNINGREQUESTS = Resource(
    group="certificates.k8s.io", version="v1", plural="certificatesigningrequests",
    singular="certificatesigningrequest", kind="CertificateSigningRequest", namespaced=False, short_names=("csr",),
    field_labels=("spec.signerName",), has_status=True, subresources=(Subresource("approval", STATUS_VERBS), _STATUS),
    inert="nothing signs it, approved or not",
)  # fmt: skip
ENDPOINTSLICES = Resource(
    group="discovery.k8s.io", version="v1", plural="endpointslices", singular="endpointslice", kind="EndpointSlice",
    namespaced=True, has_generation=True, inert="services are not routed",
)  # fmt: skip
INGRESSCLASSES = Resource(
    group="networking.k8s.io", version="v1", plural="ingressclasses", singular="ingressclass", kind="IngressClass",
    namespaced=False, has_generation=True, inert="there is no ingress controller",
)  # fmt: skip
INGRESSES = Resource(
    group="networking.k8s.io", version="v1", plural="ingresses", singular="ingress", kind="Ingress", namespaced=True,
    short_names=("ing",), has_status=True, has_generation=True, subresources=(_STATUS,),
    inert="there is no ingress controller",
)  # fmt: skip
NETWORKPOLICIES = Resource(
    group="networking.k8s.io", version="v1", plural="networkpolicies", singular="networkpolicy", kind="NetworkPolicy",
    namespaced=True, short_names=("netpol",), has_generation=True, inert="no traffic is filtered by it",
)  # fmt: skip
CLUSTERROLEBINDINGS = Resource(
    group="rbac.authorization.k8s.io", version="v1", plural="clusterrolebindings", singular="clusterrolebinding",
    kind="ClusterRoleBinding", namespaced=False, inert=_RBAC,
)  # fmt: skip
CLUSTERROLES = Resource(
    group="rbac.authorization.k8s.io", version="v1", plural="clusterroles", singular="clusterrole", kind="ClusterRole",
    namespaced=False, inert=_RBAC,
)  # fmt: skip
ROLEBINDINGS = Resource(
    group="rbac.authorization.k8s.io", version="v1", plural="rolebindings", singular="rolebinding", kind="RoleBinding",
    namespaced=True, inert=_RBAC,
)  # fmt: skip
ROLES = Resource(
    group="rbac.authorization.k8s.io", version="v1", plural="roles", singular="role", kind="Role", namespaced=True,
    inert=_RBAC,
)  # fmt: skip
PRIORITYCLASSES = Resource(
    group="scheduling.k8s.io", version="v1", plural="priorityclasses", singular="priorityclass", kind="PriorityClass",
    namespaced=False, short_names=("pc",), has_generation=True,
)  # fmt: skip
CSIDRIVERS = Resource(
    group="storage.k8s.io", version="v1", plural="csidrivers", singular="csidriver", kind="CSIDriver",
    namespaced=False, has_generation=True, inert=_NO_DRIVERS,
)  # fmt: skip
CSINODES = Resource(
    group="storage.k8s.io", version="v1", plural="csinodes", singular="csinode", kind="CSINode", namespaced=False,
    inert=_NO_DRIVERS,
)  # fmt: skip
CSISTORAGECAPACITIES = Resource(
    group="storage.k8s.io", version="v1", plural="csistoragecapacities", singular="csistoragecapacity",
    kind="CSIStorageCapacity", namespaced=True, inert="no volumes are provisioned",
)  # fmt: skip
VOLUMEATTACHMENTS = Resource(
    group="storage.k8s.io", version="v1", plural="volumeattachments", singular="volumeattachment",
    kind="VolumeAttachment", namespaced=False, has_status=True, subresources=(_STATUS,),
    inert="nothing is attached by it",
)  # fmt: skip
STORAGECLASSES = Resource(
    group="storage.k8s.io", version="v1", plural="storageclasses", singular="storageclass", kind="StorageClass",
    namespaced=False, short_names=("sc",), inert="no volumes are provisioned",
)  # fmt: skip

INERT_KINDS: tuple[Resource, ...] = (
    LIMITRANGES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODTEMPLATES, REPLICATIONCONTROLLERS, RESOURCEQUOTAS,
    APISERVICES, HORIZONTALPODAUTOSCALERS, HORIZONTALPODAUTOSCALERS_V1, CRONJOBS, CERTIFICATESIGNINGREQUESTS,
    ENDPOINTSLICES, INGRESSCLASSES, INGRESSES, NETWORKPOLICIES, CLUSTERROLEBINDINGS, CLUSTERROLES, ROLEBINDINGS, ROLES,
    PRIORITYCLASSES, CSIDRIVERS, CSINODES, CSISTORAGECAPACITIES, STORAGECLASSES, VOLUMEATTACHMENTS,
)  # fmt: skip

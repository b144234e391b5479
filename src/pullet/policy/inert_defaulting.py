"""Defaults of the kinds of `kube.inert_kinds`, as upstream fills them in. In place; idempotent.

Source: kubernetes pkg/apis/{core,autoscaling,batch,networking,rbac,scheduling,storage}/v1*/defaults.go.
"""

from __future__ import annotations

from pullet.base.jsonvalue import JsonObject
from pullet.policy.pod_defaulting import default_pod_template

RBAC_GROUP = "rbac.authorization.k8s.io"


def default_claim(claim: JsonObject) -> None:
    """A claim asks for a file system and waits."""
    claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    claim.setdefault("status", {}).setdefault("phase", "Pending")


def default_volume(volume: JsonObject) -> None:
    """A volume is a file system and is kept."""
    spec = volume.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    volume.setdefault("status", {}).setdefault("phase", "Pending")


def default_replication_controller(controller: JsonObject) -> None:
    """One replica; selector and labels are the template's."""
    spec = controller.setdefault("spec", {})
    spec.setdefault("replicas", 1)
    template = spec.get("template")
    if isinstance(template, dict):
        labels = (template.get("metadata") or {}).get("labels") or {}
        if labels and not spec.get("selector"):
            spec["selector"] = dict(labels)
        if labels and not controller["metadata"].get("labels"):
            controller["metadata"]["labels"] = dict(labels)
        default_pod_template(template)
    controller.setdefault("status", {}).setdefault("replicas", 0)


def default_autoscaler(autoscaler: JsonObject) -> None:
    """At least one replica, aiming at 80 percent of the CPU requested."""
    spec = autoscaler.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def default_cronjob(cronjob: JsonObject) -> None:
    """Jobs may overlap; three good and one failed are kept."""
    spec = cronjob.setdefault("spec", {})
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    for name, value in (("suspend", False), ("successfulJobsHistoryLimit", 3), ("failedJobsHistoryLimit", 1)):
        spec.setdefault(name, value)
    default_pod_template(spec.setdefault("jobTemplate", {}).setdefault("spec", {}).setdefault("template", {}))
    cronjob.setdefault("status", {})


def default_network_policy(policy: JsonObject) -> None:
    """Directions that the rules speak of; TCP."""
    spec = policy.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for rule in (*(spec.get("ingress") or ()), *(spec.get("egress") or ())):
        for port in rule.get("ports") or ():
            port.setdefault("protocol", "TCP")


def default_ingress(ingress: JsonObject) -> None:
    """There is always a status."""
    ingress.setdefault("status", {}).setdefault("loadBalancer", {})


def default_binding(binding: JsonObject) -> None:
    """Groups of the role and of the subjects."""
    role = binding.setdefault("roleRef", {})
    if not role.get("apiGroup"):
        role["apiGroup"] = RBAC_GROUP
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in ("User", "Group") and not subject.get("apiGroup"):
            subject["apiGroup"] = RBAC_GROUP


def default_priority_class(priority_class: JsonObject) -> None:
    """Preemption is on."""
    priority_class.setdefault("value", 0)
    priority_class.setdefault("preemptionPolicy", "PreemptLowerPriority")


def default_storage_class(storage_class: JsonObject) -> None:
    """Volumes go with their claims, and are bound at once."""
    storage_class.setdefault("reclaimPolicy", "Delete")
    storage_class.setdefault("volumeBindingMode", "Immediate")


def name_requester(request: JsonObject, user: JsonObject) -> None:
    """Whoever signs must know for whom: what the client says of that is not believed."""
    spec = request.setdefault("spec", {})
    for name in ("username", "uid", "groups", "extra"):
        spec.pop(name, None)
        if user.get(name):
            spec[name] = user[name]


def default_driver(driver: JsonObject) -> None:
    """Volumes are attached, last, and get their group when they are written by one node alone."""
    spec = driver.setdefault("spec", {})
    spec.setdefault("attachRequired", True)
    for name in ("podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"):
        spec.setdefault(name, False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    spec.setdefault("volumeLifecycleModes", ["Persistent"])


def default_template(template: JsonObject) -> None:
    """The pod's own defaults; labels are the template's."""
    inner = template.get("template")
    if isinstance(inner, dict):
        labels = (inner.get("metadata") or {}).get("labels") or {}
        if labels and not template["metadata"].get("labels"):
            template["metadata"]["labels"] = dict(labels)
        default_pod_template(inner)


def default_endpoint_slice(endpoint_slice: JsonObject) -> None:
    """Ports speak TCP."""
    for port in endpoint_slice.get("ports") or ():
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")

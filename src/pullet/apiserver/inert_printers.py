"""The rows of the kinds of `kube.inert_kinds`: columns and cells by storage key.

Source: kubernetes pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pullet.apiserver.printing import (
    AGE,
    NAME,
    NONE,
    UNSET,
    Cells,
    Column,
    age_of,
    container_texts,
    labels_text,
    selector_text,
    since,
)
from pullet.base.jsonvalue import JsonObject
from pullet.kube import inert_kinds as kinds
from pullet.kube.duration import human_duration
from pullet.kube.meta import name_of

_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
_CREATED = Column("Created At")
_CLASS = Column("StorageClass")
_ATTRIBUTES = Column("VolumeAttributesClass")


def _part(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return obj.get(name) or {}


def _modes(spec: Mapping[str, Any]) -> str:
    return ",".join(_MODES.get(mode, mode) for mode in dict.fromkeys(spec.get("accessModes") or ()))


def _created(obj: JsonObject, now: datetime) -> list[Any]:
    del now
    return [name_of(obj), obj["metadata"].get("creationTimestamp") or ""]


def _claim(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    is_bound = bool(spec.get("volumeName"))
    return [
        name_of(obj), status.get("phase") or "", spec.get("volumeName") or "",
        _part(status, "capacity").get("storage", "") if is_bound else "", _modes(status) if is_bound else "",
        spec.get("storageClassName") or "", spec.get("volumeAttributesClassName") or UNSET, age_of(obj, now),
        spec.get("volumeMode") or UNSET,
    ]  # fmt: skip


def _volume(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    claim = _part(spec, "claimRef")
    return [
        name_of(obj), _part(spec, "capacity").get("storage", ""), _modes(spec),
        spec.get("persistentVolumeReclaimPolicy") or "", status.get("phase") or "",
        f"{claim.get('namespace')}/{claim.get('name')}" if claim else "", spec.get("storageClassName") or "",
        spec.get("volumeAttributesClassName") or UNSET, status.get("reason") or "", age_of(obj, now),
        spec.get("volumeMode") or UNSET,
    ]  # fmt: skip


def _replication_controller(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    names, images = container_texts(spec.get("template"))
    return [name_of(obj), *counts, age_of(obj, now), names, images, labels_text(spec.get("selector"))]


def _quota(obj: JsonObject, now: datetime) -> list[Any]:
    hard, used = _part(_part(obj, "status"), "hard"), _part(_part(obj, "status"), "used")
    texts = {True: list[str](), False: list[str]()}
    for key in sorted(hard):
        texts[key.startswith("limits.")].append(f"{key}: {used.get(key, '0')}/{hard[key]}")
    return [name_of(obj), ", ".join(texts[False]), ", ".join(texts[True]), age_of(obj, now)]


def _autoscaler(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    target = _part(spec, "scaleTargetRef")
    aims = []
    for metric in spec.get("metrics") or ():
        resource = metric.get("resource") or {}
        wanted = resource.get("target") or {}
        aim = f"{wanted['averageUtilization']}%" if "averageUtilization" in wanted else wanted.get("averageValue", "")
        aims.append(f"{resource['name']}: <unknown>/{aim}" if resource else "<unknown>/<auto>")
    return [
        name_of(obj), f"{target.get('kind')}/{target.get('name')}", ", ".join(aims) or NONE,
        str(spec.get("minReplicas", UNSET)), spec.get("maxReplicas", 0), status.get("currentReplicas", 0),
        age_of(obj, now),
    ]  # fmt: skip


def _cronjob(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    last = since(status["lastScheduleTime"], now) if status.get("lastScheduleTime") else NONE
    job = _part(_part(spec, "jobTemplate"), "spec")
    names, images = container_texts(job.get("template"))
    return [
        name_of(obj), spec.get("schedule") or "", spec.get("timeZone") or NONE,
        "True" if spec.get("suspend") else "False", len(status.get("active") or ()), last, age_of(obj, now),
        names, images, selector_text(job.get("selector")),
    ]  # fmt: skip


def _template(obj: JsonObject, now: datetime) -> list[Any]:
    del now
    template = _part(obj, "template")
    return [name_of(obj), *container_texts(template), labels_text(_part(template, "metadata").get("labels"))]


def _signing_request(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    types = [condition.get("type") for condition in status.get("conditions") or ()]
    said = next((word for word in ("Denied", "Approved") if word in types), "Pending")
    said += ",Failed" if "Failed" in types else ",Issued" if status.get("certificate") else ""
    seconds = spec.get("expirationSeconds")
    wanted = NONE if seconds is None else human_duration(timedelta(seconds=seconds))
    return [name_of(obj), age_of(obj, now), spec.get("signerName") or NONE, spec.get("username") or "", wanted, said]


def _driver(obj: JsonObject, now: datetime) -> list[Any]:
    spec = _part(obj, "spec")
    audiences = ",".join(each.get("audience") or "" for each in spec.get("tokenRequests") or ()) or UNSET
    return [
        name_of(obj), bool(spec.get("attachRequired")), bool(spec.get("podInfoOnMount")),
        bool(spec.get("storageCapacity")), audiences, bool(spec.get("requiresRepublish")),
        ",".join(spec.get("volumeLifecycleModes") or ()) or NONE, age_of(obj, now),
    ]  # fmt: skip


def _node_drivers(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), len(_part(obj, "spec").get("drivers") or ()), age_of(obj, now)]


def _capacity(obj: JsonObject, now: datetime) -> list[Any]:
    del now
    return [name_of(obj), obj.get("storageClassName") or "", obj.get("capacity") or UNSET]


def _attachment(obj: JsonObject, now: datetime) -> list[Any]:
    spec = _part(obj, "spec")
    return [
        name_of(obj), spec.get("attacher") or "", _part(spec, "source").get("persistentVolumeName") or "",
        spec.get("nodeName") or "", bool(_part(obj, "status").get("attached")), age_of(obj, now),
    ]  # fmt: skip


def _slice(obj: JsonObject, now: datetime) -> list[Any]:
    ports = ",".join(str(port["port"]) if port.get("port") else "*" for port in obj.get("ports") or ())
    found = [address for each in obj.get("endpoints") or () for address in each.get("addresses") or ()]
    addresses = ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [name_of(obj), obj.get("addressType") or "", ports or UNSET, addresses or UNSET, age_of(obj, now)]


def _ingress_class(obj: JsonObject, now: datetime) -> list[Any]:
    spec = _part(obj, "spec")
    parameters = _part(spec, "parameters")
    text = NONE
    if parameters:
        group = f".{parameters['apiGroup']}" if parameters.get("apiGroup") else ""
        text = f"{parameters.get('kind')}{group}/{parameters.get('name')}"
    return [name_of(obj), spec.get("controller") or "", text, age_of(obj, now)]


def _ingress(obj: JsonObject, now: datetime) -> list[Any]:
    spec = _part(obj, "spec")
    hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
    shown = ",".join(hosts[:3]) + (f" + {len(hosts) - 3} more..." if len(hosts) > 3 else "")
    points = _part(_part(obj, "status"), "loadBalancer").get("ingress") or ()
    address = ",".join(point.get("ip") or point.get("hostname") or "" for point in points)
    ports = "80, 443" if spec.get("tls") else "80"
    return [name_of(obj), spec.get("ingressClassName") or NONE, shown or "*", address, ports, age_of(obj, now)]


def _network_policy(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), selector_text(_part(obj, "spec").get("podSelector")), age_of(obj, now)]


def _binding(obj: JsonObject, now: datetime) -> list[Any]:
    role = _part(obj, "roleRef")
    who: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or ():
        prefix = f"{subject.get('namespace')}/" if subject.get("kind") == "ServiceAccount" else ""
        who.setdefault(str(subject.get("kind")), []).append(prefix + str(subject.get("name")))
    subjects = [", ".join(who[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [name_of(obj), f"{role.get('kind')}/{role.get('name')}", age_of(obj, now), *subjects]


def _priority_class(obj: JsonObject, now: datetime) -> list[Any]:
    is_default = bool(obj.get("globalDefault"))
    return [name_of(obj), obj.get("value", 0), is_default, age_of(obj, now), obj.get("preemptionPolicy") or ""]


def _storage_class(obj: JsonObject, now: datetime) -> list[Any]:
    is_default = obj["metadata"].get("annotations", {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        f"{name_of(obj)} (default)" if is_default else name_of(obj), obj.get("provisioner") or "",
        obj.get("reclaimPolicy") or "", obj.get("volumeBindingMode") or "", bool(obj.get("allowVolumeExpansion")),
        age_of(obj, now),
    ]  # fmt: skip


def _number(name: str) -> Column:
    return Column(name, "integer")


def _wide(*names: str) -> Sequence[Column]:
    return tuple(Column(name, priority=1) for name in names)


_BINDING_COLUMNS = (NAME, Column("Role"), AGE, *_wide("Users", "Groups", "ServiceAccounts"))

INERT_PRINTERS: dict[str, tuple[Sequence[Column], Cells]] = {
    kinds.LIMITRANGES.storage_key: ((NAME, _CREATED), _created),
    kinds.ROLES.storage_key: ((NAME, _CREATED), _created),
    kinds.CLUSTERROLES.storage_key: ((NAME, _CREATED), _created),
    kinds.PERSISTENTVOLUMECLAIMS.storage_key: (
        (
            NAME, Column("Status"), Column("Volume"), Column("Capacity"), Column("Access Modes"), _CLASS, _ATTRIBUTES,
            AGE, *_wide("VolumeMode"),
        ),
        _claim,
    ),
    kinds.PERSISTENTVOLUMES.storage_key: (
        (
            NAME, Column("Capacity"), Column("Access Modes"), Column("Reclaim Policy"), Column("Status"),
            Column("Claim"), _CLASS, _ATTRIBUTES, Column("Reason"), AGE, *_wide("VolumeMode"),
        ),
        _volume,
    ),
    kinds.REPLICATIONCONTROLLERS.storage_key: (
        (NAME, _number("Desired"), _number("Current"), _number("Ready"), AGE, *_wide("Containers", "Images",
                                                                                      "Selector")),
        _replication_controller,
    ),
    kinds.RESOURCEQUOTAS.storage_key: ((NAME, Column("Request"), Column("Limit"), AGE), _quota),
    kinds.HORIZONTALPODAUTOSCALERS.storage_key: (
        (
            NAME, Column("Reference"), Column("Targets"), Column("MinPods"), Column("MaxPods"), Column("Replicas"),
            AGE,
        ),
        _autoscaler,
    ),
    kinds.CRONJOBS.storage_key: (
        (
            NAME, Column("Schedule"), Column("Timezone"), Column("Suspend"), _number("Active"),
            Column("Last Schedule"), AGE, *_wide("Containers", "Images", "Selector"),
        ),
        _cronjob,
    ),
    kinds.PODTEMPLATES.storage_key: (
        (NAME, Column("Containers"), Column("Images"), Column("Pod Labels")),
        _template,
    ),
    kinds.CERTIFICATESIGNINGREQUESTS.storage_key: (
        (NAME, AGE, Column("SignerName"), Column("Requestor"), Column("RequestedDuration"), Column("Condition")),
        _signing_request,
    ),
    kinds.ENDPOINTSLICES.storage_key: (
        (NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE),
        _slice,
    ),
    kinds.INGRESSCLASSES.storage_key: ((NAME, Column("Controller"), Column("Parameters"), AGE), _ingress_class),
    kinds.INGRESSES.storage_key: (
        (NAME, Column("Class"), Column("Hosts"), Column("Address"), Column("Ports"), AGE),
        _ingress,
    ),
    kinds.NETWORKPOLICIES.storage_key: ((NAME, Column("Pod-Selector"), AGE), _network_policy),
    kinds.CLUSTERROLEBINDINGS.storage_key: (_BINDING_COLUMNS, _binding),
    kinds.ROLEBINDINGS.storage_key: (_BINDING_COLUMNS, _binding),
    kinds.PRIORITYCLASSES.storage_key: (
        (NAME, _number("Value"), Column("Global-Default", "boolean"), AGE, Column("PreemptionPolicy")),
        _priority_class,
    ),
    kinds.CSIDRIVERS.storage_key: (
        (
            NAME, Column("AttachRequired", "boolean"), Column("PodInfoOnMount", "boolean"),
            Column("StorageCapacity", "boolean"), Column("TokenRequests"), Column("RequiresRepublish", "boolean"),
            Column("Modes"), AGE,
        ),
        _driver,
    ),
    kinds.CSINODES.storage_key: ((NAME, _number("Drivers"), AGE), _node_drivers),
    kinds.CSISTORAGECAPACITIES.storage_key: ((NAME, Column("StorageClassName"), Column("Capacity")), _capacity),
    kinds.VOLUMEATTACHMENTS.storage_key: (
        (NAME, Column("Attacher"), Column("PV"), Column("Node"), Column("Attached", "boolean"), AGE),
        _attachment,
    ),
    kinds.STORAGECLASSES.storage_key: (
        (
            NAME, Column("Provisioner"), Column("ReclaimPolicy"), Column("VolumeBindingMode"),
            Column("AllowVolumeExpansion", "boolean"), AGE,
        ),
        _storage_class,
    ),
}  # fmt: skip

"""The rows of every kind that acts but pods: columns and cells by storage key.

Source: kubernetes pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pullet.apiserver.printing import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cells,
    Column,
    age_of,
    container_texts,
    labels_text,
    selector_text,
    since,
)
from pullet.base.jsonvalue import JsonObject
from pullet.kube import scheme
from pullet.kube.meta import labels_of, name_of

_WIDE_TEMPLATE = (Column("Containers", priority=1), Column("Images", priority=1), Column("Selector", priority=1))
_ROLE_PREFIX = "node-role.kubernetes.io/"


def _part(obj: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return obj.get(name) or {}


def _namespace(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), _part(obj, "status").get("phase") or "", age_of(obj, now)]


def _node(obj: JsonObject, now: datetime) -> list[Any]:
    status = _part(obj, "status")
    conditions = {item.get("type"): item.get("status") for item in status.get("conditions") or ()}
    words = [] if "Ready" not in conditions else ["Ready" if conditions["Ready"] == "True" else "NotReady"]
    words = words or ["Unknown"]
    if _part(obj, "spec").get("unschedulable"):
        words.append("SchedulingDisabled")
    roles = sorted(
        {key.removeprefix(_ROLE_PREFIX) for key in labels_of(obj) if key.startswith(_ROLE_PREFIX)}
        | {value for key, value in labels_of(obj).items() if key == "kubernetes.io/role" and value}
    )
    info = status.get("nodeInfo") or {}
    addresses = {item.get("type"): item.get("address") for item in reversed(status.get("addresses") or [])}
    return [
        name_of(obj), ",".join(words), ",".join(roles) or NONE, age_of(obj, now), info.get("kubeletVersion") or "",
        addresses.get("InternalIP") or NONE, addresses.get("ExternalIP") or NONE, info.get("osImage") or UNKNOWN,
        _kernel(info), info.get("containerRuntimeVersion") or UNKNOWN,
    ]  # fmt: skip


def _kernel(info: Mapping[str, Any]) -> str:
    version, architecture = info.get("kernelVersion") or UNKNOWN, info.get("architecture")
    return f"{version} ({architecture})" if architecture else version


def _event(obj: JsonObject, now: datetime) -> list[Any]:
    about = _part(obj, "involvedObject")
    series = _part(obj, "series")
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    last = since(
        series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("firstTimestamp") or obj.get("eventTime"),
        now,
    )
    source = _part(obj, "source")
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or ""
    target = f"{str(about.get('kind') or '').lower()}/{about.get('name') or ''}"
    return [
        last, obj.get("type") or "", obj.get("reason") or "", target, about.get("fieldPath") or "",
        f"{component}, {host}" if host else component, str(obj.get("message") or "").strip(), first,
        series.get("count") or obj.get("count") or 1, name_of(obj),
    ]  # fmt: skip


def _secret(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), obj.get("type") or "", len(_part(obj, "data")), age_of(obj, now)]


def _configmap(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), len(_part(obj, "data")) + len(_part(obj, "binaryData")), age_of(obj, now)]


def _service(obj: JsonObject, now: datetime) -> list[Any]:
    spec = _part(obj, "spec")
    ports = ",".join(
        f"{port.get('port')}:{port['nodePort']}/{port.get('protocol')}"
        if port.get("nodePort")
        else f"{port.get('port')}/{port.get('protocol')}"
        for port in spec.get("ports") or ()
    )
    external = (
        spec.get("externalName") if spec.get("type") == "ExternalName" else ",".join(spec.get("externalIPs") or ())
    )
    return [
        name_of(obj), spec.get("type") or "", spec.get("clusterIP") or NONE, external or NONE, ports or NONE,
        age_of(obj, now), labels_text(spec.get("selector")),
    ]  # fmt: skip


def _endpoints(obj: JsonObject, now: datetime) -> list[Any]:
    targets = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    text = ",".join(targets[:3]) + (f" + {len(targets) - 3} more..." if len(targets) > 3 else "")
    return [name_of(obj), text or NONE, age_of(obj, now)]


def _wide(obj: JsonObject) -> list[Any]:
    spec = _part(obj, "spec")
    names, images = container_texts(spec.get("template"))
    return [names, images, selector_text(spec.get("selector"))]


def _deployment(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [name_of(obj), ready, *counts, age_of(obj, now), *_wide(obj)]


def _replicaset(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name_of(obj), *counts, age_of(obj, now), *_wide(obj)]


def _daemonset(obj: JsonObject, now: datetime) -> list[Any]:
    status = _part(obj, "status")
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    node_selector = ((_part(obj, "spec").get("template") or {}).get("spec") or {}).get("nodeSelector")
    counts = [status.get(name, 0) for name in names]
    return [name_of(obj), *counts, labels_text(node_selector), age_of(obj, now), *_wide(obj)]


def _statefulset(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    return [name_of(obj), ready, age_of(obj, now), *_wide(obj)[:2]]


def _job(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    done, wanted = status.get("succeeded", 0), spec.get("completions")
    parallel = spec.get("parallelism") or 1
    completions = (
        f"{done}/{wanted}" if wanted is not None else f"{done}/1" + (f" of {parallel}" if parallel > 1 else "")
    )
    true = [item.get("type") for item in status.get("conditions") or () if item.get("status") == "True"]
    state = next((word for word in ("Complete", "Failed", "Suspended", "FailureTarget") if word in true), "Running")
    duration = ""
    if status.get("startTime"):
        duration = since(status["startTime"], now)
        if status.get("completionTime"):
            duration = _between(status["startTime"], status["completionTime"])
    return [name_of(obj), state, completions, duration, age_of(obj, now), *_wide(obj)]


def _between(start: str, end: str) -> str:
    moment = datetime.fromisoformat(end)
    return since(start, moment)


def _lease(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), _part(obj, "spec").get("holderIdentity") or "", age_of(obj, now)]


def _webhooks(obj: JsonObject, now: datetime) -> list[Any]:
    return [name_of(obj), len(obj.get("webhooks") or ()), age_of(obj, now)]


def _revision(obj: JsonObject, now: datetime) -> list[Any]:
    owner = next((item for item in obj["metadata"].get("ownerReferences") or () if item.get("controller")), None)
    text = f"{owner['kind'].lower()}.{owner['apiVersion'].partition('/')[0]}/{owner['name']}" if owner else NONE
    return [name_of(obj), text, obj.get("revision", 0), age_of(obj, now)]


def _budget(obj: JsonObject, now: datetime) -> list[Any]:
    spec, status = _part(obj, "spec"), _part(obj, "status")
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    texts = [str(value) if value is not None else "N/A" for value in (least, most)]
    return [name_of(obj), *texts, status.get("disruptionsAllowed", 0), age_of(obj, now)]


def _number(name: str) -> Column:
    return Column(name, "integer")


def _definition(definition: JsonObject, now: datetime) -> list[Any]:
    del now
    return [name_of(definition), definition["metadata"].get("creationTimestamp")]


PRINTERS: dict[str, tuple[Sequence[Column], Cells]] = {
    scheme.CUSTOMRESOURCEDEFINITIONS.storage_key: ((NAME, Column("Created At", "date")), _definition),
    scheme.NAMESPACES.storage_key: ((NAME, Column("Status"), AGE), _namespace),
    scheme.NODES.storage_key: (
        (
            NAME, Column("Status"), Column("Roles"), AGE, Column("Version"), Column("Internal-IP", priority=1),
            Column("External-IP", priority=1), Column("OS-Image", priority=1), Column("Kernel-Version", priority=1),
            Column("Container-Runtime", priority=1),
        ),
        _node,
    ),
    scheme.EVENTS.storage_key: (
        (
            Column("Last Seen"), Column("Type"), Column("Reason"), Column("Object"), Column("Subobject", priority=1),
            Column("Source", priority=1), Column("Message"), Column("First Seen", priority=1),
            Column("Count", priority=1), Column("Name", priority=1),
        ),
        _event,
    ),
    scheme.SECRETS.storage_key: ((NAME, Column("Type"), _number("Data"), AGE), _secret),
    scheme.CONFIGMAPS.storage_key: ((NAME, _number("Data"), AGE), _configmap),
    scheme.SERVICES.storage_key: (
        (
            NAME, Column("Type"), Column("Cluster-IP"), Column("External-IP"), Column("Port(s)"), AGE,
            Column("Selector", priority=1),
        ),
        _service,
    ),
    scheme.ENDPOINTS.storage_key: ((NAME, Column("Endpoints"), AGE), _endpoints),
    scheme.DEPLOYMENTS.storage_key: (
        (NAME, Column("Ready"), _number("Up-to-date"), _number("Available"), AGE, *_WIDE_TEMPLATE),
        _deployment,
    ),
    scheme.REPLICASETS.storage_key: (
        (NAME, _number("Desired"), _number("Current"), _number("Ready"), AGE, *_WIDE_TEMPLATE),
        _replicaset,
    ),
    scheme.DAEMONSETS.storage_key: (
        (
            NAME, _number("Desired"), _number("Current"), _number("Ready"), _number("Up-to-date"),
            _number("Available"), Column("Node Selector"), AGE, *_WIDE_TEMPLATE,
        ),
        _daemonset,
    ),
    scheme.STATEFULSETS.storage_key: ((NAME, Column("Ready"), AGE, *_WIDE_TEMPLATE[:2]), _statefulset),
    scheme.JOBS.storage_key: (
        (NAME, Column("Status"), Column("Completions"), Column("Duration"), AGE, *_WIDE_TEMPLATE),
        _job,
    ),
    scheme.LEASES.storage_key: ((NAME, Column("Holder"), AGE), _lease),
    scheme.MUTATINGWEBHOOKCONFIGURATIONS.storage_key: ((NAME, _number("Webhooks"), AGE), _webhooks),
    scheme.VALIDATINGWEBHOOKCONFIGURATIONS.storage_key: ((NAME, _number("Webhooks"), AGE), _webhooks),
    scheme.CONTROLLERREVISIONS.storage_key: ((NAME, Column("Controller"), _number("Revision"), AGE), _revision),
    scheme.PODDISRUPTIONBUDGETS.storage_key: (
        (NAME, Column("Min Available"), Column("Max Unavailable"), _number("Allowed Disruptions"), AGE),
        _budget,
    ),
}  # fmt: skip

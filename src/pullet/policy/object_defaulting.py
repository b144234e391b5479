"""Defaults of the kinds beside pods, and what a new object of each kind starts with. In place; idempotent.

Source: kubernetes pkg/apis/{core,apps,batch,admissionregistration}/v1/defaults.go, pkg/registry/*/*/strategy.go.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.kube.pod import parse_pod
from pullet.policy.pod_defaulting import default_pod_template
from pullet.policy.qos import QOSClass, compute_qos

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
JOB_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
_NO_LIMIT = 2**31 - 1


def end_namespace(namespace: JsonObject) -> None:
    """A namespace that is deleted ends by and by."""
    namespace.setdefault("status", {})["phase"] = "Terminating"


def drop_status(obj: JsonObject) -> None:
    """A new object has no status yet."""
    obj["status"] = {}


def default_counts(*names: str) -> Callable[[JsonObject], None]:
    """A default for counts in a status that Go writes though they are 0."""

    def default(obj: JsonObject) -> None:
        status = obj.get("status")
        if not isinstance(status, dict):
            status = obj["status"] = {}
        for name in names:
            if not status.get(name):
                status[name] = 0

    return default


_daemonset_counts = default_counts(
    "currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"
)
_replicaset_counts = default_counts("replicas")
_statefulset_counts = default_counts("availableReplicas", "replicas")
default_budget = default_counts("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")


def prepare_pod(pod: JsonObject) -> None:
    """A new pod is Pending and has its quality-of-service class."""
    qos = QOSClass.BEST_EFFORT
    with suppress(PulletError, ValueError):  # a pod that cannot be read is refused by validation, with better words
        qos = compute_qos(parse_pod(pod))
    pod["status"] = {"phase": "Pending", "qosClass": str(qos)}
    if (pod.get("spec") or {}).get("schedulingGates"):
        pod["status"]["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
                "lastProbeTime": None,
                "lastTransitionTime": None,
            }
        ]


def prepare_namespace(namespace: JsonObject) -> None:
    """A new namespace is Active and waits for its content to be gone before it goes."""
    namespace["status"] = {"phase": "Active"}
    spec = _spec(namespace)
    finalizers = spec.setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")


def default_namespace(namespace: JsonObject) -> None:
    """Every namespace carries its name as a label."""
    name = namespace["metadata"].get("name")
    if name:
        labels = namespace["metadata"].setdefault("labels", {})
        labels[NAMESPACE_LABEL] = name


def default_node(node: JsonObject) -> None:
    """Nodes have spec and status; what is allocatable is what is there unless the node says less."""
    _spec(node)
    status = node.setdefault("status", {})
    if status.get("capacity") and not status.get("allocatable"):
        status["allocatable"] = dict(status["capacity"])


def default_event(event: JsonObject) -> None:
    """Fields of an event that the API always shows."""
    event.setdefault("involvedObject", {})
    event.setdefault("source", {})
    for name in ("eventTime", "firstTimestamp", "lastTimestamp"):
        event.setdefault(name, None)
    source = event["source"] or {}
    if not event.get("reportingComponent"):
        event["reportingComponent"] = source.get("component", "")
    event.setdefault("reportingInstance", "")


def default_secret(secret: JsonObject) -> None:
    """`stringData` becomes `data`; the type is Opaque unless said."""
    plain = secret.pop("stringData", None)
    if plain:
        data = secret.setdefault("data", {})
        for key, value in plain.items():
            data[key] = base64.b64encode(str(value).encode()).decode()
    if not secret.get("type"):
        secret["type"] = "Opaque"


def default_configmap(configmap: JsonObject) -> None:
    """Nothing is absent from a ConfigMap that the API would fill in."""
    for name in ("data", "binaryData"):
        if not configmap.get(name):
            configmap.pop(name, None)


def default_service(service: JsonObject) -> None:
    """Type, session affinity, ports. No cluster IP is allotted: services are stored, not routed."""
    spec = _spec(service)
    for name, value in (("type", "ClusterIP"), ("sessionAffinity", "None"), ("internalTrafficPolicy", "Cluster")):
        if not spec.get(name):
            spec[name] = value
    if spec["type"] == "ExternalName":
        spec.pop("internalTrafficPolicy", None)
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port", 0)
    service.setdefault("status", {}).setdefault("loadBalancer", {})


def default_deployment(deployment: JsonObject) -> None:
    """Replicas, strategy, history, deadline, template."""
    spec = _spec(deployment)
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", "25%")
        rolling.setdefault("maxSurge", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    _default_workload(deployment)


def default_replicaset(replicaset: JsonObject) -> None:
    """Replicas, template."""
    _replicaset_counts(replicaset)
    _spec(replicaset).setdefault("replicas", 1)
    _default_workload(replicaset)


def default_daemonset(daemonset: JsonObject) -> None:
    """Update strategy, history, template."""
    _daemonset_counts(daemonset)
    spec = _spec(daemonset)
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxUnavailable", 1)
        rolling.setdefault("maxSurge", 0)
    spec.setdefault("revisionHistoryLimit", 10)
    _default_workload(daemonset)


def default_statefulset(statefulset: JsonObject) -> None:
    """Replicas, order, update strategy, history, template."""
    _statefulset_counts(statefulset)
    spec = _spec(statefulset)
    spec.setdefault("replicas", 1)
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    strategy = spec.setdefault("updateStrategy", {})
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
    retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
    retention.setdefault("whenDeleted", "Retain")
    retention.setdefault("whenScaled", "Retain")
    spec.setdefault("revisionHistoryLimit", 10)
    _default_workload(statefulset)


def prepare_job(job: JsonObject) -> None:
    """A new job selects its pods by its own uid, unless it says it selects by itself."""
    drop_status(job)
    spec = _spec(job)
    if spec.get("manualSelector"):
        return
    meta = job["metadata"]
    own = {
        JOB_UID: meta["uid"],
        JOB_NAME: meta.get("name", ""),
        "controller-uid": meta["uid"],
        "job-name": meta.get("name", ""),
    }
    template = spec.setdefault("template", {}).setdefault("metadata", {})
    template["labels"] = {**(template.get("labels") or {}), **own}
    if not spec.get("selector"):
        spec["selector"] = {"matchLabels": {JOB_UID: meta["uid"]}}


def default_job(job: JsonObject) -> None:
    """Completions, parallelism, back-off limit, mode, template."""
    spec = _spec(job)
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    for name, value in (
        ("parallelism", 1),
        ("backoffLimit", 6 if spec.get("backoffLimitPerIndex") is None else _NO_LIMIT),
        ("completionMode", "NonIndexed"),
        ("suspend", False),
        ("podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"),
    ):
        spec.setdefault(name, value)
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            pattern.setdefault("status", "True")
    _default_workload(job)


def default_webhooks(configuration: JsonObject) -> None:
    """Failure policy, match policy, scope, timeout of each webhook."""
    for webhook in configuration.get("webhooks") or ():
        for name, value in (("failurePolicy", "Fail"), ("matchPolicy", "Equivalent")):
            if not webhook.get(name):
                webhook[name] = value
        if webhook.get("timeoutSeconds") is None:
            webhook["timeoutSeconds"] = 10
        webhook.setdefault("namespaceSelector", {})
        webhook.setdefault("objectSelector", {})
        if configuration.get("kind") == "MutatingWebhookConfiguration":
            webhook.setdefault("reinvocationPolicy", "Never")
        for rule in webhook.get("rules") or ():
            rule.setdefault("scope", "*")
        service = (webhook.get("clientConfig") or {}).get("service")
        if isinstance(service, dict):
            service.setdefault("port", 443)


def _spec(obj: JsonObject) -> dict[str, Any]:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        spec = obj["spec"] = {}
    return spec


def _default_workload(obj: JsonObject) -> None:
    template = _spec(obj).setdefault("template", {})
    template.setdefault("metadata", {})
    default_pod_template(template)
    obj.setdefault("status", {})

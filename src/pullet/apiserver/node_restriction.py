"""What a node may write: itself, its lease, the status of its pods, and pods of its own that refer to nothing.

Upstream lets a node create mirror pods alone; here its static pods are ordinary pods, under the same limits.
Source: kubernetes plugin/pkg/admission/noderestriction/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pullet.apiserver.admission_request import AdmissionRequest, Operation
from pullet.apiserver.authorization import node_of
from pullet.base.jsonvalue import JsonObject
from pullet.kube import scheme
from pullet.kube.field_error import quote
from pullet.kube.meta import labels_of
from pullet.kube.status import ForbiddenError
from pullet.policy.pod_references import references_of

_POD_WRITES = {
    (Operation.CREATE, ""): "create pods",
    (Operation.UPDATE, "status"): "update pod status for pods",
    (Operation.DELETE, ""): "delete pods",
}
_RESTRICTED = "node-restriction.kubernetes.io"
# labels below kubernetes.io and k8s.io that a kubelet sets. Source: k8s.io/kubelet pkg/apis/well_known_labels.go
_KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os", "beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region", "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.kubernetes.io/region", "failure-domain.kubernetes.io/zone", "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    }
)  # fmt: skip
_KUBELET_SPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")


def restrict_node(request: AdmissionRequest) -> None:
    """Refuse what a node writes beyond its own.

    Raises:
        ForbiddenError: it is a node, and does.
    """
    node = node_of(request.context.user)
    if not node:
        return
    if request.resource is scheme.PODS:
        why = _pod_refusal(request, node)
    elif request.resource is scheme.NODES:
        why = _node_refusal(request, node)
    elif request.resource is scheme.LEASES and request.name != node:
        why = "can only access node lease with the same name as the requesting node"
    else:
        why = ""
    if why:
        raise ForbiddenError.on(request.resource, request.name, why)


def restrict_token(node: str, account: str, reference: Mapping[str, object] | None, pod: JsonObject | None) -> None:
    """Refuse a token that is not bound to a pod of the node that asks.

    Raises:
        ForbiddenError: it is not.
    """
    given = reference or {}
    if pod is None or given.get("apiVersion") != "v1":
        why = "node requested token not bound to a pod"
    elif not given.get("uid"):
        why = "node requested token with a pod binding without a uid"
    elif (pod.get("spec") or {}).get("nodeName") != node:
        why = "node requested token bound to a pod scheduled on a different node"
    else:
        return
    raise ForbiddenError.on(scheme.SERVICEACCOUNTS, account, why)


def _pod_refusal(request: AdmissionRequest, node: str) -> str:
    if request.operation is Operation.CONNECT or request.subresource == "eviction":
        return ""  # an eviction looks at its pod itself
    pod = request.old or request.obj or {}
    if (pod.get("spec") or {}).get("nodeName") != node:
        what = _POD_WRITES.get((request.operation, request.subresource), "change pods")
        return f"node {quote(node)} can only {what} with spec.nodeName set to itself"
    if request.operation is Operation.CREATE:
        references = references_of(pod)
        for is_given, what in (
            (references.service_account, "a service account"),
            (references.secrets, "secrets"),
            (references.configmaps, "configmaps"),
            (references.claims, "persistentvolumeclaims"),
        ):
            if is_given:
                return f"node {quote(node)} can not create pods that reference {what}"
    if request.operation is Operation.UPDATE and labels_of(request.obj or {}) != labels_of(request.old or {}):
        return f"node {quote(node)} cannot update labels through pod status"
    return ""


def _node_refusal(request: AdmissionRequest, node: str) -> str:
    if request.name != node:
        return f"node {quote(node)} is not allowed to modify node {quote(request.name)}"
    if request.operation not in (Operation.CREATE, Operation.UPDATE):
        return ""
    new, old = labels_of(request.obj or {}), labels_of(request.old or {})
    changed = {key for key in {*new, *old} if new.get(key) != old.get(key)}
    forbidden = ", ".join(_forbidden_labels(changed))
    if request.operation is Operation.CREATE:
        return f"node {quote(node)} is not allowed to set the following labels: {forbidden}" if forbidden else ""
    if _taints(request.obj) != _taints(request.old):
        return f"node {quote(node)} is not allowed to modify taints"
    return f"is not allowed to modify labels: {forbidden}" if forbidden else ""


def _taints(node: JsonObject | None) -> list[JsonObject]:
    return ((node or {}).get("spec") or {}).get("taints") or []


def _forbidden_labels(keys: Iterable[str]) -> list[str]:
    found = []
    for key in sorted(keys):
        space = key.partition("/")[0] if "/" in key else ""
        is_kubernetes = _is_within(space, ("kubernetes.io", "k8s.io"))
        is_kubelets = key in _KUBELET_LABELS or _is_within(space, _KUBELET_SPACES)
        if _is_within(space, (_RESTRICTED,)) or (is_kubernetes and not is_kubelets):
            found.append(key)
    return found


def _is_within(space: str, domains: Iterable[str]) -> bool:
    return any(space == domain or space.endswith(f".{domain}") for domain in domains)

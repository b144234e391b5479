"""What a node may read, by the pods bound to it: their secrets, ConfigMaps and accounts; its own pods and itself.

Asked after the fixed rules of `authorization` have said yes.
Source: kubernetes plugin/pkg/auth/authorizer/node/node_authorizer.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from pullet.apiserver.authorization import AccessRequest, Decision, is_allowed, node_of
from pullet.apiserver.storage import Storage
from pullet.kube import scheme
from pullet.policy.pod_references import PodReferences, references_of

_LEASES_NAMESPACE = "kube-node-lease"


class Authorizer:
    """Decides about requests: the fixed rights of the identity, and for nodes what their pods relate them to."""

    def __init__(self, *, storage: Storage) -> None:
        self._storage = storage

    def decide(self, request: AccessRequest) -> Decision:
        """Whether the request may be; a reason only where there is more to say than no."""
        if not is_allowed(request):
            return Decision(is_allowed=False)
        node = node_of(request.user)
        why = self._refusal(request, node) if node and not request.path else ""
        return Decision(is_allowed=not why, reason=why)

    def _refusal(self, request: AccessRequest, node: str) -> str:
        """Why not, or nothing. The verbs have been checked."""
        match request.group, request.resource:
            case (
                "",
                "secrets" | "configmaps" | "persistentvolumeclaims" | "serviceaccounts" | "serviceaccounts/token",
            ):
                return self._unrelated(request, node)
            case ("", "nodes") if request.verb in ("get", "list", "watch") and request.name != node:
                if not request.name:
                    return f"node '{node}' cannot read all nodes, only its own Node object"
                return f"node '{node}' cannot read '{request.name}', only its own Node object"
            case ("", "pods") if request.verb in ("get", "list", "watch"):
                return self._foreign_pods(request, node)
            case ("coordination.k8s.io", "leases"):
                return _foreign_lease(request, node)
            case _:
                return ""

    def _unrelated(self, request: AccessRequest, node: str) -> str:
        if not request.name:
            return "No Object name found"
        for references in self._references(request.namespace, node):
            match request.resource:
                case "secrets":
                    names: frozenset[str] | set[str] = references.secrets
                case "configmaps":
                    names = references.configmaps
                case "persistentvolumeclaims":
                    names = references.claims
                case _:
                    names = {references.service_account}
            if request.name in names:
                return ""
        return f"no relationship found between node '{node}' and this object"

    def _references(self, namespace: str, node: str) -> Iterator[PodReferences]:
        for record in self._storage.list(scheme.PODS.storage_key, namespace) if namespace else ():
            if (record.obj.get("spec") or {}).get("nodeName") == node:
                yield references_of(record.obj)

    def _foreign_pods(self, request: AccessRequest, node: str) -> str:
        if request.verb != "get" and request.selected_node == node:
            return ""
        if not request.name:
            return "can only list/watch pods with spec.nodeName field selector"
        record = self._storage.get(scheme.PODS.storage_key, request.namespace, request.name)
        if record is not None and (record.obj.get("spec") or {}).get("nodeName") == node:
            return ""
        return f"no relationship found between node '{node}' and this object"


def _foreign_lease(request: AccessRequest, node: str) -> str:
    if request.namespace != _LEASES_NAMESPACE:
        return f'can only access leases in the "{_LEASES_NAMESPACE}" system namespace'
    if request.verb != "create" and request.name != node:
        return "can only access node lease with the same name as the requesting node"
    return ""

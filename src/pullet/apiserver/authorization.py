"""Who may do what. No RBAC objects: four kinds of identity with fixed rights.

system:masters, the control plane's own components   everything
a node (group system:nodes)                          what a kubelet needs, writing only its own node, lease and pods
a ServiceAccount                                     reading its own namespace (not its Secrets)
anybody authenticated                                discovery, and asking about themselves
"""

from __future__ import annotations

from dataclasses import dataclass

from pullet.apiserver.request_context import MASTERS_GROUP, User
from pullet.apiserver.service_account_tokens import ACCOUNT_PREFIX
from pullet.base.jsonvalue import JsonObject

NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
_COMPONENTS = frozenset({"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"})
_READ = ("get", "list", "watch")
_SELF_REVIEWS = {
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
}
# (group, resource[/subresource]) → verbs, for any node
_NODE_RULES: dict[tuple[str, str], tuple[str, ...]] = {
    ("", "services"): _READ,
    ("", "endpoints"): _READ,
    ("", "nodes"): (*_READ, "create", "update", "patch", "delete"),
    ("", "nodes/status"): ("get", "update", "patch"),
    ("", "pods"): (*_READ, "create", "delete"),
    ("", "pods/status"): ("get", "update", "patch"),
    ("", "pods/eviction"): ("create",),
    ("", "events"): ("create", "update", "patch"),
    ("events.k8s.io", "events"): ("create", "update", "patch"),
    ("", "secrets"): _READ,
    ("", "configmaps"): _READ,
    ("", "serviceaccounts"): ("get",),
    ("", "serviceaccounts/token"): ("create",),
    ("", "namespaces"): _READ,
    ("coordination.k8s.io", "leases"): ("get", "create", "update", "patch", "delete"),
    ("authentication.k8s.io", "tokenreviews"): ("create",),
    ("authorization.k8s.io", "subjectaccessreviews"): ("create",),
}
_OWN_NAME = frozenset({("", "nodes"), ("", "nodes/status"), ("coordination.k8s.io", "leases")})
_WRITES = frozenset({"create", "update", "patch", "delete"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRequest:
    """What somebody wants to do. `path` for what is no resource."""

    user: User
    verb: str
    group: str = ""
    resource: str = ""  # with subresource: pods/log
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def forbidden_text(self) -> str:
        """Why not, in the API's words."""
        who = f'User "{self.user.name}"'
        if self.path:
            return f'{who} cannot {self.verb} path "{self.path}"'
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{who} cannot {self.verb} resource "{self.resource}" in API group "{self.group}" {scope}'


def is_allowed(request: AccessRequest) -> bool:
    """Whether the identity's fixed rights cover the request."""
    user = request.user
    if MASTERS_GROUP in user.groups or user.name in _COMPONENTS:
        return True
    if request.path:
        return request.verb in ("get", "head")
    if (request.group, request.resource) in _SELF_REVIEWS and request.verb == "create":
        return True
    if NODES_GROUP in user.groups and user.name.startswith(NODE_PREFIX):
        return _node_may(request, user.name.removeprefix(NODE_PREFIX))
    if user.name.startswith(ACCOUNT_PREFIX):
        own = user.name.removeprefix(ACCOUNT_PREFIX).partition(":")[0]
        is_secret = request.resource == "secrets" or request.resource.startswith("secrets/")
        return request.verb in _READ and bool(request.namespace) and request.namespace == own and not is_secret
    return False


def _node_may(request: AccessRequest, node: str) -> bool:
    key = (request.group, request.resource)
    if request.verb not in _NODE_RULES.get(key, ()):
        return False
    if key in _OWN_NAME and request.verb in _WRITES and request.name:
        return request.name == node
    return True


def rules_of(user: User, namespace: str) -> JsonObject:
    """authorization/v1 SubjectRulesReviewStatus: the rights in one namespace."""
    roots = ("/api", "/apis", "/openapi", "/version")
    paths = ["/healthz", "/livez", "/readyz", *(f"{root}{rest}" for root in roots for rest in ("", "/*"))]
    rules: list[JsonObject] = [
        {"verbs": ["create"], "apiGroups": [group], "resources": [resource]}
        for group, resource in sorted(_SELF_REVIEWS)
    ]
    non_resource: list[JsonObject] = [{"verbs": ["get"], "nonResourceURLs": paths}]
    if MASTERS_GROUP in user.groups or user.name in _COMPONENTS:
        rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, *rules]
        non_resource = [{"verbs": ["*"], "nonResourceURLs": ["*"]}, *non_resource]
    elif NODES_GROUP in user.groups:
        rules += [
            {"verbs": list(verbs), "apiGroups": [group], "resources": [resource]}
            for (group, resource), verbs in _NODE_RULES.items()
        ]
    elif user.name.startswith(f"{ACCOUNT_PREFIX}{namespace}:"):
        rules.append({"verbs": list(_READ), "apiGroups": ["*"], "resources": ["*"]})
    return {"resourceRules": rules, "nonResourceRules": non_resource, "incomplete": False}

"""Who may do what. RBAC objects change nothing: four kinds of identity with fixed rights.

system:masters, the control plane's own components   everything
a node (group system:nodes)                          what a kubelet needs; `node_authorizer` and `node_restriction`
                                                     narrow it to the node itself and the pods bound to it
a ServiceAccount                                     reading its own namespace (no Secrets, no custom resources)
anybody authenticated                                discovery, and asking about themselves
"""

from __future__ import annotations

from functools import cache

from pullet.apiserver.request_context import MASTERS_GROUP, User
from pullet.apiserver.service_account_tokens import ACCOUNT_PREFIX
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.scheme import RESOURCES

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
    ("", "persistentvolumeclaims"): ("get",),
    ("", "serviceaccounts"): ("get",),
    ("", "serviceaccounts/token"): ("create",),
    ("", "namespaces"): _READ,
    ("coordination.k8s.io", "leases"): ("get", "create", "update", "patch", "delete"),
    ("authentication.k8s.io", "tokenreviews"): ("create",),
    ("authorization.k8s.io", "subjectaccessreviews"): ("create",),
}
OPEN_ROOTS = ("/healthz", "/livez", "/readyz", "/api", "/apis", "/openapi", "/version")
_STREAMS = frozenset({"attach", "exec", "portforward"})  # their WebSocket comes as a GET, and is no reading
_OWN_NAME = frozenset({("", "nodes"), ("", "nodes/status"), ("coordination.k8s.io", "leases")})
_WRITES = frozenset({"create", "update", "patch", "delete"})


class AccessRequest(Value, kw_only=True):
    """What somebody wants to do. `path` for what is no resource."""

    user: User
    verb: str
    group: str = ""
    resource: str = ""  # with subresource: pods/log
    namespace: str = ""
    name: str = ""
    path: str = ""
    selected_node: str = ""  # of a list or watch: the spec.nodeName its field selector asks for

    @property
    def forbidden_text(self) -> str:
        """Why not, in the API's words."""
        who = f'User "{self.user.name}"'
        if self.path:
            return f'{who} cannot {self.verb} path "{self.path}"'
        scope = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{who} cannot {self.verb} resource "{self.resource}" in API group "{self.group}" {scope}'


class Decision(Value, kw_only=True):
    """An answer, with what there is to say beyond it."""

    is_allowed: bool
    reason: str = ""


def is_allowed(request: AccessRequest) -> bool:
    """Whether the identity's fixed rights cover the request; of a node, `node_authorizer` must agree."""
    user = request.user
    if MASTERS_GROUP in user.groups or user.name in _COMPONENTS:
        return True
    if request.path:
        return request.verb in ("get", "head") and _is_open(request.path)
    if (request.group, request.resource) in _SELF_REVIEWS and request.verb == "create":
        return True
    node = node_of(user)
    if node:
        return _node_may(request, node)
    if user.name.startswith(ACCOUNT_PREFIX):
        own = user.name.removeprefix(ACCOUNT_PREFIX).partition(":")[0]
        is_own = bool(request.namespace) and request.namespace == own
        return is_own and request.verb in _READ and request.resource in _account_reads().get(request.group, ())
    return False


@cache
def _account_reads() -> dict[str, list[str]]:
    """What a ServiceAccount may read in its namespace, by group: not Secrets, and no stream into a container."""
    found: dict[str, list[str]] = {}
    for row in RESOURCES:
        if not row.namespaced or not row.is_stored or row.plural == "secrets":
            continue
        subs = [sub.name for sub in row.subresources if "get" in sub.verbs and sub.name not in _STREAMS]
        found.setdefault(row.group, []).extend((row.plural, *(f"{row.plural}/{name}" for name in subs)))
    return found


def node_of(user: User) -> str:
    """The node that a user speaks for; empty for anybody else."""
    is_node = NODES_GROUP in user.groups and MASTERS_GROUP not in user.groups
    return user.name.removeprefix(NODE_PREFIX) if is_node and user.name.startswith(NODE_PREFIX) else ""


def _is_open(path: str) -> bool:
    """Whether every identity may read a path: health, version, discovery, OpenAPI."""
    return path.rstrip("/") in OPEN_ROOTS or path.startswith(tuple(f"{root}/" for root in OPEN_ROOTS))


def _node_may(request: AccessRequest, node: str) -> bool:
    key = (request.group, request.resource)
    if request.verb not in _NODE_RULES.get(key, ()):
        return False
    if key in _OWN_NAME and request.verb in _WRITES and request.name:
        return request.name == node
    return True


def rules_of(user: User, namespace: str) -> JsonObject:
    """authorization/v1 SubjectRulesReviewStatus: the rights in one namespace."""
    paths = [f"{root}{rest}" for root in OPEN_ROOTS for rest in ("", "/*")]
    rules: list[JsonObject] = [
        {"verbs": ["create"], "apiGroups": [group], "resources": [resource]}
        for group, resource in sorted(_SELF_REVIEWS)
    ]
    non_resource: list[JsonObject] = [{"verbs": ["get"], "nonResourceURLs": paths}]
    if MASTERS_GROUP in user.groups or user.name in _COMPONENTS:
        rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, *rules]
        non_resource = [{"verbs": ["*"], "nonResourceURLs": ["*"]}, *non_resource]
    elif node_of(user):
        rules += [
            {"verbs": list(verbs), "apiGroups": [group], "resources": [resource]}
            for (group, resource), verbs in _NODE_RULES.items()
        ]
    elif user.name.startswith(f"{ACCOUNT_PREFIX}{namespace}:"):
        rules += [
            {"verbs": list(_READ), "apiGroups": [group], "resources": resources}
            for group, resources in _account_reads().items()
        ]
    status: JsonObject = {"resourceRules": rules, "nonResourceRules": non_resource, "incomplete": False}
    if node_of(user):
        status |= {"incomplete": True, "evaluationError": "a node's rights depend on the pods bound to it"}
    return status

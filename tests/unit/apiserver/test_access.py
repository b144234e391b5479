"""Who gets in, and what they may do: certificates, ServiceAccount tokens, reviews."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.unit.apiserver.api_world import PODS, Api, client_tls, pod

from pullet.apiserver.authorization import AccessRequest, is_allowed
from pullet.apiserver.request_context import User
from pullet.apiserver.server import ApiServer
from pullet.kit.worker_threads import WorkerThreads

TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"


class As:
    """The API as somebody else sees it."""

    def __init__(self, server: ApiServer, threads: WorkerThreads, tmp_path: Path) -> None:
        self._server, self._threads, self._tmp_path = server, threads, tmp_path

    def _plain(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self._server.authority.certificate_path))

    async def token(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        tls = await self._threads.run(self._plain)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(base_url=self._server.url, verify=tls, trust_env=False) as http:
            response = await http.request(method, path, json=body, headers=headers)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status_code, response.json() if is_json else response.text

    async def user(
        self, name: str, groups: list[str], method: str, path: str, body: Any = None, content_type: str = ""
    ) -> tuple[int, Any]:
        tls = await self._threads.run(client_tls, self._server, self._tmp_path, name, groups)
        async with httpx2.AsyncClient(base_url=self._server.url, verify=tls, trust_env=False) as http:
            headers = {"content-type": content_type} if content_type else {}
            response = await http.request(method, path, json=body, headers=headers)
            return response.status_code, response.json()


async def test_nobody_gets_in_without_a_credential(api: Api, threads: WorkerThreads, tmp_path: Path) -> None:
    someone = As(api.server, threads, tmp_path)
    for token in ("", "wrong", "a.b.c"):
        status, body = await someone.token(token, "GET", PODS)
        assert (status, body["reason"], body["message"]) == (401, "Unauthorized", "Unauthorized")
    assert await someone.token("", "GET", "/livez") == (200, "ok")
    assert (await someone.token("", "GET", "/readyz?verbose"))[1].endswith("\nreadyz check passed\n")
    status, version = await someone.token("", "GET", "/version")
    assert (status, version["gitVersion"]) == (200, "v1.36.2")
    assert (await someone.token("", "GET", "/api"))[0] == 401


async def test_a_token_speaks_for_its_account_and_reads_its_namespace(
    api: Api, threads: WorkerThreads, tmp_path: Path
) -> None:
    asked = await api.ok("POST", TOKEN, {"spec": {"expirationSeconds": 3600}})
    assert asked["kind"] == "TokenRequest"
    someone, token = As(api.server, threads, tmp_path), asked["status"]["token"]
    assert (await someone.token(token, "GET", PODS))[0] == 200
    for method, path, body in (
        ("GET", "/api/v1/namespaces/kube-system/pods", None),
        ("GET", "/api/v1/pods", None),
        ("GET", "/api/v1/namespaces/default/secrets", None),
        ("POST", PODS, pod("x")),
    ):
        status, refusal = await someone.token(token, method, path, body)
        assert status == 403, path
        assert refusal["message"].startswith(
            f'{path.rpartition("/")[2]} is forbidden: User "system:serviceaccount:default:default" cannot '
        )
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    _, who = await someone.token(token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    assert who["status"]["userInfo"]["username"] == "system:serviceaccount:default:default"


async def test_a_bound_token_dies_with_its_pod(api: Api, threads: WorkerThreads, tmp_path: Path) -> None:
    made = await api.pod("p")
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": made["metadata"]["uid"]}
    asked = await api.ok("POST", TOKEN, {"spec": {"boundObjectRef": bound}})
    someone, token = As(api.server, threads, tmp_path), asked["status"]["token"]
    assert (await someone.token(token, "GET", PODS))[0] == 200
    await api.ok("DELETE", f"{PODS}/p")
    assert (await someone.token(token, "GET", PODS))[0] == 401
    wrong = {**bound, "uid": "other"}
    await api.pod("p")
    assert (await api.refused("POST", TOKEN, {"spec": {"boundObjectRef": wrong}}))["reason"] == "Conflict"


async def test_a_token_dies_with_its_account_and_lives_no_less_than_ten_minutes(
    api: Api, threads: WorkerThreads, tmp_path: Path
) -> None:
    short = await api.refused("POST", TOKEN, {"spec": {"expirationSeconds": 5}})
    assert "may not specify a duration less than 10 minutes" in short["message"]
    token = (await api.ok("POST", TOKEN, {"spec": {}}))["status"]["token"]
    review = {"spec": {"token": token}}
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    assert (await api.ok("POST", reviews, review))["status"]["authenticated"] is True
    await api.ok("DELETE", "/api/v1/namespaces/default/serviceaccounts/default")
    assert (await api.ok("POST", reviews, review))["status"]["error"]
    someone = As(api.server, threads, tmp_path)
    assert (await someone.token(token, "GET", PODS))[0] == 401


async def test_a_token_for_another_audience_does_not_open_this_door(
    api: Api, threads: WorkerThreads, tmp_path: Path
) -> None:
    token = (await api.ok("POST", TOKEN, {"spec": {"audiences": ["vault"]}}))["status"]["token"]
    assert (await As(api.server, threads, tmp_path).token(token, "GET", PODS))[0] == 401
    review = {"spec": {"token": token, "audiences": ["vault", "x"]}}
    status = (await api.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review))["status"]
    assert status["audiences"] == ["vault"]


async def test_a_node_does_what_a_kubelet_does_and_no_more(api: Api, threads: WorkerThreads, tmp_path: Path) -> None:
    someone, who = As(api.server, threads, tmp_path), ("system:node:n1", ["system:nodes"])
    assert (await someone.user(*who, "POST", "/api/v1/nodes", {"metadata": {"name": "n1"}}))[0] == 201
    assert (await someone.user(*who, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"))[0] == 200
    _, answer = await someone.user(*who, "GET", "/api/v1/pods")
    assert answer["message"] == (
        'pods is forbidden: User "system:node:n1" cannot list resource "pods" in API group "" at the cluster scope: '
        "can only list/watch pods with spec.nodeName field selector"
    )
    assert (await someone.user(*who, "GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2"))[0] == 403
    assert (await someone.user(*who, "GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1"))[0] == 200
    assert (await someone.user(*who, "GET", "/api/v1/nodes"))[0] == 403
    _, answer = await someone.user(*who, "POST", "/api/v1/nodes", {"metadata": {"name": "n3"}})
    assert answer["message"] == 'nodes "n3" is forbidden: node "n1" is not allowed to modify node "n3"'
    await api.ok("POST", "/api/v1/nodes", {"metadata": {"name": "n2"}})
    assert (await someone.user(*who, "GET", "/api/v1/nodes/n2"))[0] == 403
    assert (await someone.user(*who, "DELETE", "/api/v1/nodes/n2"))[0] == 403
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    assert (await someone.user(*who, "GET", deployments))[0] == 403


async def test_can_i_answers_as_the_door_does(api: Api) -> None:
    async def may(user: str, groups: list[str], **attributes: str) -> bool:
        spec = {"user": user, "groups": groups, "resourceAttributes": attributes}
        answered = await api.ok("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": spec})
        return bool(answered["status"]["allowed"])

    assert await may("admin", ["system:masters"], verb="delete", resource="nodes")
    account = "system:serviceaccount:default:x"
    assert await may(account, [], verb="list", resource="pods", namespace="default")
    assert not await may(account, [], verb="list", resource="pods", namespace="other")
    assert not await may("stranger", [], verb="get", resource="pods")
    own = {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": "default"}}}
    answered = await api.ok("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", own)
    assert answered["status"] == {"allowed": True}
    assert (await api.refused("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {}}))[
        "code"
    ] == 400


async def test_only_an_administrator_acts_as_others(api: Api, threads: WorkerThreads, tmp_path: Path) -> None:
    account = "system:serviceaccount:default:default"
    assert (await api.call("GET", PODS, impersonate_user=account))[0] == 200
    assert (await api.refused("GET", "/api/v1/pods", impersonate_user=account))["reason"] == "Forbidden"
    assert (await api.refused("GET", PODS, impersonate_group="x"))["reason"] == "BadRequest"
    token = (await api.ok("POST", TOKEN, {"spec": {}}))["status"]["token"]
    tls = await threads.run(lambda: ssl.create_default_context(cafile=str(api.server.authority.certificate_path)))
    headers = {"authorization": f"Bearer {token}", "impersonate-user": "admin"}
    async with httpx2.AsyncClient(base_url=api.server.url, verify=tls, trust_env=False) as http:
        refused = await http.get(PODS, headers=headers)
    assert refused.json()["message"] == (
        f'users "admin" is forbidden: User "{account}" cannot impersonate resource "users" in API group "" '
        "at the cluster scope"
    )


ACCOUNT = ("system:serviceaccount:default:default", ["system:serviceaccounts", "system:authenticated"])
NODE = ("system:node:n1", ["system:nodes"])


@pytest.mark.parametrize(
    ("who", "verb", "group", "resource", "namespace", "name", "allowed"),
    [
        (ACCOUNT, "list", "", "pods", "default", "", True),
        (ACCOUNT, "get", "apps", "deployments", "default", "d", True),
        (ACCOUNT, "get", "", "pods/log", "default", "p", True),
        (ACCOUNT, "list", "", "pods", "kube-system", "", False),
        (ACCOUNT, "list", "", "pods", "", "", False),
        (ACCOUNT, "get", "", "nodes", "", "n1", False),
        (ACCOUNT, "get", "", "secrets", "default", "s", False),
        (ACCOUNT, "create", "", "pods", "default", "", False),
        (ACCOUNT, "get", "", "pods/exec", "default", "p", False),
        (ACCOUNT, "create", "", "pods/exec", "default", "p", False),
        (ACCOUNT, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", True),
        (NODE, "update", "", "nodes/status", "", "n1", True),
        (NODE, "update", "", "nodes/status", "", "n2", False),
        (NODE, "delete", "", "nodes", "", "n2", False),
        (NODE, "patch", "", "pods/status", "default", "p", True),
        (NODE, "update", "", "pods", "default", "p", False),
        (NODE, "get", "", "secrets", "default", "s", True),
        (NODE, "update", "", "secrets", "default", "s", False),
        (NODE, "create", "", "secrets", "default", "", False),
        (NODE, "create", "", "serviceaccounts/token", "default", "default", True),
        (NODE, "create", "apps", "deployments", "default", "", False),
        (NODE, "update", "coordination.k8s.io", "leases", "kube-node-lease", "n2", False),
        (("jane", ["system:authenticated"]), "list", "", "pods", "default", "", False),
    ],
    ids=str,
)
def test_rights_by_identity(
    who: tuple[str, list[str]], verb: str, group: str, resource: str, namespace: str, name: str, *, allowed: bool
) -> None:
    user = User(name=who[0], groups=tuple(who[1]))
    asked = AccessRequest(user=user, verb=verb, group=group, resource=resource, namespace=namespace, name=name)
    assert is_allowed(asked) is allowed


@pytest.mark.parametrize(
    ("path", "allowed"), [("/openapi/v2", True), ("/apis", True), ("/metrics", False), ("/x", False)]
)
def test_paths_that_everybody_known_may_read(path: str, *, allowed: bool) -> None:
    user = User(name=ACCOUNT[0], groups=tuple(ACCOUNT[1]))
    assert is_allowed(AccessRequest(user=user, verb="get", path=path)) is allowed
    assert not is_allowed(AccessRequest(user=user, verb="post", path=path))


@pytest.mark.parametrize("who", [ACCOUNT, NODE], ids=lambda who: str(who[0]))
async def test_can_i_and_the_rules_tell_what_the_server_then_does(
    api: Api, threads: WorkerThreads, tmp_path: Path, who: tuple[str, list[str]]
) -> None:
    await api.pod("p")
    secret = {"metadata": {"name": "s"}, "data": {}}
    await api.ok("POST", "/api/v1/namespaces/default/secrets", secret)
    someone = As(api.server, threads, tmp_path)
    reviews = "/apis/authorization.k8s.io/v1"
    _, rules = await someone.user(
        *who, "POST", f"{reviews}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}
    )
    listed = rules["status"]["resourceRules"]
    tries = [
        ("list", "", "pods", "GET", PODS),
        ("get", "", "secrets", "GET", "/api/v1/namespaces/default/secrets/s"),
        ("list", "apps", "deployments", "GET", "/apis/apps/v1/namespaces/default/deployments"),
        ("delete", "apps", "deployments", "DELETE", "/apis/apps/v1/namespaces/default/deployments/none"),
    ]
    for verb, group, resource, method, path in tries:
        attributes = {"verb": verb, "group": group, "resource": resource, "namespace": "default"}
        review = {"spec": {"resourceAttributes": attributes}}
        _, answer = await someone.user(*who, "POST", f"{reviews}/selfsubjectaccessreviews", review)
        status, _ = await someone.user(*who, method, path)
        is_allowed_now = answer["status"]["allowed"]
        assert ("reason" in answer["status"]) is (who is NODE and verb in ("get", "list") and not group)
        assert is_allowed_now is (status != 403), (verb, resource, status)
        covered = any(
            verb in rule["verbs"] and {group, "*"} & set(rule["apiGroups"]) and {resource, "*"} & set(rule["resources"])
            for rule in listed
        )
        assert covered is is_allowed_now or (covered and rules["status"]["incomplete"]), (verb, resource)


async def test_a_node_writes_only_its_own_pods(api: Api, threads: WorkerThreads, tmp_path: Path) -> None:
    mine = pod("mine")
    mine["spec"]["nodeName"] = "n1"
    other = pod("other")
    other["spec"]["nodeName"] = "n2"
    for one in (mine, other):
        await api.ok("POST", PODS, one)
    node = As(api.server, threads, tmp_path)
    tries = [
        ("PUT", "/status", "update pod status for pods"),
        ("DELETE", "", "delete pods"),
        ("POST", "/eviction", "evict pods"),
    ]
    for method, rest, what in tries:
        path = f"{PODS}/other{rest}"
        body = await api.ok("GET", f"{PODS}/other") if method == "PUT" else {}
        status, answer = await node.user(*NODE, method, path, body)
        assert status == 403, answer
        quoted = "n1" if what == "evict pods" else '"n1"'
        words = f"node {quoted} can only {what} with spec.nodeName set to itself"
        assert answer["message"] == f'pods "other" is forbidden: {words}'
    status, answer = await node.user(*NODE, "POST", PODS, pod("new"))
    assert (status, answer["message"]) == (
        403,
        'pods "new" is forbidden: node "n1" can only create pods with spec.nodeName set to itself',
    )
    current = await api.ok("GET", f"{PODS}/mine")
    current["status"]["message"] = "seen"
    status, answer = await node.user(*NODE, "PUT", f"{PODS}/mine/status", current)
    assert (status, answer["status"]["message"]) == (200, "seen")
    assert (await node.user(*NODE, "DELETE", f"{PODS}/mine", {"gracePeriodSeconds": 0}))[0] == 200
    assert (await api.call("GET", f"{PODS}/mine"))[0] == 404


async def test_reviews_that_ask_nothing(api: Api) -> None:
    refused = await api.refused("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {})
    assert (refused["code"], refused["message"]) == (400, "token is required for TokenReview in authentication")
    access = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    refused = await api.refused("POST", access, {"spec": {"resourceAttributes": {"verb": "get"}}})
    assert (refused["code"], refused["message"]) == (
        422,
        'LocalSubjectAccessReview.authorization.k8s.io "" is invalid: '
        'spec.user: Invalid value: "": at least one of user or group must be specified',
    )

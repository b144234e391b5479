"""Requests made from the server's own OpenAPI documents, right and wrong: each answer is right or a metav1.Status.

`PULLET_FUZZ=SEED:COUNT` runs other seeds for longer.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from tests.unit.apiserver.api_world import PODS, Api, configmap, pod
from tests.unit.apiserver.test_inert_kinds import MANIFESTS

from pullet.kube import scheme
from pullet.kube.resource import Resource
from pullet.testing.openapi_requests import FuzzRequest, OpenApiRequests

SEED, COUNT = (int(word) for word in os.environ.get("PULLET_FUZZ", "1:150").split(":"))
TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
WORKLOAD: dict[str, Any] = {"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}}
ENDING: dict[str, Any] = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
WEBHOOK: dict[str, Any] = {"webhooks": [{
    "name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
    "clientConfig": {"url": "https://127.0.0.1:1/"}, "rules": [
        {"apiGroups": ["example.com"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]}]}  # fmt: skip
KNOWN: dict[Resource, dict[str, Any]] = {
    **MANIFESTS,
    scheme.PODS: pod("x", a="b"),
    scheme.CONFIGMAPS: configmap("x", a="b"),
    scheme.SECRETS: {"stringData": {"a": "b"}},
    scheme.SERVICES: {"spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    scheme.DEPLOYMENTS: WORKLOAD,
    scheme.REPLICASETS: WORKLOAD,
    scheme.DAEMONSETS: WORKLOAD,
    scheme.STATEFULSETS: {"spec": {**WORKLOAD["spec"], "serviceName": "s"}},
    scheme.JOBS: {"spec": {"template": ENDING}},
    scheme.PODDISRUPTIONBUDGETS: {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    scheme.MUTATINGWEBHOOKCONFIGURATIONS: WEBHOOK,
    scheme.VALIDATINGWEBHOOKCONFIGURATIONS: WEBHOOK,
    scheme.NODES: {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}},
    scheme.LEASES: {"spec": {"holderIdentity": "a", "leaseDurationSeconds": 1}},
}
STREAMED = ("/log", "/exec", "/attach", "/portforward")


async def known_objects(api: Api) -> dict[str, list[Any]]:
    """One accepted object of each kind that can be written, by kind."""
    found: dict[str, list[Any]] = {}
    for resource, parts in KNOWN.items():
        body: dict[str, Any] = {"apiVersion": resource.api_version, "kind": resource.kind}
        body = {**body, **parts, "metadata": {"name": resource.version}}
        found.setdefault(resource.kind, []).append(await api.ok("POST", resource.path("default"), body))
    return found


async def judge(api: Api, request: FuzzRequest) -> str:
    """What is wrong with the answer; empty when nothing is."""
    headers = {"content-type": request.content_type} if request.content_type else {}
    url = f"{api.server.url}{request.url}"
    async with api.http.stream(request.method, url, content=request.body or None, headers=headers) as response:
        status = response.status_code
        if request.is_watch and status == 200:
            return ""
        body = await response.aread()
    if status < 300 and any(part in request.url for part in STREAMED):
        return ""
    try:
        answer = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return f"{status} is not JSON: {body[:200]!r}"
    if status < 300:
        return "" if isinstance(answer, dict) and answer.get("kind") else f"{status} has no kind"
    is_timeout = status == 504 and answer.get("reason") == "Timeout"  # a version of the future
    if status >= 500 and not is_timeout:
        return f"{status}: {answer}"
    if answer.get("kind") != "Status" or answer.get("status") != "Failure" or answer.get("code") != status:
        return f"{status} is no Status: {answer}"
    if not answer.get("reason") or not answer.get("message"):
        return f"{status} does not say why: {answer}"
    return ""


async def test_every_answer_is_right_or_says_what_is_wrong(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    known = await known_objects(api)
    wrong = []
    for path in (await api.ok("GET", "/openapi/v3"))["paths"]:
        requests = OpenApiRequests(await api.ok("GET", f"/openapi/v3/{path}"), SEED, known)
        for _ in range(COUNT):
            request = requests.make()
            what = await judge(api, request)
            if what:
                wrong.append(f"{request}\n  → {what}")
    assert not wrong, f"{len(wrong)} of seed {SEED}:\n" + "\n".join(wrong[:20])
    assert not [record for record in caplog.records if record.exc_info]
    assert (await api.call("GET", PODS))[0] == 200

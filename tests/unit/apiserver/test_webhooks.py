"""Admission webhooks, called over real TLS: who is asked, what they are asked, and what their answers do."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from tests.unit.apiserver.api_world import PODS, Api, configmap, pod
from tests.unit.apiserver.custom_world import CRONTABS, GROUP, crontab, definition, establish, version
from tests.unit.apiserver.webhook_server import (
    Review,
    WebhookServer,
    configuration,
    denying,
    patching,
    rule,
)

ROOT = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def webhook_tls() -> tuple[ssl.SSLContext, bytes]:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context, authority.cert_pem.bytes()


@pytest.fixture
async def hook(webhook_tls: tuple[ssl.SSLContext, bytes]) -> AsyncIterator[WebhookServer]:
    async with WebhookServer(*webhook_tls) as server:
        yield server


def webhook(hook: WebhookServer, path: str = "/a", *rules: Review, **more: Any) -> Review:
    return {
        "name": f"{path[1:]}.hooks.example.com",
        "clientConfig": {"url": hook.url(path), "caBundle": hook.bundle},
        "rules": list(rules) or [rule(["configmaps"])],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


async def mutating(api: Api, *webhooks: Review, name: str = "m") -> None:
    body = configuration("Mutating", name, *webhooks)
    await api.ok("POST", f"{ROOT}/mutatingwebhookconfigurations", body)


async def validating(api: Api, *webhooks: Review, name: str = "v") -> None:
    body = configuration("Validating", name, *webhooks)
    await api.ok("POST", f"{ROOT}/validatingwebhookconfigurations", body)


async def test_a_webhook_is_asked_with_a_whole_review(api: Api, hook: WebhookServer) -> None:
    await validating(api, webhook(hook))
    made = await api.ok("POST", f"{MAPS}?fieldManager=me&fieldValidation=Strict", configmap("one", a="1"))
    (review,) = hook.reviews
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert review["target"] == "/a?timeout=10s"
    request = review["request"]
    kind, resource = {"group": "", "version": "v1", "kind": "ConfigMap"}, {"group": "", "version": "v1"}
    assert request["kind"] == request["requestKind"] == kind
    assert request["resource"] == request["requestResource"] == {**resource, "resource": "configmaps"}
    assert (request["name"], request["namespace"], request["operation"]) == ("one", "default", "CREATE")
    assert request["userInfo"]["username"] == "admin"
    assert "system:masters" in request["userInfo"]["groups"]
    assert request["object"]["data"] == made["data"]
    assert (request["oldObject"], request["dryRun"]) == (None, False)
    wanted = {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
    assert request["options"] == {**wanted, "fieldValidation": "Strict"}
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "two"}, "data": {"a": "1"}}
    query = "fieldManager=me&force=true"
    await api.ok("PATCH", f"{MAPS}/two?{query}", applied, content_type="application/apply-patch+yaml")
    request = hook.reviews[-1]["request"]
    assert (request["operation"], request["options"]) == ("CREATE", wanted), "an apply that creates is a create"


async def test_updates_patches_and_deletes_say_what_they_are(api: Api, hook: WebhookServer) -> None:
    await api.ok("POST", MAPS, configmap("one", a="1"))
    await validating(api, webhook(hook))
    await api.ok("PUT", f"{MAPS}/one", configmap("one", a="2"))
    merge = "application/merge-patch+json"
    await api.ok("PATCH", f"{MAPS}/one", {"data": {"a": "3"}}, content_type=merge)
    await api.ok("DELETE", f"{MAPS}/one", {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
    update, patch, delete = hook.requests("/a")
    assert (update["operation"], update["options"]["kind"]) == ("UPDATE", "UpdateOptions")
    assert (update["oldObject"]["data"], update["object"]["data"]) == ({"a": "1"}, {"a": "2"})
    assert (patch["operation"], patch["options"]["kind"]) == ("UPDATE", "UpdateOptions")
    assert (delete["operation"], delete["object"], delete["oldObject"]["data"]) == ("DELETE", None, {"a": "3"})
    assert delete["options"]["propagationPolicy"] == "Background"
    assert delete["options"]["gracePeriodSeconds"] == 0


@pytest.mark.parametrize(
    ("status", "message", "code", "reason"),
    [
        ({}, 'admission webhook "a.hooks.example.com" denied the request without explanation', 400, None),
        ({"message": "no"}, 'admission webhook "a.hooks.example.com" denied the request: no', 400, None),
        ({"reason": "Forbidden"},
         'admission webhook "a.hooks.example.com" denied the request: Forbidden', 400, "Forbidden"),
        ({"message": "no", "code": 403, "reason": "Forbidden"},
         'admission webhook "a.hooks.example.com" denied the request: no', 403, "Forbidden"),
    ],
    ids=["bare", "message", "reason", "whole"],
)  # fmt: skip
async def test_a_denial_in_the_words_of_the_api(
    api: Api, hook: WebhookServer, status: Review, message: str, code: int, reason: str | None
) -> None:
    hook.replies["/a"] = denying(**status)
    await validating(api, webhook(hook))
    refused = await api.refused("POST", MAPS, configmap("one"))
    assert (refused["message"], refused["code"], refused.get("reason")) == (message, code, reason)
    assert (await api.call("GET", f"{MAPS}/one"))[0] == 404


async def test_patches_change_what_is_stored_and_are_checked_like_a_request(api: Api, hook: WebhookServer) -> None:
    label = {"op": "add", "path": "/metadata/labels", "value": {"by": "webhook"}}
    side = {"op": "add", "path": "/spec/containers/-", "value": {"name": "side", "image": "busybox"}}
    hook.replies["/a"] = patching(label, side)
    await mutating(api, webhook(hook, "/a", rule(["pods"], ["CREATE"])))
    made = await api.pod("p")
    assert made["metadata"]["labels"] == {"by": "webhook"}
    added = made["spec"]["containers"][1]
    assert (added["imagePullPolicy"], added["terminationMessagePath"]) == ("Always", "/dev/termination-log")
    assert added["volumeMounts"] == made["spec"]["containers"][0]["volumeMounts"], "admission looked once more"
    hook.replies["/a"] = patching({"op": "replace", "path": "/spec/containers/0/image", "value": ""})
    refused = await api.refused("POST", PODS, pod("q"))
    assert refused["message"] == 'Pod "q" is invalid: spec.containers[0].image: Required value'


async def test_a_patch_cannot_take_the_identity(api: Api, hook: WebhookServer) -> None:
    hook.replies["/a"] = patching({"op": "replace", "path": "/metadata/uid", "value": "x"})
    await mutating(api, webhook(hook))
    made = await api.ok("POST", MAPS, configmap("one"))
    assert made["metadata"]["uid"] != "x"


async def test_a_patch_that_does_not_fit_is_an_internal_error(api: Api, hook: WebhookServer) -> None:
    hook.replies["/a"] = patching({"op": "remove", "path": "/data/none"})
    await mutating(api, webhook(hook))
    refused = await api.refused("POST", MAPS, configmap("one"))
    assert (refused["code"], refused["reason"]) == (500, "InternalError")
    hook.replies["/a"] = patching({"op": "add", "path": "/data", "value": 5})
    refused = await api.refused("POST", MAPS, configmap("one"))
    assert (refused["code"], refused["reason"]) == (500, "InternalError")


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (lambda _: b"nonsense", "couldn't get version/kind"),
        (lambda _: b"{}", "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got , Kind="),
        (lambda _: {"uid": "other", "allowed": True}, 'expected response.uid="'),
        (lambda r: {"uid": r["uid"], "allowed": True, "patch": "W10="},
         "webhook returned response.patch but not response.patchType"),
        (lambda r: {"uid": r["uid"], "allowed": True, "patch": "W10=", "patchType": "Merge"},
         'webhook returned invalid response.patchType of "Merge"'),
    ],
    ids=["json", "version", "uid", "untyped", "type"],
)  # fmt: skip
async def test_answers_that_cannot_be_obeyed(api: Api, hook: WebhookServer, reply: Any, text: str) -> None:
    hook.replies["/a"] = reply
    await mutating(api, webhook(hook))
    refused = await api.refused("POST", MAPS, configmap("one"))
    start = 'Internal error occurred: failed calling webhook "a.hooks.example.com": received invalid webhook response: '
    assert refused["code"] == 500
    assert refused["message"].startswith(start + text)


async def test_failures_refuse_or_are_ignored_as_the_policy_says(api: Api, hook: WebhookServer) -> None:
    gone = {"url": "https://127.0.0.1:1/x", "caBundle": hook.bundle}
    await validating(api, webhook(hook, clientConfig=gone))
    refused = await api.refused("POST", MAPS, configmap("one"))
    assert refused["message"] == (
        'Internal error occurred: failed calling webhook "a.hooks.example.com": failed to call webhook: '
        'Post "https://127.0.0.1:1/x?timeout=10s": dial tcp 127.0.0.1:1: connect: connection refused'
    )
    body = configuration("Validating", "v", webhook(hook, clientConfig=gone, failurePolicy="Ignore"))
    await api.ok("PUT", f"{ROOT}/validatingwebhookconfigurations/v", body)
    await api.ok("POST", MAPS, configmap("one"))


async def test_no_answer_in_time_and_a_stranger_for_an_authority(api: Api, hook: WebhookServer) -> None:
    hook.delay_seconds = 3.0
    await validating(api, webhook(hook, timeoutSeconds=1))
    refused = await api.refused("POST", MAPS, configmap("one"))
    assert refused["message"].endswith(f'Post "{hook.url("/a")}?timeout=1s": context deadline exceeded')
    untrusted = webhook(hook, clientConfig={"url": hook.url("/a")})
    await api.ok("PUT", f"{ROOT}/validatingwebhookconfigurations/v", configuration("Validating", "v", untrusted))
    refused = await api.refused("POST", MAPS, configmap("one"))
    words = "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    assert refused["message"].endswith(words)


async def test_http_errors_of_a_webhook(api: Api, hook: WebhookServer) -> None:
    await validating(api, webhook(hook))
    for status, text in ((404, "the server could not find the requested resource"), (500, "an error on the server (")):
        hook.status = status
        refused = await api.refused("POST", MAPS, configmap("one"))
        assert f"failed to call webhook: {text}" in refused["message"]


async def test_services_are_refused_when_called_and_warned_of_before(api: Api, hook: WebhookServer) -> None:
    service = {"service": {"namespace": "default", "name": "svc", "path": "/a"}}
    body = configuration("Validating", "v", webhook(hook, clientConfig=service))
    response = await api.http.post(f"{ROOT}/validatingwebhookconfigurations", json=body)
    assert response.status_code == 201
    assert "services are not routed by this API server" in response.headers["warning"]
    refused = await api.refused("POST", MAPS, configmap("one"))
    assert refused["message"].endswith('failed to call webhook: service "svc" not found')
    svc = {"metadata": {"name": "svc"}, "spec": {"ports": [{"port": 443}]}}
    await api.ok("POST", "/api/v1/namespaces/default/services", svc)
    refused = await api.refused("POST", MAPS, configmap("one"))
    assert "services are not routed here: service default/svc cannot be reached" in refused["message"]


async def test_warnings_of_webhooks_reach_the_client_even_with_a_refusal(api: Api, hook: WebhookServer) -> None:
    hook.replies["/a"] = lambda request: {"uid": request["uid"], "allowed": False, "warnings": ["careful"]}
    await validating(api, webhook(hook))
    response = await api.http.post(MAPS, json=configmap("one"))
    assert (response.status_code, response.headers["warning"]) == (400, '299 - "careful"')


async def test_selectors_scope_operations_and_subresources_decide_who_is_asked(api: Api, hook: WebhookServer) -> None:
    labels = {"matchLabels": {"watch": "yes"}}
    await validating(
        api,
        webhook(hook, "/create", rule(["configmaps"], ["CREATE"])),
        webhook(hook, "/delete", rule(["configmaps"], ["DELETE"])),
        webhook(hook, "/space", namespaceSelector=labels),
        webhook(hook, "/object", objectSelector=labels),
        webhook(hook, "/cluster", rule(["*"], scope="Cluster")),
        webhook(hook, "/status", rule(["pods/status"])),
        webhook(hook, "/any", rule(["*/*"], ["UPDATE"])),
        webhook(hook, "/group", rule(["configmaps"], apiGroups=["apps"])),
    )
    await api.ok("POST", MAPS, configmap("one"))
    assert [path for path, _ in hook.seen] == ["/create"]
    hook.seen.clear()
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "seen", "labels": {"watch": "yes"}}})
    assert [path for path, _ in hook.seen] == ["/cluster"]
    assert hook.requests("/cluster")[0]["namespace"] == "seen"
    hook.seen.clear()
    await api.ok("POST", "/api/v1/namespaces/seen/configmaps", configmap("two"))
    marked = configmap("three") | {"metadata": {"name": "three", "labels": {"watch": "yes"}}}
    await api.ok("POST", MAPS, marked)
    assert sorted(path for path, _ in hook.seen) == ["/create", "/create", "/object", "/space"]
    await api.pod("p")
    hook.seen.clear()
    merge = "application/merge-patch+json"
    await api.ok("PATCH", f"{PODS}/p/status", {"status": {"message": "x"}}, content_type=merge)
    assert sorted(path for path, _ in hook.seen) == ["/any", "/status"]
    assert hook.requests("/status")[0]["subResource"] == "status"


async def test_match_policy_decides_about_other_views_of_the_same_objects(api: Api, hook: WebhookServer) -> None:
    rules = rule(["events"], apiGroups=["events.k8s.io"])
    await validating(
        api,
        webhook(hook, "/exact", rules, matchPolicy="Exact"),
        webhook(hook, "/equivalent", rules, matchPolicy="Equivalent"),
    )
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    event = {"metadata": {"name": "e"}, "involvedObject": about, "message": "m", "reason": "R", "type": "Normal"}
    await api.ok("POST", "/api/v1/namespaces/default/events", event)
    ((path, request),) = hook.seen
    assert path == "/equivalent"
    assert request["resource"]["group"] == "events.k8s.io"
    assert request["requestResource"]["group"] == ""
    assert request["object"]["note"] == "m"


async def test_dry_runs_need_a_webhook_without_side_effects(api: Api, hook: WebhookServer) -> None:
    await validating(api, webhook(hook, sideEffects="NoneOnDryRun"))
    await api.ok("POST", f"{MAPS}?dryRun=All", configmap("one"))
    (request,) = hook.requests("/a")
    assert request["dryRun"] is True
    assert request["options"]["dryRun"] == ["All"]


async def test_mutating_webhooks_run_in_order_and_again_when_asked(api: Api, hook: WebhookServer) -> None:
    def add(key: str) -> Any:
        return patching({"op": "add", "path": f"/data/{key}", "value": "x"})

    hook.replies |= {"/first": add("first"), "/second": add("second"), "/third": add("third")}
    first = webhook(hook, "/first", reinvocationPolicy="IfNeeded")
    await mutating(api, webhook(hook, "/third"), name="z")
    await mutating(api, first, webhook(hook, "/second", reinvocationPolicy="Never"), name="a")
    made = await api.ok("POST", MAPS, configmap("one", own="1"))
    assert made["data"] == {"own": "1", "first": "x", "second": "x", "third": "x"}
    assert [path for path, _ in hook.seen] == ["/first", "/second", "/third", "/first"]
    assert hook.requests("/second")[0]["object"]["data"] == {"own": "1", "first": "x"}


async def test_configurations_are_out_of_reach_of_webhooks(api: Api, hook: WebhookServer) -> None:
    hook.replies["/a"] = denying(message="never")
    every = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    await validating(api, webhook(hook, "/a", every))
    await api.refused("POST", MAPS, configmap("one"))
    await api.ok("DELETE", f"{ROOT}/validatingwebhookconfigurations/v")
    await api.ok("POST", MAPS, configmap("one"))


async def test_scale_binding_eviction_and_exec_are_shown_as_what_they_are(api: Api, hook: WebhookServer) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]}
    deployment = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    await api.ok("POST", "/apis/apps/v1/namespaces/default/deployments", deployment)
    await api.pod("p")
    every = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    await validating(api, webhook(hook, "/a", every))
    scale = "/apis/apps/v1/namespaces/default/deployments/d/scale"
    merge = "application/merge-patch+json"
    await api.ok("PATCH", scale, {"spec": {"replicas": 3}}, content_type=merge)
    await api.ok("POST", f"{PODS}/p/binding", {"target": {"name": "n"}})
    await api.call("POST", f"{PODS}/p/exec?command=ls&command=-l&stdout=1")
    await api.ok("POST", f"{PODS}/p/eviction", {"metadata": {"name": "p"}})
    shown = [(one["operation"], one["kind"]["kind"], one["subResource"]) for _, one in hook.seen]
    assert shown == [
        ("UPDATE", "Scale", "scale"),
        ("CREATE", "Binding", "binding"),
        ("CONNECT", "PodExecOptions", "exec"),
        ("CREATE", "Eviction", "eviction"),
    ]
    by_scale, binding, execution, eviction = (one for _, one in hook.seen)
    assert (by_scale["oldObject"]["spec"], by_scale["object"]["spec"]) == ({"replicas": 1}, {"replicas": 3})
    assert binding["object"]["target"] == {"kind": "Node", "name": "n"}
    assert execution["object"] == {
        "kind": "PodExecOptions", "apiVersion": "v1", "command": ["ls", "-l"], "stdout": True,
    }  # fmt: skip
    assert (execution["name"], execution["namespace"], execution["options"]) == ("p", "default", None)
    assert eviction["object"]["metadata"]["name"] == "p"


async def test_configurations_are_checked(api: Api, hook: WebhookServer) -> None:
    body = configuration("Validating", "v", webhook(hook) | {"timeoutSeconds": 0})
    refused = await api.refused("POST", f"{ROOT}/validatingwebhookconfigurations", body)
    assert (refused["code"], refused["reason"]) == (422, "Invalid")
    assert refused["message"] == (
        'ValidatingWebhookConfiguration.admissionregistration.k8s.io "v" is invalid: webhooks[0].timeoutSeconds: '
        "Invalid value: 0: the timeout value must be between 1 and 30 seconds"
    )


async def test_custom_resources_are_shown_in_the_version_that_is_asked_for(api: Api, hook: WebhookServer) -> None:
    await establish(api, definition(version("v1beta1", storage=False), version(subresources={"status": {}})))
    custom = {"apiGroups": [GROUP], "apiVersions": ["v1beta1"], "operations": ["*"], "resources": ["crontabs"]}
    image = {"op": "add", "path": "/spec/image", "value": "mutated:1"}
    hook.replies["/a"] = patching(image, {"op": "add", "path": "/spec/nonsense", "value": 1})
    await mutating(api, webhook(hook, "/a", custom))
    created = await api.ok("POST", CRONTABS, crontab("a"))
    assert created["apiVersion"] == f"{GROUP}/v1"
    assert created["spec"] == {"cronSpec": "* * * * */5", "replicas": 1, "image": "mutated:1"}
    [request] = hook.requests("/a")
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1beta1", "v1")
    assert request["object"]["apiVersion"] == f"{GROUP}/v1beta1"
    hook.replies["/a"] = patching({"op": "add", "path": "/spec/replicas", "value": 99})
    refused = await api.refused("POST", CRONTABS, crontab("b"))
    assert "spec.replicas in body should be less than or equal to 10" in refused["message"]

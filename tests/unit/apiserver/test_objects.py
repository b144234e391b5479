"""create, get, list, update, patch, delete: the contract of every stored kind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.apiserver.api_world import PODS, Api, configmap, pod

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


async def test_a_created_object_gets_what_the_server_sets(api: Api) -> None:
    made = await api.ok("POST", CONFIGMAPS, {"metadata": {"generateName": "c-", "uid": "mine"}, "data": {"a": "b"}})
    meta = made["metadata"]
    assert meta["name"].startswith("c-")
    assert len(meta["name"]) == 7
    assert meta["uid"] != "mine"
    assert meta["namespace"] == "default"
    assert made["kind"], made["apiVersion"] == ("ConfigMap", "v1")
    assert await api.ok("GET", f"{CONFIGMAPS}/{meta['name']}") == made


async def test_refusals_of_create(api: Api) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c"))
    assert (await api.refused("POST", CONFIGMAPS, configmap("c")))["message"] == 'configmaps "c" already exists'
    assert (await api.refused("POST", CONFIGMAPS, configmap("Bad_Name")))["reason"] == "Invalid"
    elsewhere = "/api/v1/namespaces/nosuch/configmaps"
    assert (await api.refused("POST", elsewhere, configmap("c")))["message"] == 'namespaces "nosuch" not found'
    other = configmap("d")
    other["metadata"]["namespace"] = "kube-system"
    assert (await api.refused("POST", CONFIGMAPS, other))["reason"] == "BadRequest"
    assert (await api.refused("POST", CONFIGMAPS, pod("p")))["reason"] == "BadRequest"
    assert (await api.refused("POST", "/api/v1/configmaps", configmap("e")))["code"] == 405


async def test_a_dry_run_leaves_nothing_behind(api: Api) -> None:
    made = await api.ok("POST", f"{CONFIGMAPS}?dryRun=All", configmap("c"))
    assert "resourceVersion" not in made["metadata"]
    assert (await api.refused("GET", f"{CONFIGMAPS}/c"))["reason"] == "NotFound"
    await api.ok("POST", CONFIGMAPS, configmap("c", a="1"))
    await api.ok("DELETE", f"{CONFIGMAPS}/c?dryRun=All")
    await api.ok(
        "PATCH", f"{CONFIGMAPS}/c?dryRun=All", {"data": {"a": "2"}}, content_type="application/merge-patch+json"
    )
    assert (await api.ok("GET", f"{CONFIGMAPS}/c"))["data"] == {"a": "1"}


async def test_an_update_must_know_the_current_version(api: Api) -> None:
    first = await api.ok("POST", CONFIGMAPS, configmap("c", a="1"))
    second = await api.ok("PUT", f"{CONFIGMAPS}/c", {**first, "data": {"a": "2"}})
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    stale = await api.refused("PUT", f"{CONFIGMAPS}/c", {**first, "data": {"a": "3"}})
    assert stale["reason"] == "Conflict"
    assert "the object has been modified" in stale["message"]
    unconditional = configmap("c", a="4")
    assert (await api.ok("PUT", f"{CONFIGMAPS}/c", unconditional))["data"] == {"a": "4"}


async def test_an_update_that_changes_nothing_writes_nothing(api: Api) -> None:
    made = await api.ok("POST", CONFIGMAPS, configmap("c", a="1"))
    assert await api.ok("PUT", f"{CONFIGMAPS}/c", made) == made


async def test_fifty_patches_at_once_all_count(api: Api) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c"))

    async def patch(number: int) -> None:
        body = {"data": {f"k{number}": "v"}}
        await api.ok("PATCH", f"{CONFIGMAPS}/c", body, content_type="application/merge-patch+json")

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(patch(number))
    assert len((await api.ok("GET", f"{CONFIGMAPS}/c"))["data"]) == 50


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/merge-patch+json", {"metadata": {"labels": {"a": "1"}}}),
        ("application/strategic-merge-patch+json", {"metadata": {"labels": {"a": "1"}}}),
        ("application/json-patch+json", [{"op": "add", "path": "/metadata/labels", "value": {"a": "1"}}]),
    ],
)
async def test_every_kind_of_patch(api: Api, content_type: str, body: Any) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c", x="y"))
    patched = await api.ok("PATCH", f"{CONFIGMAPS}/c", body, content_type=content_type)
    assert patched["metadata"]["labels"] == {"a": "1"}
    assert patched["data"] == {"x": "y"}


async def test_a_strategic_patch_knows_merge_keys(api: Api) -> None:
    await api.pod("p")
    body = {"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}
    patched = await api.ok("PATCH", f"{PODS}/p", body, content_type="application/strategic-merge-patch+json")
    (container,) = patched["spec"]["containers"]
    assert container["image"] == "nginx:2"
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert patched["metadata"]["generation"] == 2


async def test_refusals_of_patch(api: Api) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c"))
    wrong_type = await api.refused("PATCH", f"{CONFIGMAPS}/c", {}, content_type="application/json")
    assert wrong_type["code"] == 415
    missing = [{"op": "remove", "path": "/data/missing"}]
    refused = await api.refused("PATCH", f"{CONFIGMAPS}/c", missing, content_type="application/json-patch+json")
    assert refused["message"] == "the server rejected our request due to an error in our request"
    rename = {"metadata": {"name": "d"}}
    refused = await api.refused("PATCH", f"{CONFIGMAPS}/c", rename, content_type="application/merge-patch+json")
    assert refused["reason"] == "BadRequest"


async def test_status_and_spec_are_written_apart(api: Api) -> None:
    made = await api.pod("p")
    running = {**made, "status": {**made["status"], "phase": "Running"}}
    assert (await api.ok("PUT", f"{PODS}/p", running))["status"]["phase"] == "Pending"
    changed = {**made, "status": {"phase": "Running"}, "spec": {"containers": [{"name": "z", "image": "z"}]}}
    stored = await api.ok("PUT", f"{PODS}/p/status", changed)
    assert stored["status"] == {"phase": "Running"}
    assert stored["spec"] == made["spec"]
    assert stored["metadata"]["generation"] == 1


async def test_a_pod_that_runs_takes_its_time_to_go(api: Api) -> None:
    await api.pod("p")
    await api.ok("POST", f"{PODS}/p/binding", {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}})
    marked = await api.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 20})
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
    assert "deletionTimestamp" in (await api.ok("GET", f"{PODS}/p"))["metadata"]
    wrong = {"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}}
    assert (await api.refused("DELETE", f"{PODS}/p", wrong))["reason"] == "Conflict"
    await api.ok("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0, "preconditions": {"uid": marked["metadata"]["uid"]}})
    assert (await api.refused("GET", f"{PODS}/p"))["message"] == 'pods "p" not found'


async def test_a_pod_that_nobody_runs_goes_at_once(api: Api) -> None:
    await api.pod("p")
    await api.ok("DELETE", f"{PODS}/p")
    assert (await api.refused("GET", f"{PODS}/p"))["reason"] == "NotFound"


async def test_finalizers_hold_an_object(api: Api) -> None:
    held = configmap("c")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.ok("POST", CONFIGMAPS, held)
    marked = await api.ok("DELETE", f"{CONFIGMAPS}/c")
    assert marked["metadata"]["deletionTimestamp"]
    free = {"metadata": {"finalizers": None}}
    await api.ok("PATCH", f"{CONFIGMAPS}/c", free, content_type="application/merge-patch+json")
    assert (await api.refused("GET", f"{CONFIGMAPS}/c"))["reason"] == "NotFound"


async def test_propagation_leaves_its_finalizer(api: Api) -> None:
    for name, policy, finalizer in (("a", "Orphan", "orphan"), ("b", "Foreground", "foregroundDeletion")):
        await api.ok("POST", CONFIGMAPS, configmap(name))
        marked = await api.ok("DELETE", f"{CONFIGMAPS}/{name}", {"propagationPolicy": policy})
        assert marked["metadata"]["finalizers"] == [finalizer]
    assert (await api.refused("DELETE", f"{CONFIGMAPS}/a", {"propagationPolicy": "Sideways"}))["code"] == 422


async def test_a_finished_delete_says_what_went(api: Api) -> None:
    made = await api.ok("POST", CONFIGMAPS, configmap("c"))
    status = await api.ok("DELETE", f"{CONFIGMAPS}/c")
    assert status["status"] == "Success"
    assert status["details"] == {"name": "c", "kind": "configmaps", "uid": made["metadata"]["uid"]}


async def test_deletecollection_takes_what_the_selector_selects(api: Api) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "1"}), ("c", {})):
        one = configmap(name)
        one["metadata"]["labels"] = labels
        await api.ok("POST", CONFIGMAPS, one)
    await api.ok("DELETE", f"{CONFIGMAPS}?labelSelector=x%3D1")
    left = await api.ok("GET", CONFIGMAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["c"]


async def test_a_namespace_ends_when_its_finalizers_are_gone(api: Api) -> None:
    await api.ok("POST", "/api/v1/namespaces", {"metadata": {"name": "team"}})
    await api.ok("DELETE", "/api/v1/namespaces/team")
    ending = await api.ok("GET", "/api/v1/namespaces/team")
    assert ending["status"]["phase"] == "Terminating"
    refused = await api.refused("POST", "/api/v1/namespaces/team/configmaps", configmap("c"))
    assert "because it is being terminated" in refused["message"]
    await api.ok("PUT", "/api/v1/namespaces/team/finalize", {**ending, "spec": {}})
    assert (await api.refused("GET", "/api/v1/namespaces/team"))["reason"] == "NotFound"
    assert (await api.refused("DELETE", "/api/v1/namespaces/default"))["reason"] == "Forbidden"


async def test_pages_show_one_moment(api: Api) -> None:
    for number in range(25):
        await api.ok("POST", CONFIGMAPS, configmap(f"c{number:02}", v="old"))
    page = await api.ok("GET", f"{CONFIGMAPS}?limit=10")
    assert page["metadata"]["remainingItemCount"] == 15
    await api.ok("DELETE", f"{CONFIGMAPS}/c24")
    await api.ok("PUT", f"{CONFIGMAPS}/c20", configmap("c20", v="new"))
    await api.ok("POST", CONFIGMAPS, configmap("c15a"))
    seen = list(page["items"])
    while page["metadata"].get("continue"):
        page = await api.ok("GET", f"{CONFIGMAPS}?limit=10&continue={page['metadata']['continue']}")
        seen += page["items"]
    assert [item["metadata"]["name"] for item in seen] == [f"c{number:02}" for number in range(25)]
    assert {item["data"]["v"] for item in seen} == {"old"}


async def test_a_continue_token_of_another_time_has_expired(api: Api) -> None:
    import base64

    token = base64.urlsafe_b64encode(b'{"version":1,"key":"default/a"}').decode()
    assert (await api.refused("GET", f"{CONFIGMAPS}?limit=1&continue={token}"))["reason"] == "Expired"
    assert (await api.refused("GET", f"{CONFIGMAPS}?continue=%FF"))["reason"] == "BadRequest"


async def test_lists_by_selector(api: Api) -> None:
    await api.pod("a", app="web")
    await api.pod("b", app="db")
    await api.ok("POST", f"{PODS}/b/binding", {"target": {"name": "n1"}})

    async def names(query: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await api.ok("GET", f"{PODS}?{query}"))["items"]]

    assert await names("labelSelector=app%3Dweb") == ["a"]
    assert await names("fieldSelector=spec.nodeName%3Dn1") == ["b"]
    assert await names("fieldSelector=spec.nodeName%3D,status.phase!%3DFailed") == ["a"]
    assert await names("fieldSelector=metadata.name%3Db") == ["b"]
    assert (await api.refused("GET", f"{PODS}?fieldSelector=spec.foo%3D1"))[
        "message"
    ] == "field label not supported: spec.foo"
    assert (await api.refused("GET", f"{PODS}?labelSelector=%3D"))["reason"] == "BadRequest"


async def test_a_version_of_the_future_is_asked_to_come_back(api: Api) -> None:
    refused = await api.refused("GET", f"{PODS}?resourceVersion=999999999")
    assert refused["reason"] == "Timeout"
    assert refused["details"]["retryAfterSeconds"] == 1


async def test_ephemeral_containers_are_added_and_nothing_else(api: Api) -> None:
    made = await api.pod("p")
    body = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox:1"}], "containers": []}}
    patched = await api.ok(
        "PATCH", f"{PODS}/p/ephemeralcontainers", body, content_type="application/strategic-merge-patch+json"
    )
    assert patched["spec"]["containers"] == made["spec"]["containers"]
    assert patched["spec"]["ephemeralContainers"][0]["imagePullPolicy"] == "IfNotPresent"
    body["spec"]["ephemeralContainers"][0]["image"] = "busybox:2"
    changed = await api.refused(
        "PATCH", f"{PODS}/p/ephemeralcontainers", body, content_type="application/strategic-merge-patch+json"
    )
    assert '"debug" may not be changed\n@@ -' in changed["message"]
    assert '\n- "image": "busybox:1",\n+ "image": "busybox:2",\n' in changed["message"]
    removed = await api.ok("GET", f"{PODS}/p")
    removed["spec"]["ephemeralContainers"] = []
    assert (await api.refused("PUT", f"{PODS}/p/ephemeralcontainers", removed))["message"] == (
        'Pod "p" is invalid: spec.ephemeralContainers: Forbidden: '
        'existing ephemeral containers "debug" may not be removed\n'
    )
    directly = await api.refused("PUT", f"{PODS}/p", removed)
    assert "spec: Forbidden: pod updates may not change fields other than" in directly["message"]


async def test_no_pod_begins_with_ephemeral_containers(api: Api) -> None:
    debug = {"name": "debug", "image": "busybox:1"}
    spec = {"containers": [{"name": "x", "image": "a:1"}], "ephemeralContainers": [debug]}
    refused = await api.refused("POST", PODS, {"metadata": {"name": "p"}, "spec": spec})
    assert refused["message"] == 'Pod "p" is invalid: spec.ephemeralContainers: Forbidden: cannot be set on create'


async def test_scale_is_a_view_of_replicas(api: Api) -> None:
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "a:1"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await api.ok("POST", deployments, {"metadata": {"name": "d"}, "spec": spec})
    scale = await api.ok(
        "PATCH", f"{deployments}/d/scale", {"spec": {"replicas": 3}}, content_type="application/merge-patch+json"
    )
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 3}, "a=b")
    stored = await api.ok("GET", f"{deployments}/d")
    assert stored["spec"]["replicas"] == 3
    assert stored["metadata"]["generation"] == 2
    table = await api.ok("GET", f"{deployments}/d/scale", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["d", 3, 0]
    negative = {**scale, "spec": {"replicas": -1}}
    assert (await api.refused("PUT", f"{deployments}/d/scale", negative))["reason"] == "Invalid"


async def test_a_pod_is_bound_once(api: Api) -> None:
    await api.pod("p")
    await api.ok("POST", f"{PODS}/p/binding", {"target": {"name": "n1"}})
    again = await api.refused("POST", f"{PODS}/p/binding", {"target": {"name": "n2"}})
    assert 'is already assigned to node "n1"' in again["message"]
    bound = await api.ok("GET", f"{PODS}/p")
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"


async def test_events_have_two_faces(api: Api) -> None:
    event = {
        "metadata": {"name": "e1"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Pulled",
        "message": "hello",
        "type": "Normal",
        "source": {"component": "kubelet"},
    }
    await api.ok("POST", "/api/v1/namespaces/default/events", event)
    new = await api.ok("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e1")
    assert (new["apiVersion"], new["note"], new["regarding"]["name"]) == ("events.k8s.io/v1", "hello", "p")
    selector = "fieldSelector=regarding.name%3Dp"
    assert len((await api.ok("GET", f"/apis/events.k8s.io/v1/events?{selector}"))["items"]) == 1
    assert len((await api.ok("GET", "/api/v1/events?fieldSelector=involvedObject.name%3Dp"))["items"]) == 1


async def test_a_delete_may_be_a_dry_run_by_its_body_or_by_its_query(api: Api) -> None:
    await api.ok("POST", CONFIGMAPS, configmap("c"))
    for query, body in (("", {"dryRun": ["All"]}), ("?dryRun=All", {}), ("?dryRun=All", None)):
        await api.ok("DELETE", f"{CONFIGMAPS}/c{query}", body)
        await api.ok("DELETE", f"{CONFIGMAPS}{query}", body)
        await api.ok("GET", f"{CONFIGMAPS}/c")
    wrong = await api.refused("DELETE", f"{CONFIGMAPS}/c", {"dryRun": ["Some"]})
    assert wrong["message"] == (
        'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'
    )
    typed = await api.refused("DELETE", f"{CONFIGMAPS}/c", {"preconditions": "x"})
    assert "cannot unmarshal string into Go struct field DeleteOptions.preconditions" in typed["message"]


async def test_times_are_stored_as_go_writes_them(api: Api) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T02:00:00.5+02:00", "leaseDurationSeconds": 1}}
    made = await api.ok("POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", lease)
    assert made["spec"]["renewTime"] == "2026-01-01T00:00:00.500000Z"
    lease["spec"] = {"renewTime": "2026-01-01"}
    refused = await api.refused("POST", "/apis/coordination.k8s.io/v1/namespaces/default/leases", lease)
    assert 'parsing time "2026-01-01" as' in refused["message"]


async def test_what_only_the_server_sets_cannot_be_changed(api: Api) -> None:
    made = await api.ok("POST", CONFIGMAPS, configmap("c"))
    made["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    refused = await api.refused("PUT", f"{CONFIGMAPS}/c", made)
    assert refused["message"] == (
        'ConfigMap "c" is invalid: metadata.creationTimestamp: Invalid value: "2020-01-01T00:00:00Z": field is '
        "immutable"
    )
    made["metadata"] = {"name": "c"}
    await api.ok("PUT", f"{CONFIGMAPS}/c", made)


async def test_counts_of_nothing_are_told(api: Api) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    apps = "/apis/apps/v1/namespaces/default"
    made = {"metadata": {"name": "x"}, "spec": {"serviceName": "x", **spec}}
    assert (await api.ok("POST", f"{apps}/statefulsets", made))["status"] == {"availableReplicas": 0, "replicas": 0}
    status = {"availableReplicas": 0, "replicas": 2}
    written = await api.ok(
        "PATCH", f"{apps}/statefulsets/x/status", {"status": status}, content_type="application/merge-patch+json"
    )
    assert written["status"] == status
    made["spec"] = spec
    assert (await api.ok("POST", f"{apps}/replicasets", made))["status"] == {"replicas": 0}
    assert (await api.ok("POST", f"{apps}/daemonsets", made))["status"] == {
        "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
    }  # fmt: skip
    budget = {"metadata": {"name": "x"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}
    assert (await api.ok("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget))["status"] == {
        "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
    }  # fmt: skip

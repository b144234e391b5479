"""Server-side apply and managedFields: ownership, removal, conflicts, force, migration."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.apiserver.api_world import PODS, Api, configmap, pod

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


async def apply(api: Api, body: dict[str, Any], manager: str, *, force: bool = False) -> Any:
    query = f"fieldManager={manager}{'&force=true' if force else ''}"
    return await api.ok("PATCH", f"{CONFIGMAPS}/c?{query}", body, content_type=APPLY)


def owners(obj: Any) -> dict[str, Any]:
    return {f"{entry['manager']}/{entry['operation']}": entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


async def test_an_apply_creates_then_owns_just_what_it_states(api: Api) -> None:
    status, made = await api.call("PATCH", f"{CONFIGMAPS}/c?fieldManager=one", config(a="1", b="2"), content_type=APPLY)
    assert status == 201
    assert owners(made) == {"one/Apply": {"f:data": {"f:a": {}, "f:b": {}}}}
    again = await apply(api, config(a="1", b="2"), "one")
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"], "nothing changed"


async def test_what_is_no_longer_stated_goes_unless_another_owns_it(api: Api) -> None:
    await apply(api, config(a="1", b="2", c="3"), "one")
    await apply(api, config(b="2"), "two")
    left = await apply(api, config(a="1"), "one")
    assert left["data"] == {"a": "1", "b": "2"}
    assert owners(left) == {"one/Apply": {"f:data": {"f:a": {}}}, "two/Apply": {"f:data": {"f:b": {}}}}


async def test_the_last_owner_takes_the_field_along(api: Api) -> None:
    await apply(api, config(a="1"), "one")
    bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    assert "data" not in await apply(api, bare, "one")


async def test_conflicts_name_manager_and_field_and_yield_to_force(api: Api) -> None:
    await apply(api, config(a="1", b="1"), "one")
    refused = await api.refused("PATCH", f"{CONFIGMAPS}/c?fieldManager=two", config(a="2"), content_type=APPLY)
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert refused["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"}
    ]
    both = await api.refused("PATCH", f"{CONFIGMAPS}/c?fieldManager=two", config(a="2", b="2"), content_type=APPLY)
    assert both["message"] == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'
    forced = await apply(api, config(a="2"), "two", force=True)
    assert forced["data"] == {"a": "2", "b": "1"}
    assert owners(forced) == {"one/Apply": {"f:data": {"f:b": {}}}, "two/Apply": {"f:data": {"f:a": {}}}}


async def test_the_same_value_is_shared_without_conflict(api: Api) -> None:
    await apply(api, config(a="1"), "one")
    shared = await apply(api, config(a="1"), "two")
    assert set(owners(shared)) == {"one/Apply", "two/Apply"}


async def test_an_update_takes_what_it_changes(api: Api) -> None:
    await apply(api, config(a="1", b="1"), "one")
    query = "fieldManager=kubectl-edit"
    changed = await api.ok("PATCH", f"{CONFIGMAPS}/c?{query}", {"data": {"a": "9"}}, content_type=MERGE)
    assert owners(changed) == {
        "one/Apply": {"f:data": {"f:b": {}}},
        "kubectl-edit/Update": {"f:data": {"f:a": {}}},
    }
    refused = await api.refused("PATCH", f"{CONFIGMAPS}/c?fieldManager=one", config(a="1", b="1"), content_type=APPLY)
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "kubectl-edit" using v1: .data.a'


async def test_lists_of_objects_are_owned_item_by_item(api: Api) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", "image": "i:1"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    url = f"{DEPLOYMENTS}/d"
    await api.ok("PATCH", f"{url}?fieldManager=one", deployment, content_type=APPLY)
    sidecar = {"spec": {"containers": [{"name": "y", "image": "i:2", "ports": [{"containerPort": 80}]}]}}
    other = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": sidecar},
    }
    both = await api.ok("PATCH", f"{url}?fieldManager=two", other, content_type=APPLY)
    assert [item["name"] for item in both["spec"]["template"]["spec"]["containers"]] == ["x", "y"]
    assert owners(both)["two/Apply"] == {
        "f:spec": {
            "f:template": {
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"y"}': {
                            ".": {},
                            "f:image": {},
                            "f:name": {},
                            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                        }
                    }
                }
            }
        }
    }
    other["spec"] = {}
    alone = await api.ok("PATCH", f"{url}?fieldManager=two", other, content_type=APPLY)
    assert [item["name"] for item in alone["spec"]["template"]["spec"]["containers"]] == ["x"]


async def test_status_is_owned_through_status_alone(api: Api) -> None:
    await api.pod("p")
    status = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "status": {"phase": "Running"}}
    query = "fieldManager=kubelet&force=true"
    applied = await api.ok("PATCH", f"{PODS}/p/status?{query}", status, content_type=APPLY)
    assert applied["status"]["phase"] == "Running"
    entry = next(entry for entry in applied["metadata"]["managedFields"] if entry["manager"] == "kubelet")
    assert (entry["subresource"], entry["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})


async def test_managed_fields_can_be_rewritten_and_forgotten(api: Api) -> None:
    made = await api.ok("POST", f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", configmap("c", a="1"))
    entries = [{**entry, "manager": "kubectl", "operation": "Apply"} for entry in made["metadata"]["managedFields"]]
    migrate = [
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
    ]
    patched = await api.ok(
        "PATCH", f"{CONFIGMAPS}/c?fieldManager=kubectl", migrate, content_type="application/json-patch+json"
    )
    assert set(owners(patched)) == {"kubectl/Apply"}
    assert (await apply(api, config(b="2"), "kubectl"))["data"] == {"b": "2"}, (
        "what was migrated is dropped like its own"
    )
    stale = await api.refused("PATCH", f"{CONFIGMAPS}/c", migrate, content_type="application/json-patch+json")
    assert stale["reason"] == "Conflict"
    reset = await api.ok("PATCH", f"{CONFIGMAPS}/c", {"metadata": {"managedFields": [{}]}}, content_type=MERGE)
    assert "managedFields" not in reset["metadata"]


async def test_what_is_no_configuration_is_refused(api: Api) -> None:
    url = f"{CONFIGMAPS}/c"
    nobody = await api.refused("PATCH", url, config(), content_type=APPLY)
    assert nobody["message"] == (
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    )
    bodies: list[dict[str, Any]] = [pod("c"), {"data": {}}, {**config(), "metadata": {"name": "d"}}]
    for body in bodies:
        assert (await api.refused("PATCH", f"{url}?fieldManager=x", body, content_type=APPLY))["code"] == 400
    owned = {**config(), "metadata": {"name": "c", "managedFields": [{"manager": "x"}]}}
    refused = await api.refused("PATCH", f"{url}?fieldManager=x", owned, content_type=APPLY)
    assert refused["message"] == "metadata.managedFields must be nil"


async def test_yaml_is_applied_too(api: Api) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n  day: '2026-01-01'\n"
    made = await api.ok("PATCH", f"{CONFIGMAPS}/c?fieldManager=x", body, content_type=APPLY)
    assert made["data"] == {"day": "2026-01-01"}


async def test_a_configuration_that_names_an_item_twice_is_refused(api: Api) -> None:
    one = pod("p")
    one["spec"]["containers"] *= 2
    refused = await api.refused("PATCH", f"{PODS}/p?fieldManager=x", one, content_type=APPLY)
    assert (refused["code"], refused["message"]) == (
        400,
        "failed to create typed patch object (default/p; v1, Kind=Pod): .spec.containers: duplicate entries for key "
        '[name="c"]',
    )


async def test_an_apply_says_what_it_is_about(api: Api) -> None:
    other = await api.refused(
        "PATCH", f"{PODS}/p?fieldManager=one", {**pod("p"), "apiVersion": "apps/v1"}, content_type=APPLY
    )
    assert (other["reason"], other["message"]) == ("BadRequest", "invalid object type: apps/v1, Kind=Pod")
    unlike = await api.refused("PATCH", f"{PODS}/p?fieldManager=one", config(a="1"), content_type=APPLY)
    assert unlike["message"] == "invalid object type: /v1, Kind=ConfigMap"


LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


async def client_side_applied(api: Api, **data: str) -> Any:
    """What `kubectl apply` leaves: the object, its last configuration, and the fields as its own."""
    body = config(**data)
    body["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(config(**data))}
    return await api.ok("POST", f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", body)


async def test_kubectl_takes_over_what_it_applied_on_the_clients_side(api: Api) -> None:
    await client_side_applied(api, a="1", b="1")
    other = await api.refused("PATCH", f"{CONFIGMAPS}/c?fieldManager=other", config(a="2"), content_type=APPLY)
    assert other["message"] == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.a'
    )
    taken = await apply(api, config(a="2", b="<1>"), "kubectl")
    assert taken["data"] == {"a": "2", "b": "<1>"}
    assert owners(taken)["kubectl/Apply"]["f:data"] == {"f:a": {}, "f:b": {}}
    assert taken["metadata"]["annotations"][LAST_APPLIED] == (
        '{"apiVersion":"v1","data":{"a":"2","b":"\\u003c1\\u003e"},"kind":"ConfigMap",'
        '"metadata":{"name":"c","namespace":"default"}}\n'
    )


async def test_what_was_changed_since_the_clients_apply_stays_a_conflict(api: Api) -> None:
    await client_side_applied(api, a="1", b="1")
    await api.ok("PATCH", f"{CONFIGMAPS}/c?fieldManager=editor", {"data": {"a": "5"}}, content_type=MERGE)
    refused = await api.refused(
        "PATCH", f"{CONFIGMAPS}/c?fieldManager=kubectl", config(a="2", b="2"), content_type=APPLY
    )
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "editor" using v1: .data.a'


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"apiVersion":"v2"}', "[" * 10_000])
async def test_a_last_configuration_that_says_nothing_hands_nothing_over(api: Api, text: str) -> None:
    body = config(a="1")
    body["metadata"]["annotations"] = {LAST_APPLIED: text}
    await api.ok("POST", f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", body)
    refused = await api.refused("PATCH", f"{CONFIGMAPS}/c?fieldManager=kubectl", config(a="2"), content_type=APPLY)
    assert refused["reason"] == "Conflict"

"""Kinds that are stored and shown while nothing acts on them: what a usual chart carries beside its workloads."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.apiserver.api_world import PODS, Api, pod

from pullet.kube import inert_kinds, scheme
from pullet.kube.resource import Resource

TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
JOB = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}
RULE = {"host": "x.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {
    "name": "s", "port": {"number": 80}}}}]}}  # fmt: skip
SIGNING = {"request": "eA==", "signerName": "example.com/signer", "usages": ["client auth"], "expirationSeconds": 3600}
ROLE_RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
MANIFESTS: dict[Resource, dict[str, Any]] = {
    inert_kinds.LIMITRANGES: {"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}},
    inert_kinds.PERSISTENTVOLUMECLAIMS: {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    inert_kinds.PERSISTENTVOLUMES: {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    },
    inert_kinds.PODTEMPLATES: {"template": TEMPLATE},
    inert_kinds.REPLICATIONCONTROLLERS: {"spec": {"replicas": 2, "selector": {"a": "b"}, "template": TEMPLATE}},
    inert_kinds.RESOURCEQUOTAS: {"spec": {"hard": {"pods": "4"}}},
    inert_kinds.APISERVICES: {
        "spec": {
            "group": "example.com",
            "version": "v1",
            "groupPriorityMinimum": 1,
            "versionPriority": 1,
            "service": {"name": "s", "namespace": "default"},
        }
    },
    inert_kinds.HORIZONTALPODAUTOSCALERS: {
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}
    },
    inert_kinds.HORIZONTALPODAUTOSCALERS_V1: {
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "targetCPUUtilizationPercentage": 50,
        }
    },
    inert_kinds.CRONJOBS: {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": JOB}}},
    inert_kinds.CERTIFICATESIGNINGREQUESTS: {"spec": SIGNING},
    inert_kinds.ENDPOINTSLICES: {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": []},
    inert_kinds.INGRESSCLASSES: {"spec": {"controller": "example.com/x"}},
    inert_kinds.INGRESSES: {"spec": {"rules": [RULE]}},
    inert_kinds.NETWORKPOLICIES: {"spec": {"podSelector": {}, "ingress": [{}]}},
    inert_kinds.CLUSTERROLEBINDINGS: {
        "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}],
    },
    inert_kinds.CLUSTERROLES: {"rules": [ROLE_RULE]},
    inert_kinds.ROLEBINDINGS: {
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    },
    inert_kinds.ROLES: {"rules": [ROLE_RULE]},
    inert_kinds.PRIORITYCLASSES: {"value": 7},
    inert_kinds.CSIDRIVERS: {"spec": {"tokenRequests": [{"audience": "a"}]}},
    inert_kinds.CSINODES: {"spec": {"drivers": []}},
    inert_kinds.CSISTORAGECAPACITIES: {"storageClassName": "fast", "capacity": "1Gi"},
    inert_kinds.STORAGECLASSES: {"provisioner": "example.com/none"},
    inert_kinds.VOLUMEATTACHMENTS: {
        "spec": {"attacher": "example.com/none", "nodeName": "n", "source": {"persistentVolumeName": "v"}}
    },
}


async def test_each_kind_is_created_shown_and_deleted_with_a_word_of_what_does_not_happen(api: Api) -> None:
    for resource in inert_kinds.INERT_KINDS:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "x"}}
        body |= MANIFESTS[resource]
        created = await api.http.post(f"{resource.path('default')}?fieldValidation=Strict", json=body)
        assert created.status_code == 201, created.text
        said = created.headers.get("warning", "")
        assert (resource.inert in said) if resource.inert else not said
        obj = created.json()
        again = await api.ok("PUT", resource.path("default", "x"), obj)
        assert again["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"], resource
        table = await api.ok("GET", resource.path("default"), accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        [row] = [row for row in table["rows"] if row["object"]["metadata"]["name"] == "x"]
        assert row["cells"][0] == "x"
        assert len(row["cells"]) == len(table["columnDefinitions"])
        await api.ok("DELETE", resource.path("default", "x"))
        assert (await api.refused("GET", resource.path("default", "x")))["reason"] == "NotFound"


REFUSED: list[tuple[Resource, dict[str, Any], str]] = [
    (inert_kinds.INGRESSES, {"spec": {}},
     "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"),
    (inert_kinds.CRONJOBS, {"spec": {"jobTemplate": {"spec": JOB}}}, "spec.schedule: Required value"),
    (inert_kinds.ROLEBINDINGS, {"roleRef": {"kind": "Thing", "name": "r"}},
     'roleRef.kind: Unsupported value: "Thing": supported values: "Role", "ClusterRole"'),
    (inert_kinds.HORIZONTALPODAUTOSCALERS, {"spec": {"maxReplicas": 0, "scaleTargetRef": {"kind": "D", "name": "d"}}},
     "spec.maxReplicas: Invalid value: 0: must be greater than 0"),
    (inert_kinds.PERSISTENTVOLUMECLAIMS, {"spec": {"accessModes": ["ReadWriteOnce"]}},
     "spec.resources[storage]: Required value"),
    (inert_kinds.PRIORITYCLASSES, {"value": 2_000_000_000},
     "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
    (inert_kinds.STORAGECLASSES, {}, "provisioner: Required value"),
    (inert_kinds.CERTIFICATESIGNINGREQUESTS, {"spec": {"request": "eA=="}}, "spec.signerName: Required value"),
    (inert_kinds.REPLICATIONCONTROLLERS, {"spec": {"selector": {"x": "y"}, "template": TEMPLATE}},
     "`selector` does not match template `labels`"),
]  # fmt: skip


async def test_what_manifests_get_wrong_is_told_as_upstream_does(api: Api) -> None:
    for resource, parts, text in REFUSED:
        status = await api.refused("POST", resource.path("default"), {"metadata": {"name": "x"}, **parts})
        assert status["reason"] == "Invalid"
        assert text in status["message"]


async def test_a_bindings_role_and_a_classes_value_are_for_life(api: Api) -> None:
    for resource, change, text in (
        (inert_kinds.ROLEBINDINGS, {"roleRef": {"kind": "Role", "name": "other"}}, "cannot change roleRef"),
        (inert_kinds.PRIORITYCLASSES, {"value": 8}, "may not be changed in an update."),
    ):
        await api.ok("POST", resource.path("default"), {"metadata": {"name": "x"}, **MANIFESTS[resource]})
        status = await api.refused(
            "PATCH", resource.path("default", "x"), change, content_type="application/merge-patch+json"
        )
        assert text in status["message"]


async def test_an_autoscaler_has_two_versions(api: Api) -> None:
    new, old = inert_kinds.HORIZONTALPODAUTOSCALERS, inert_kinds.HORIZONTALPODAUTOSCALERS_V1
    await api.ok("POST", old.path("default"), {"metadata": {"name": "x"}, **MANIFESTS[old]})
    target = {"type": "Utilization", "averageUtilization": 50}
    shown = await api.ok("GET", new.path("default", "x"))
    assert shown["apiVersion"] == "autoscaling/v2"
    assert shown["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert (await api.ok("GET", old.path("default", "x")))["spec"]["targetCPUUtilizationPercentage"] == 50


async def test_a_priority_class_gives_pods_their_priority(api: Api) -> None:
    classes = inert_kinds.PRIORITYCLASSES.path()
    await api.ok("POST", classes, {"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"})
    asked = pod("asked")
    asked["spec"]["priorityClassName"] = "high"
    spec = (await api.ok("POST", PODS, asked))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
    await api.ok("POST", classes, {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True})
    spec = (await api.pod("silent"))["spec"]
    assert (spec["priority"], spec["priorityClassName"]) == (5, "usual")
    asked["spec"]["priorityClassName"] = "none"
    asked["metadata"]["name"] = "wrong"
    refused = await api.refused("POST", PODS, asked)
    assert "no PriorityClass with name none was found" in refused["message"]


async def test_a_signing_request_says_who_asked_and_is_approved_but_not_signed(api: Api) -> None:
    kind = inert_kinds.CERTIFICATESIGNINGREQUESTS
    made = await api.ok(
        "POST", kind.path(), {"metadata": {"name": "x"}, "spec": {**SIGNING, "username": "somebody", "groups": ["g"]}}
    )
    assert made["spec"]["username"] == "admin"
    assert "g" not in made["spec"]["groups"]
    assert await _cells(api, kind) == ["x", "example.com/signer", "admin", "60m", "Pending"]
    condition = {"type": "Approved", "status": "True", "reason": "KubectlApprove"}
    approved = {**made, "status": {"conditions": [condition]}, "spec": {**made["spec"], "signerName": "another/one"}}
    ignored = await api.ok("PUT", kind.path(None, "x"), {**made, "status": approved["status"]})
    assert not ignored["status"]
    answer = await api.ok("PUT", kind.path(None, "x", "approval"), approved)
    assert answer["status"]["conditions"] == [condition]
    assert answer["spec"]["signerName"] == "example.com/signer"
    assert (await _cells(api, kind))[-1] == "Approved"


async def _cells(api: Api, kind: Resource) -> list[Any]:
    """The cells of its only object, without its age."""
    table = await api.ok("GET", kind.path("default"), accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    ages = [number for number, column in enumerate(table["columnDefinitions"]) if column["name"] == "Age"]
    return [cell for number, cell in enumerate(table["rows"][0]["cells"]) if number not in ages]


async def test_what_storage_brings_along_is_shown(api: Api) -> None:
    for kind, cells in (
        (inert_kinds.CSIDRIVERS, ["x", True, False, False, "a", False, "Persistent"]),
        (inert_kinds.CSINODES, ["x", 0]),
        (inert_kinds.CSISTORAGECAPACITIES, ["x", "fast", "1Gi"]),
        (inert_kinds.VOLUMEATTACHMENTS, ["x", "example.com/none", "v", "n", False]),
        (inert_kinds.PODTEMPLATES, ["x", "c", "i:1", "a=b"]),
    ):
        await api.ok("POST", kind.path("default"), {"metadata": {"name": "x"}, **MANIFESTS[kind]})
        assert await _cells(api, kind) == cells


@pytest.mark.parametrize("resource", inert_kinds.INERT_KINDS, ids=str)
def test_each_row_is_served(resource: Resource) -> None:
    assert scheme.resource_of(resource.api_version, resource.kind) is resource
    assert resource in MANIFESTS

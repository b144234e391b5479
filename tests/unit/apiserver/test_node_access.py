"""What a node may read and write: itself, and what the pods bound to it need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.apiserver.api_world import PODS, Api, configmap, pod
from tests.unit.apiserver.test_access import NODE, As

from pullet.kit.worker_threads import WorkerThreads

CORE = "/api/v1/namespaces/default"
MERGE = "application/merge-patch+json"


@pytest.fixture
async def node(api: Api, threads: WorkerThreads, tmp_path: Path) -> As:
    """Speaks as node n1, which runs the pod `mine`; the pod `other` runs elsewhere."""
    for name, where in (("mine", "n1"), ("other", "n2")):
        one = pod(name)
        one["spec"] |= {
            "nodeName": where,
            "imagePullSecrets": [{"name": f"{name}-pull"}],
            "serviceAccountName": f"{name}-account",
            "volumes": [
                {"name": "a", "projected": {"sources": [{"secret": {"name": f"{name}-projected"}}]}},
                {"name": "b", "configMap": {"name": f"{name}-settings"}},
            ],
        }
        one["spec"]["containers"][0]["env"] = [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": f"{name}-env", "key": "a"}}}
        ]
        account = await api.ok("POST", f"{CORE}/serviceaccounts", {"metadata": {"name": f"{name}-account"}})
        assert account["metadata"]["name"]
        for secret in ("pull", "projected", "env"):
            await api.ok("POST", f"{CORE}/secrets", {"metadata": {"name": f"{name}-{secret}"}})
        await api.ok("POST", f"{CORE}/configmaps", configmap(f"{name}-settings"))
        await api.ok("POST", PODS, one)
    return As(api.server, threads, tmp_path)


async def test_a_node_reads_what_its_pods_refer_to_and_nothing_else(node: As) -> None:
    for kind, names in (("secrets", ("pull", "projected", "env")), ("configmaps", ("settings",))):
        for name in names:
            assert (await node.user(*NODE, "GET", f"{CORE}/{kind}/mine-{name}"))[0] == 200
            one = f"{CORE}/{kind}?fieldSelector=metadata.name%3Dmine-{name}"
            assert len((await node.user(*NODE, "GET", one))[1]["items"]) == 1
            status, answer = await node.user(*NODE, "GET", f"{CORE}/{kind}/other-{name}")
            assert status == 403
            assert answer["message"] == (
                f'{kind} "other-{name}" is forbidden: User "system:node:n1" cannot get resource "{kind}" in API group '
                f'"" in the namespace "default": no relationship found between node \'n1\' and this object'
            )
        assert (await node.user(*NODE, "GET", f"{CORE}/{kind}"))[0] == 403
    assert (await node.user(*NODE, "GET", f"{PODS}/mine"))[0] == 200
    assert (await node.user(*NODE, "GET", f"{PODS}/other"))[0] == 403


async def test_what_was_lost_with_the_pod_is_out_of_reach(api: Api, node: As) -> None:
    await api.ok("DELETE", f"{PODS}/mine", {"gracePeriodSeconds": 0})
    assert (await node.user(*NODE, "GET", f"{CORE}/secrets/mine-pull"))[0] == 403


async def test_tokens_are_for_the_accounts_of_its_pods_and_bound_to_them(api: Api, node: As) -> None:
    uid = (await api.ok("GET", f"{PODS}/mine"))["metadata"]["uid"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "mine", "uid": uid}
    url = f"{CORE}/serviceaccounts/mine-account"
    assert (await node.user(*NODE, "GET", url))[0] == 200
    assert (await node.user(*NODE, "POST", f"{url}/token", {"spec": {"boundObjectRef": bound}}))[0] == 201
    refused: list[tuple[str, dict[str, Any] | None, str]] = [
        (url, None, "node requested token not bound to a pod"),
        (url, {**bound, "uid": ""}, "node requested token with a pod binding without a uid"),
        (f"{CORE}/serviceaccounts/other-account", bound, "no relationship found between node 'n1' and this object"),
    ]
    for path, reference, words in refused:
        body = {"spec": {"boundObjectRef": reference} if reference else {}}
        status, answer = await node.user(*NODE, "POST", f"{path}/token", body)
        assert status == 403, answer
        assert answer["message"].endswith(words)


async def test_pods_of_its_own_refer_to_nothing(api: Api, node: As) -> None:
    own = pod("own")
    own["spec"]["nodeName"] = "n1"
    status, made = await node.user(*NODE, "POST", PODS, own)
    assert status == 201, made
    assert "volumes" not in made["spec"], "no token is mounted"
    for parts, what in (
        ({"imagePullSecrets": [{"name": "other-pull"}]}, "secrets"),
        ({"serviceAccountName": "default"}, "a service account"),
        ({"volumes": [{"name": "v", "configMap": {"name": "other-settings"}}]}, "configmaps"),
    ):
        own = pod("sly")
        own["spec"] |= {"nodeName": "n1", **parts}
        status, answer = await node.user(*NODE, "POST", PODS, own)
        assert (status, answer["message"]) == (
            403,
            f'pods "sly" is forbidden: node "n1" can not create pods that reference {what}',
        )


async def test_a_node_keeps_its_hands_off_taints_and_labels_that_steer_pods(api: Api, node: As) -> None:
    labels = {"kubernetes.io/hostname": "n1", "example.com/disk": "ssd"}
    status, _ = await node.user(*NODE, "POST", "/api/v1/nodes", {"metadata": {"name": "n1", "labels": labels}})
    assert status == 201
    url = "/api/v1/nodes/n1"
    for patch, words in (
        ({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}, 'node "n1" is not allowed to modify taints'),
        (
            {"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}},
            "is not allowed to modify labels: node-restriction.kubernetes.io/x",
        ),
        (
            {"metadata": {"labels": {"node-role.kubernetes.io/x": "y"}}},
            "is not allowed to modify labels: node-role.kubernetes.io/x",
        ),
    ):
        status, answer = await node.user(*NODE, "PATCH", url, patch, content_type=MERGE)
        assert (status, answer["message"]) == (403, f'nodes "n1" is forbidden: {words}')
    assert (await api.ok("GET", url))["metadata"]["labels"]["example.com/disk"] == "ssd"

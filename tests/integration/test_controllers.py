"""Scheduler and controllers against the real API server, with a kubelet that only pretends to run pods."""

from __future__ import annotations

import pytest
from tests.integration.workload_bodies import template, workload

from pullet.base.jsonvalue import JsonObject
from pullet.kube.meta import name_of, uid_of
from pullet.kube.scheme import (
    CONFIGMAPS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SERVICEACCOUNTS,
)
from pullet.kube.status import ApiError, NotFoundError
from pullet.testing.control_plane import ControlPlane


async def test_namespaces_get_their_account_and_authority(cluster: ControlPlane) -> None:
    await cluster.client.create(
        NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    )
    await cluster.until("the account", lambda: cluster.client.get(SERVICEACCOUNTS, "team", "default"))
    bundle = await cluster.until("the bundle", lambda: cluster.client.get(CONFIGMAPS, "team", "kube-root-ca.crt"))
    assert bundle["data"] == {"ca.crt": "PEM"}
    uid = uid_of(await cluster.client.get(SERVICEACCOUNTS, "team", "default"))
    await cluster.client.delete(SERVICEACCOUNTS, "team", "default")

    async def is_back() -> bool:
        return uid_of(await cluster.client.get(SERVICEACCOUNTS, "team", "default")) != uid

    await cluster.until("the account to be made again", is_back)


async def test_a_namespace_tells_what_it_still_waits_for(cluster: ControlPlane) -> None:
    body: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    await cluster.client.create(NAMESPACES, None, body)
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["example.com/hold"]}}
    await cluster.client.create(CONFIGMAPS, "team", held)
    await cluster.client.delete(NAMESPACES, None, "team")

    async def told() -> dict[str, str]:
        status = (await cluster.client.get(NAMESPACES, None, "team")).get("status") or {}
        return {each["type"]: each["message"] for each in status.get("conditions") or () if each["status"] == "True"}

    await cluster.until("the conditions", told)
    assert await told() == {
        "NamespaceContentRemaining": "Some resources are remaining: configmaps. has 1 resource instances",
        "NamespaceFinalizersRemaining": "Some content in the namespace has finalizers remaining: example.com/hold in 1 "
        "resource instances",
    }
    await cluster.client.patch(CONFIGMAPS, "team", "held", {"metadata": {"finalizers": None}})

    async def is_gone() -> bool:
        try:
            await cluster.client.get(NAMESPACES, None, "team")
        except NotFoundError:
            return True
        return False

    await cluster.until("the namespace to go", is_gone)


async def test_a_deleted_namespace_takes_everything_with_it(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(
        NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}
    )
    await cluster.until("the account", lambda: cluster.client.get(SERVICEACCOUNTS, "team", "default"))
    deployment = workload("Deployment", replicas=2)
    del deployment["metadata"]["namespace"]
    await cluster.client.create(DEPLOYMENTS, "team", deployment)
    await cluster.until_status(DEPLOYMENTS, "web", "team", availableReplicas=2)
    await cluster.client.delete(NAMESPACES, None, "team")

    async def is_gone() -> bool:
        try:
            await cluster.client.get(NAMESPACES, None, "team")
        except NotFoundError:
            return True
        return False

    await cluster.until("the namespace to go", is_gone)
    assert await cluster.pods("team") == []


async def test_a_pod_is_bound_with_the_schedulers_words(cluster: ControlPlane) -> None:
    await cluster.add_node()
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": template()["spec"]}
    await cluster.client.create(PODS, "default", pod)

    async def is_running() -> bool:
        return ((await cluster.client.get(PODS, "default", "p")).get("status") or {}).get("phase") == "Running"

    await cluster.until("the pod to run", is_running)
    assert await cluster.events("p") == ["Scheduled Successfully assigned default/p to n1"]
    (event,) = [item for item in (await cluster.client.list(EVENTS, "default")).items if item["reason"] == "Scheduled"]
    assert event["action"] == "Binding"
    assert event["reportingComponent"] == "default-scheduler"
    assert event["reportingInstance"] == "default-scheduler-host"
    assert not event.get("source")
    conditions = {
        item["type"]: item for item in (await cluster.client.get(PODS, "default", "p"))["status"]["conditions"]
    }
    assert conditions["PodScheduled"]["status"] == "True"


async def test_a_pod_that_fits_nowhere_says_why_and_goes_when_it_can(cluster: ControlPlane) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": template(nodeSelector={"disk": "ssd"})["spec"],
    }
    await cluster.client.create(PODS, "default", pod)

    async def why() -> str:
        found = (await cluster.client.get(PODS, "default", "p")).get("status") or {}
        return next((item.get("message", "") for item in found.get("conditions", ()) if item["status"] == "False"), "")

    assert await cluster.until("a verdict", why) == "no nodes available to schedule pods"
    await cluster.add_node()
    wanted = (
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, "
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )

    async def is_worded() -> bool:
        return await why() == wanted

    await cluster.until("the verdict about the node", is_worded)
    await cluster.client.patch(NODES, None, "n1", {"metadata": {"labels": {"disk": "ssd"}}})

    async def node() -> str:
        return str((await cluster.client.get(PODS, "default", "p"))["spec"].get("nodeName") or "")

    assert await cluster.until("the binding", node) == "n1"
    assert f"FailedScheduling {wanted}" in await cluster.events("p")


async def test_a_rollout_reads_like_a_real_one(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(DEPLOYMENTS, "default", workload("Deployment", replicas=2))
    await cluster.until_status(DEPLOYMENTS, "web", replicas=2, updatedReplicas=2, availableReplicas=2)
    patch: JsonObject = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1.1"}]}}}}
    await cluster.client.patch(DEPLOYMENTS, "default", "web", patch, kind="strategic")
    done = await cluster.until_status(DEPLOYMENTS, "web", replicas=2, updatedReplicas=2, availableReplicas=2)
    assert done["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    progress = {item["type"]: (item["status"], item["reason"]) for item in done["status"]["conditions"]}
    assert progress["Available"] == ("True", "MinimumReplicasAvailable")
    sets = {
        item["metadata"]["annotations"]["deployment.kubernetes.io/revision"]: item
        for item in (await cluster.client.list(REPLICASETS, "default")).items
    }
    old, new = name_of(sets["1"]), name_of(sets["2"])

    async def is_told() -> list[str] | None:
        told = await cluster.events("web", "Deployment")
        return told if len(told) >= 5 else None

    assert await cluster.until("the events", is_told) == [
        f"ScalingReplicaSet Scaled up replica set {old} from 0 to 2",
        f"ScalingReplicaSet Scaled up replica set {new} from 0 to 1",
        f"ScalingReplicaSet Scaled down replica set {old} from 2 to 1",
        f"ScalingReplicaSet Scaled up replica set {new} from 1 to 2",
        f"ScalingReplicaSet Scaled down replica set {old} from 1 to 0",
    ]

    async def settled() -> bool:
        found = await cluster.client.get(DEPLOYMENTS, "default", "web")
        return any(item["reason"] == "NewReplicaSetAvailable" for item in found["status"]["conditions"])

    await cluster.until("Progressing to end", settled)
    assert all(name_of(pod).startswith(f"{new}-") for pod in await cluster.pods())
    made = await cluster.events(new, "ReplicaSet")
    assert made[0].startswith(f"SuccessfulCreate Created pod: {new}-")


async def test_undo_gives_the_old_replica_set_the_next_revision(cluster: ControlPlane) -> None:
    await cluster.add_node()
    first = workload("Deployment", replicas=1)
    await cluster.client.create(DEPLOYMENTS, "default", first)
    await cluster.until_status(DEPLOYMENTS, "web", updatedReplicas=1, availableReplicas=1)
    for image in ("web:1.1", "web:1.0"):
        patch: JsonObject = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}
        await cluster.client.patch(DEPLOYMENTS, "default", "web", patch, kind="strategic")
        await cluster.until_status(DEPLOYMENTS, "web", replicas=1, updatedReplicas=1, availableReplicas=1)
    sets = (await cluster.client.list(REPLICASETS, "default")).items
    notes = sorted(
        (item["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
         item["metadata"]["annotations"].get("deployment.kubernetes.io/revision-history"), item["spec"]["replicas"])
        for item in sets
    )  # fmt: skip
    assert notes == [("2", None, 0), ("3", "1", 1)]


async def test_a_paused_deployment_scales_but_does_not_roll(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(DEPLOYMENTS, "default", workload("Deployment", replicas=1))
    await cluster.until_status(DEPLOYMENTS, "web", availableReplicas=1)
    patch: JsonObject = {"spec": {"paused": True, "replicas": 3, "template": {"metadata": {"annotations": {"a": "b"}}}}}
    await cluster.client.patch(DEPLOYMENTS, "default", "web", patch)
    await cluster.until_status(DEPLOYMENTS, "web", replicas=3, availableReplicas=3, updatedReplicas=0)
    assert len((await cluster.client.list(REPLICASETS, "default")).items) == 1
    await cluster.client.patch(DEPLOYMENTS, "default", "web", {"spec": {"paused": None}})
    await cluster.until_status(DEPLOYMENTS, "web", replicas=3, availableReplicas=3, updatedReplicas=3)


async def test_a_rollout_that_stands_still_says_so_and_recovers(cluster: ControlPlane) -> None:
    await cluster.add_node()
    cluster.kubelet.outcome = lambda pod: "Pending"
    stuck = workload("Deployment", replicas=1, progressDeadlineSeconds=1)
    await cluster.client.create(DEPLOYMENTS, "default", stuck)

    async def progress() -> tuple[str, str, str]:
        status = (await cluster.client.get(DEPLOYMENTS, "default", "web")).get("status") or {}
        found = {item["type"]: item for item in status.get("conditions") or ()}.get("Progressing", {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    async def is_over() -> bool:
        return (await progress())[1] == "ProgressDeadlineExceeded"

    await cluster.until("the deadline", is_over)
    (replica_set,) = (await cluster.client.list(REPLICASETS, "default")).items
    name = name_of(replica_set)
    assert await progress() == ("False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has timed out progressing.')
    cluster.kubelet.outcome = lambda pod: "Running"
    await cluster.client.patch(DEPLOYMENTS, "default", "web", {"spec": {"template": template("web:2.0")}})

    async def is_well() -> bool:
        status, reason, message = await progress()
        return (status, reason) == ("True", "NewReplicaSetAvailable") and message.endswith("successfully progressed.")

    await cluster.until("the rollout", is_well)


async def test_recreate_never_runs_two_versions_together(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(
        DEPLOYMENTS, "default", workload("Deployment", replicas=2, strategy={"type": "Recreate"})
    )
    await cluster.until_status(DEPLOYMENTS, "web", availableReplicas=2)
    patch: JsonObject = {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}
    await cluster.client.patch(DEPLOYMENTS, "default", "web", patch)
    mixed = []

    async def is_done() -> bool:
        pods = await cluster.pods()
        hashes = {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods}
        mixed.append(len(hashes) > 1)
        status = (await cluster.client.get(DEPLOYMENTS, "default", "web")).get("status") or {}
        return status.get("updatedReplicas") == 2 and status.get("availableReplicas") == 2 and len(pods) == 2

    await cluster.until("the new version", is_done)
    assert not any(mixed)


async def test_deleting_a_deployment_collects_what_it_owned(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(DEPLOYMENTS, "default", workload("Deployment", replicas=2))
    await cluster.until_status(DEPLOYMENTS, "web", availableReplicas=2)
    await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation_policy="Background")

    async def is_empty() -> bool:
        return not (await cluster.client.list(REPLICASETS, "default")).items and not await cluster.pods()

    await cluster.until("everything to be collected", is_empty)


async def test_foreground_deletion_waits_for_the_pods(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(DEPLOYMENTS, "default", workload("Deployment", replicas=2))
    await cluster.until_status(DEPLOYMENTS, "web", availableReplicas=2)
    await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation_policy="Foreground")

    async def is_gone() -> bool:
        try:
            await cluster.client.get(DEPLOYMENTS, "default", "web")
        except NotFoundError:
            return True
        return False

    await cluster.until("the deployment to go", is_gone)
    assert await cluster.pods() == []


async def test_orphans_stay_and_are_adopted_again(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(DEPLOYMENTS, "default", workload("Deployment", replicas=1))
    await cluster.until_status(DEPLOYMENTS, "web", availableReplicas=1)
    await cluster.client.delete(DEPLOYMENTS, "default", "web", propagation_policy="Orphan")

    async def is_orphaned() -> bool:
        items = (await cluster.client.list(REPLICASETS, "default")).items
        return len(items) == 1 and not items[0]["metadata"].get("ownerReferences")

    async def is_gone() -> bool:
        return not (await cluster.client.list(DEPLOYMENTS, "default")).items

    await cluster.until("the replica set to be on its own", is_orphaned)
    await cluster.until("the deployment to be gone", is_gone)
    (before,) = (await cluster.client.list(REPLICASETS, "default")).items
    await cluster.client.create(DEPLOYMENTS, "default", workload("Deployment", replicas=1))
    await cluster.until_status(DEPLOYMENTS, "web", availableReplicas=1)
    (after,) = (await cluster.client.list(REPLICASETS, "default")).items
    assert uid_of(after) == uid_of(before)
    assert after["metadata"]["ownerReferences"][0]["kind"] == "Deployment"


async def test_a_cordoned_node_is_tainted_and_a_silent_one_loses_its_pods(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.patch(NODES, None, "n1", {"spec": {"unschedulable": True}})

    async def taints() -> list[str]:
        node = await cluster.client.get(NODES, None, "n1")
        return [f"{item['key']}:{item['effect']}" for item in node["spec"].get("taints") or ()]

    assert await cluster.until("the taint", taints) == ["node.kubernetes.io/unschedulable:NoSchedule"]
    await cluster.client.patch(NODES, None, "n1", {"spec": {"unschedulable": None}})
    condition = {"type": "Ready", "status": "False", "reason": "KubeletNotReady"}
    patch: JsonObject = {"status": {"conditions": [condition]}}
    await cluster.client.patch(NODES, None, "n1", patch, kind="strategic", subresource="status")

    async def is_out() -> bool:
        return await taints() == ["node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"]

    await cluster.until("the taints of an unready node", is_out)


async def test_a_pod_template_the_api_refuses_is_reported(cluster: ControlPlane) -> None:
    await cluster.add_node()
    body = workload("ReplicaSet", replicas=1)
    body["spec"]["template"]["spec"]["serviceAccountName"] = "nobody"
    await cluster.client.create(REPLICASETS, "default", body)
    found = await cluster.until_status(REPLICASETS, "web", replicas=0)

    async def is_reported() -> bool:
        status = (await cluster.client.get(REPLICASETS, "default", "web")).get("status") or {}
        return any(item["type"] == "ReplicaFailure" for item in status.get("conditions") or ())

    await cluster.until("the condition", is_reported)
    assert found["spec"]["replicas"] == 1
    assert any(text.startswith("FailedCreate Error creating: ") for text in await cluster.events("web"))


async def test_leases_of_other_namespaces_do_not_matter(cluster: ControlPlane) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n1"}, "spec": {}}
    await cluster.client.create(LEASES, "default", lease)
    with pytest.raises(ApiError):
        await cluster.client.get(NODES, None, "n1")

"""Jobs, DaemonSets and StatefulSets against the real API server, with a kubelet that only pretends to run pods."""

from __future__ import annotations

from tests.integration.workload_bodies import template, workload

from pullet.base.jsonvalue import JsonObject
from pullet.kube.meta import name_of
from pullet.kube.scheme import CONTROLLERREVISIONS, DAEMONSETS, JOBS, PODS, STATEFULSETS
from pullet.testing.control_plane import ControlPlane


async def test_a_job_counts_its_pods_and_ends(cluster: ControlPlane) -> None:
    await cluster.add_node()
    cluster.kubelet.outcome = lambda pod: "Succeeded"
    spec = {"completions": 3, "parallelism": 2, "template": {"spec": template()["spec"] | {"restartPolicy": "Never"}}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}
    await cluster.client.create(JOBS, "default", job)
    done = await cluster.until_status(JOBS, "j", succeeded=3, active=0)
    conditions = {item["type"]: item["reason"] for item in done["status"]["conditions"]}
    assert conditions == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert done["status"]["completionTime"]

    async def is_told() -> bool:
        return "Completed Job completed" in await cluster.events("j")

    await cluster.until("the event", is_told)

    async def is_released() -> bool:
        return all(not pod["metadata"].get("finalizers") for pod in await cluster.pods())

    await cluster.until("the finalizers to be off", is_released)


async def test_a_job_that_fails_too_often_fails(cluster: ControlPlane) -> None:
    await cluster.add_node()
    cluster.kubelet.outcome = lambda pod: "Failed"
    spec = {"backoffLimit": 0, "template": {"spec": template()["spec"] | {"restartPolicy": "Never"}}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}
    await cluster.client.create(JOBS, "default", job)
    done = await cluster.until_status(JOBS, "j", failed=1)
    assert {item["type"] for item in done["status"]["conditions"]} == {"FailureTarget", "Failed"}


async def test_a_job_is_suspended_and_resumed_without_counting_the_pods_it_takes_away(cluster: ControlPlane) -> None:
    await cluster.add_node()
    spec = {"template": {"spec": template()["spec"] | {"restartPolicy": "Never"}}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}
    await cluster.client.create(JOBS, "default", job)
    await cluster.until_status(JOBS, "j", active=1, ready=1)
    await cluster.client.patch(JOBS, "default", "j", {"spec": {"suspend": True}})
    await cluster.until_status(JOBS, "j", active=0, failed=0)
    await cluster.client.patch(JOBS, "default", "j", {"spec": {"suspend": False}})
    resumed = await cluster.until_status(JOBS, "j", active=1, ready=1)
    assert resumed["status"].get("failed", 0) == 0

    async def is_told() -> bool:
        told = [text for text in await cluster.events("j") if "Job" in text]
        return sorted(told) == ["Resumed Job resumed", "Suspended Job suspended"]

    await cluster.until("the events", is_told)


async def test_indexes_fail_for_themselves(cluster: ControlPlane) -> None:
    await cluster.add_node()
    index = "batch.kubernetes.io/job-completion-index"
    cluster.kubelet.outcome = lambda pod: "Failed" if pod["metadata"]["annotations"][index] == "1" else "Succeeded"
    spec: JsonObject = {
        "completions": 3,
        "parallelism": 3,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 0,
        "template": {"spec": template()["spec"] | {"restartPolicy": "Never"}},
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": spec}
    await cluster.client.create(JOBS, "default", job)
    done = await cluster.until_status(JOBS, "j", succeeded=2, failed=1, completedIndexes="0,2", failedIndexes="1")
    assert done["spec"]["backoffLimit"] == 2**31 - 1

    async def is_told() -> bool:
        return "FailedIndexes Job has failed indexes" in await cluster.events("j")

    await cluster.until("the event", is_told)


async def test_daemons_run_on_every_node_and_follow_new_ones(cluster: ControlPlane) -> None:
    await cluster.add_node("n1")
    await cluster.client.create(DAEMONSETS, "default", workload("DaemonSet"))
    await cluster.until_status(DAEMONSETS, "web", numberAvailable=1, desiredNumberScheduled=1)
    await cluster.add_node("n2")
    await cluster.until_status(DAEMONSETS, "web", numberAvailable=2, desiredNumberScheduled=2)
    patch: JsonObject = {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}
    await cluster.client.patch(DAEMONSETS, "default", "web", patch)
    await cluster.until_status(DAEMONSETS, "web", updatedNumberScheduled=2, numberAvailable=2)


async def test_a_daemon_set_goes_back_to_an_earlier_revision(cluster: ControlPlane) -> None:
    await cluster.add_node("n1")
    await cluster.client.create(DAEMONSETS, "default", workload("DaemonSet", template=template("web:1.0")))
    await cluster.until_status(DAEMONSETS, "web", numberAvailable=1, updatedNumberScheduled=1)
    newer: JsonObject = {"spec": {"template": template("web:2.0")}}
    await cluster.client.patch(DAEMONSETS, "default", "web", newer)
    await cluster.until_status(DAEMONSETS, "web", numberAvailable=1, updatedNumberScheduled=1)
    revisions = sorted(
        (await cluster.client.list(CONTROLLERREVISIONS, "default")).items, key=lambda each: each["revision"]
    )
    assert [each["revision"] for each in revisions] == [1, 2]
    # what `kubectl rollout undo` sends: the data of the revision, as a strategic merge patch
    await cluster.client.patch(DAEMONSETS, "default", "web", revisions[0]["data"], kind="strategic")
    await cluster.until_status(DAEMONSETS, "web", numberAvailable=1, updatedNumberScheduled=1)

    async def is_back() -> bool:
        numbers = {each["revision"] for each in (await cluster.client.list(CONTROLLERREVISIONS, "default")).items}
        images = [pod["spec"]["containers"][0]["image"] for pod in await cluster.pods()]
        return numbers == {2, 3} and images == ["web:1.0"]

    await cluster.until("the first revision to be the third", is_back)


async def test_a_surging_daemon_set_is_never_without_a_pod(cluster: ControlPlane) -> None:
    await cluster.add_node("n1")
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    await cluster.client.create(DAEMONSETS, "default", workload("DaemonSet", updateStrategy=strategy))
    before = (await cluster.until_status(DAEMONSETS, "web", numberAvailable=1, updatedNumberScheduled=1))["status"]
    patch: JsonObject = {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}
    await cluster.client.patch(DAEMONSETS, "default", "web", patch)
    after = (await cluster.until_status(DAEMONSETS, "web", numberAvailable=1, updatedNumberScheduled=1))["status"]
    assert after["observedGeneration"] > before["observedGeneration"]

    async def is_told() -> list[str] | None:
        told = [text.partition(" ")[0] for text in await cluster.events("web") if "pod: " in text]
        return told if len(told) == 3 else None

    wanted = ["SuccessfulCreate", "SuccessfulCreate", "SuccessfulDelete"]
    assert await cluster.until("the events", is_told) == wanted


async def test_a_stateful_set_grows_in_order_and_updates_backwards(cluster: ControlPlane) -> None:
    await cluster.add_node()
    await cluster.client.create(STATEFULSETS, "default", workload("StatefulSet", replicas=3, serviceName="web"))
    await cluster.until_status(STATEFULSETS, "web", readyReplicas=3, updatedReplicas=3)
    pods = sorted(await cluster.pods(), key=lambda pod: int(pod["metadata"]["resourceVersion"]))
    assert {name_of(pod) for pod in pods} == {"web-0", "web-1", "web-2"}
    patch: JsonObject = {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}
    await cluster.client.patch(STATEFULSETS, "default", "web", patch)
    done = await cluster.until_status(STATEFULSETS, "web", readyReplicas=3, updatedReplicas=3, currentReplicas=3)
    assert done["status"]["currentRevision"] == done["status"]["updateRevision"]

    async def is_told() -> list[str] | None:
        told = [event for event in await cluster.events("web") if event.startswith("SuccessfulDelete")]
        return told if len(told) == 3 else None

    assert [text.split()[3] for text in await cluster.until("the events", is_told)] == ["web-2", "web-1", "web-0"]


async def test_a_pod_made_while_its_job_went_is_let_go(cluster: ControlPlane) -> None:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "gone", "uid": "no-more", "controller": True}
    meta = {"name": "late", "ownerReferences": [owner], "finalizers": ["batch.kubernetes.io/job-tracking"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    await cluster.client.create(PODS, "default", pod)

    async def is_gone() -> bool:
        return not await cluster.pods()

    await cluster.until("the pod to be gone", is_gone)


async def test_a_deleted_job_leaves_its_pods_behind_unless_told_otherwise(cluster: ControlPlane) -> None:
    await cluster.add_node()
    spec = {"template": {"spec": template()["spec"] | {"restartPolicy": "Never"}}}
    for name in ("kept", "cleared"):
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
        await cluster.client.create(JOBS, "default", job)
        await cluster.until_status(JOBS, name, active=1, ready=1)
    await cluster.client.delete(JOBS, "default", "kept")
    await cluster.client.delete(JOBS, "default", "cleared", propagation_policy="Background")

    async def is_over() -> JsonObject | None:
        pods = await cluster.pods()
        jobs = (await cluster.client.list(JOBS, "default")).items
        return pods[0] if len(pods) == 1 and not jobs and not pods[0]["metadata"].get("finalizers") else None

    left = await cluster.until("one job's pods to be on their own, the other's gone", is_over)
    assert left["metadata"]["labels"]["job-name"] == "kept"
    assert "ownerReferences" not in left["metadata"]
    assert "deletionTimestamp" not in left["metadata"]


async def test_what_a_job_left_behind_is_let_go_also_when_nobody_saw_it_go(cluster: ControlPlane) -> None:
    labels = {"batch.kubernetes.io/job-name": "gone", "batch.kubernetes.io/controller-uid": "no-more"}
    meta = {"name": "left", "labels": labels, "finalizers": ["batch.kubernetes.io/job-tracking"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}
    await cluster.client.create(PODS, "default", pod)

    async def is_free() -> bool:
        return not (await cluster.pods())[0]["metadata"].get("finalizers")

    await cluster.until("the finalizer to be off", is_free)

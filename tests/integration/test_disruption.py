"""Evictions under a PodDisruptionBudget, with the real API server and controllers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pullet.base.jsonvalue import JsonObject
from pullet.kube.meta import name_of
from pullet.kube.scheme import DEPLOYMENTS, PODDISRUPTIONBUDGETS, PODS
from pullet.kube.status import TooManyRequestsError
from pullet.testing.control_plane import ControlPlane, running_control_plane

LABELS = {"app": "web"}


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with running_control_plane(tmp_path) as started:
        yield started


async def evict(cluster: ControlPlane, name: str) -> None:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "default"}}
    await cluster.client.create(PODS, "default", body, subresource="eviction", name=name)


async def test_one_pod_goes_at_a_time(cluster: ControlPlane) -> None:
    await cluster.add_node()
    spec: JsonObject = {"containers": [{"name": "web", "image": "web:1.0"}]}
    workload = {"replicas": 2, "selector": {"matchLabels": LABELS}, "template": {"metadata": {"labels": LABELS}}}
    workload["template"] = {"metadata": {"labels": LABELS}, "spec": spec}
    await cluster.client.create(
        DEPLOYMENTS, "default",
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": workload},
    )  # fmt: skip
    await cluster.until_status(DEPLOYMENTS, "web", availableReplicas=2)
    budget = {"selector": {"matchLabels": LABELS}, "maxUnavailable": 1}
    await cluster.client.create(
        PODDISRUPTIONBUDGETS, "default",
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": budget},
    )  # fmt: skip
    await cluster.until_status(
        PODDISRUPTIONBUDGETS, "b", disruptionsAllowed=1, currentHealthy=2, desiredHealthy=1, expectedPods=2
    )
    cluster.kubelet.outcome = lambda pod: "Pending"  # whoever comes now does not get ready
    first, second = [name_of(pod) for pod in await cluster.pods()]
    await evict(cluster, first)
    with pytest.raises(TooManyRequestsError) as refused:
        await evict(cluster, second)
    assert refused.value.message == "Cannot evict pod as it would violate the pod's disruption budget."
    await cluster.until_status(PODDISRUPTIONBUDGETS, "b", disruptionsAllowed=0, currentHealthy=1)
    with pytest.raises(TooManyRequestsError) as refused:
        await evict(cluster, second)
    (cause,) = refused.value.causes
    assert cause == {
        "reason": "DisruptionBudget",
        "message": "The disruption budget b needs 1 healthy pods and has 1 currently",
    }
    assert second in [name_of(pod) for pod in await cluster.pods()]

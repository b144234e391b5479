"""Whom a node under pressure ends first, what it says, and whom it does not take."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.policy.pods import container

from pullet.kube.pod import PodView, parse_pod
from pullet.policy.eviction import EvictionSignal, Observation, parse_thresholds
from pullet.policy.pod_eviction import (
    ContainerUse,
    DiskUse,
    PodUse,
    eviction_message,
    eviction_order,
    is_critical,
    refusal,
)

MIB = 1 << 20
DISK, MEMORY, INODES = (
    EvictionSignal.NODEFS_AVAILABLE,
    EvictionSignal.MEMORY_AVAILABLE,
    EvictionSignal.NODEFS_INODES_FREE,
)


def pod(
    name: str, request: dict[str, str] | None = None, *, annotations: dict[str, str] | None = None, **spec: Any
) -> PodView:
    metadata = {"name": name, "namespace": "ns", "uid": name, "annotations": annotations or {}}
    body = {"containers": [container("c", resources={"requests": request or {}})], **spec}
    return parse_pod({"metadata": metadata, "spec": body, "status": {}})


def use(*, root: int = 0, logs: int = 0, volumes: int = 0, memory: int = 0, inodes: int = 0) -> PodUse:
    one = ContainerUse(rootfs=DiskUse(root * MIB, inodes), logs=DiskUse(logs * MIB), memory_bytes=memory * MIB)
    return PodUse(containers={"c": one}, volumes=DiskUse(volumes * MIB))


def order(signal: EvictionSignal, *pods: tuple[PodView, PodUse], own_imagefs: bool = False) -> list[str]:
    return [pod.name for pod, _ in eviction_order(pods, signal, has_own_imagefs=own_imagefs)]


class TestOrder:
    def test_who_is_above_its_request_goes_before_who_keeps_to_it_whatever_the_priority(self) -> None:
        modest = pod("modest", {"ephemeral-storage": "900Mi"}), use(root=800)
        greedy = pod("greedy", {"ephemeral-storage": "10Mi"}, priority=1000), use(root=20)
        assert order(DISK, modest, greedy) == ["greedy", "modest"]

    def test_then_the_lower_priority_goes_then_who_is_further_above(self) -> None:
        pods = (
            (pod("important", priority=10), use(root=500)),
            (pod("little"), use(root=1)),
            (pod("much"), use(root=100)),
            (pod("asked", {"ephemeral-storage": "150Mi"}), use(root=160)),
        )
        assert order(DISK, *pods) == ["much", "asked", "little", "important"]

    def test_memory_is_compared_with_the_request_for_memory(self) -> None:
        pods = (
            (pod("big", {"memory": "600Mi"}), use(memory=610, root=900)),
            (pod("small", {"memory": "10Mi"}), use(memory=50)),
        )
        assert order(MEMORY, *pods) == ["small", "big"]

    def test_the_hungriest_moment_of_initialisation_counts_as_the_request(self) -> None:
        first = [container("i", resources={"requests": {"memory": "1Gi"}})]
        pods = ((pod("a", initContainers=first), use(memory=500)), (pod("b"), use(memory=5)))
        assert order(MEMORY, *pods) == ["b", "a"]

    def test_inodes(self) -> None:
        pods = (pod("bytes"), use(root=900, inodes=3)), (pod("files"), use(root=1, inodes=4000))
        assert order(INODES, *pods) == ["files", "bytes"]

    @pytest.mark.parametrize(
        ("signal", "first"), [(EvictionSignal.IMAGEFS_AVAILABLE, "layer"), (EvictionSignal.NODEFS_AVAILABLE, "volume")]
    )
    def test_with_a_file_system_of_their_own_only_what_lies_there_counts(
        self, signal: EvictionSignal, first: str
    ) -> None:
        pods = (pod("layer"), use(root=50, logs=1)), (pod("volume"), use(root=1, logs=20, volumes=20))
        assert order(signal, *pods, own_imagefs=True)[0] == first
        assert order(signal, *pods)[0] == "layer"


class TestMessage:
    def test_disk(self) -> None:
        thresholds = parse_thresholds({"nodefs.available": "10%", "imagefs.available": "15%"})
        observations = {
            DISK: Observation(3 << 30, 41506865152),
            EvictionSignal.IMAGEFS_AVAILABLE: Observation(3 << 30, 41506865152),
        }
        greedy = pod("greedy", {"ephemeral-storage": "10Mi"})
        # 10% in single precision, as the kubelet has it
        assert eviction_message(greedy, use(root=20, logs=4), DISK, thresholds, observations) == (
            "The node was low on resource: ephemeral-storage. Threshold quantity: 4150686577, available: 3Gi. "
            "Container c was using 24Mi, request is 10Mi, has larger consumption of ephemeral-storage. "
        )

    def test_a_container_within_its_request_is_not_named(self) -> None:
        thresholds = parse_thresholds({"memory.available": "100Mi"})
        observations = {MEMORY: Observation(50000, 1 << 30)}
        modest = pod("modest", {"memory": "1Gi"})
        assert eviction_message(modest, use(memory=20), MEMORY, thresholds, observations) == (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50000. "
        )
        assert eviction_message(pod("p"), use(memory=20), MEMORY, thresholds, observations).endswith(
            "Container c was using 20Mi, request is 0, has larger consumption of memory. "
        )

    def test_inodes_are_numbers(self) -> None:
        thresholds = parse_thresholds({"nodefs.inodesFree": "5%"})
        text = eviction_message(pod("p"), use(inodes=9), INODES, thresholds, {INODES: Observation(1000, 100000)})
        assert text == "The node was low on resource: inodes. Threshold quantity: 5000, available: 1k. "


class TestCritical:
    @pytest.mark.parametrize(
        ("view", "expected"),
        [
            (pod("p"), False),
            (pod("p", priority=1_000_000_000), False),
            (pod("p", priority=2_000_000_000), True),
            (pod("p", annotations={"kubernetes.io/config.source": "file"}), True),
            (pod("p", annotations={"kubernetes.io/config.source": "api"}), False),
        ],
    )
    def test_static_pods_and_system_priorities(self, view: PodView, expected: bool) -> None:
        assert is_critical(view) is expected
        assert (refusal(view, ["DiskPressure"]) == "") is expected


class TestRefusal:
    def test_without_pressure_everybody_is_taken(self) -> None:
        assert refusal(pod("p"), []) == ""

    def test_under_disk_pressure_nobody_is(self) -> None:
        assert refusal(pod("p", {"memory": "1Mi"}), ["DiskPressure"]) == "The node had condition: [DiskPressure]. "
        both = ["DiskPressure", "MemoryPressure"]
        assert refusal(pod("p", {"memory": "1Mi"}), both) == "The node had condition: [DiskPressure MemoryPressure]. "

    def test_under_memory_pressure_those_who_asked_for_memory_or_tolerate_it_are(self) -> None:
        pressed = ["MemoryPressure"]
        assert refusal(pod("p"), pressed) == "The node had condition: [MemoryPressure]. "
        assert refusal(pod("p", {"memory": "1Mi"}), pressed) == ""
        toleration = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists"}
        assert refusal(pod("p", tolerations=[toleration]), pressed) == ""

"""Whether a pod has started, read from its status."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.cli.verdict import Verdict, verdict_of


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "status": status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}, "started": False}]}


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing", "ErrImagePull"])
def test_what_may_still_become_something_has_no_verdict(reason: str) -> None:
    assert verdict_of(pod(phase="Pending", **waiting(reason))) is None


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CrashLoopBackOff"])
def test_what_needs_somebody_to_change_something_cannot_start(reason: str) -> None:
    assert verdict_of(pod(phase="Pending", **waiting(reason, "because"))) == Verdict("web", reason, "because")


def test_running_means_every_container_has_started() -> None:
    started: dict[str, Any] = {"state": {"running": {}}, "started": True}
    assert verdict_of(pod(phase="Running", containerStatuses=[started])) == Verdict("web", "Running")
    assert verdict_of(pod(phase="Running", containerStatuses=[started, {**started, "started": False}])) is None


def test_a_failing_init_container_counts() -> None:
    status = {"initContainerStatuses": waiting("ImagePullBackOff", "x")["containerStatuses"], "containerStatuses": []}
    assert verdict_of(pod(phase="Pending", **status)) == Verdict("web", "ImagePullBackOff", "x")


def test_ends() -> None:
    assert verdict_of(pod(phase="Succeeded")) == Verdict("web", "Completed")
    assert verdict_of(pod(phase="Failed", reason="Evicted")) == Verdict("web", "Failed", "Evicted")
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}
    assert verdict_of(pod(phase="Pending", conditions=[condition])) == Verdict(
        "web", "Unschedulable", "0/1 nodes are available"
    )

"""Quality-of-service classes."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.policy.pods import container, make_pod

from pullet.policy.qos import compute_qos

BOTH = {"cpu": "500m", "memory": "64Mi"}


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ([{}], "BestEffort"),
        ([{"limits": BOTH}], "Guaranteed"),
        ([{"limits": BOTH, "requests": {"cpu": "0.5", "memory": "65536Ki"}}], "Guaranteed"),
        ([{"limits": BOTH, "requests": {"cpu": "250m"}}], "Burstable"),
        ([{"limits": {"cpu": 1}}], "Burstable"),
        ([{"requests": BOTH}], "Burstable"),
        ([{"limits": BOTH}, {}], "Burstable"),
        ([{"limits": {"example.com/gpu": 1}}], "BestEffort"),
        ([{"requests": {"cpu": "0"}}], "BestEffort"),
    ],
)
def test_classes(resources: list[dict[str, Any]], wanted: str) -> None:
    pod = make_pod(*(container(f"c{n}", resources=each) for n, each in enumerate(resources)))
    assert compute_qos(pod) == wanted


def test_init_containers_count_and_pod_resources_decide_alone() -> None:
    assert compute_qos(make_pod(container("c", resources={"limits": BOTH}), init=(container("i"),))) == "Burstable"
    assert compute_qos(make_pod(container("c"), resources={"limits": BOTH})) == "Guaranteed"

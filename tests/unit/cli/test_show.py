"""Sizes and tables, as people read them; the demonstration's cases."""

from __future__ import annotations

import pytest

from pullet.cli.demo_cases import CASES, pod_manifest
from pullet.cli.progress import layer_lines
from pullet.cli.run import set_pull_policy
from pullet.cli.show import human_size, table
from pullet.oci.reference import parse_image_name
from pullet.policy.image_pull import default_pull_policy


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (135_254_639, "135MB"), (5e12, "5TB")]
)
def test_sizes_are_decimal_with_three_digits(size: float, text: str) -> None:
    assert human_size(size) == text


def test_columns_are_aligned_without_trailing_spaces() -> None:
    assert table(("NAME", "SIZE"), [("a", "1"), ("longer", "")]) == "NAME     SIZE\na        1\nlonger"


def test_a_layer_under_way_has_a_bar() -> None:
    layer = {"digest": f"sha256:{'a' * 64}", "phase": "Downloading", "done_bytes": 50, "total_bytes": 100}
    assert layer_lines([layer]) == ["aaaaaaaaaaaa: Downloading [===============>              ]     50B/100B"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.pod)
def test_the_cases_say_what_their_manifests_mean(case: object) -> None:
    assert isinstance(case, type(CASES[0]))
    (container,) = pod_manifest(case)["spec"]["containers"]
    assert container["image"] == case.image
    parse_image_name(case.image)
    assert (container.get("imagePullPolicy") or default_pull_policy(case.image)) == case.policy


def test_a_policy_is_written_into_every_container() -> None:
    pod = {"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "b", "imagePullPolicy": "Always"}]}}
    set_pull_policy(pod, "Never")
    policies = [c["imagePullPolicy"] for group in ("containers", "initContainers") for c in pod["spec"][group]]
    assert policies == ["Never", "Never"]

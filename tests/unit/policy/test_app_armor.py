"""AppArmor profiles are not applied, so whoever wants one is told."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.kube.pod import parse_pod
from pullet.policy.app_armor import unenforced_app_armor

REFUSED = "Cannot enforce AppArmor: this node applies no profiles"


@pytest.mark.parametrize(
    ("of_pod", "of_container", "text"),
    [
        ({}, {}, ""),
        ({"appArmorProfile": {"type": "Unconfined"}}, {}, ""),
        ({"appArmorProfile": {"type": "RuntimeDefault"}}, {}, REFUSED),
        ({}, {"appArmorProfile": {"type": "Localhost", "localhostProfile": "mine"}}, REFUSED),
    ],
)
def test_who_is_refused(of_pod: dict[str, Any], of_container: dict[str, Any], text: str) -> None:
    container = {"name": "c", "image": "i", "securityContext": of_container}
    pod = parse_pod({"metadata": {"name": "p"}, "spec": {"containers": [container], "securityContext": of_pod}})
    assert unenforced_app_armor(pod) == text

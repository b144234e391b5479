"""The five cases of the demonstration, twice: what a user writes, and what the policy makes of it."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

from pullet.base.values import Value


class Case(Value):
    """One pod manifest of `demo_pods/`. `policy` is the one in force after defaulting."""

    pod: str
    family: str
    image: str
    policy: str
    title: str


def _family(name: str, tag: str, never_tag: str) -> tuple[Case, ...]:
    return (
        Case(f"{name}-latest", name, f"{name}:latest", "Always", f"{name}:latest, no policy → Always"),
        Case(f"{name}-tag", name, f"{name}:{tag}", "IfNotPresent", f"{name}:{tag}, no policy → IfNotPresent"),
        Case(f"{name}-always", name, f"{name}:{tag}", "Always", f"{name}:{tag}, imagePullPolicy: Always"),
        Case(
            f"{name}-ifnotpresent",
            name,
            f"{name}:{tag}",
            "IfNotPresent",
            f"{name}:{tag}, imagePullPolicy: IfNotPresent",
        ),
        Case(f"{name}-never", name, f"{name}:{never_tag}", "Never", f"{name}:{never_tag}, imagePullPolicy: Never"),
    )


CASES = (*_family("nginx", "1.17.1", "1.17.5"), *_family("tomcat", "8.0", "8.5"))


def pod_manifest(case: Case) -> dict[str, Any]:
    """The manifest as a user would write it."""
    text = (files("pullet.cli") / "demo_pods" / f"{case.pod}.yaml").read_text()
    body = yaml.safe_load(text)
    assert isinstance(body, dict)
    return body

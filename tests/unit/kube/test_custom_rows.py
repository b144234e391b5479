"""Definitions as rows of the resource table."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.custom_kind import ScalePaths
from pullet.kube.custom_rows import custom_rows, version_rank

NAMES = {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabs", "shortNames": ["ct"]}


def definition(*versions: dict[str, Any], **conditions: str) -> dict[str, Any]:
    held = {"Established": "True", **conditions}
    return {
        "metadata": {"name": "crontabs.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": NAMES, "versions": list(versions)},
        "status": {"acceptedNames": NAMES, "conditions": [{"type": kind, "status": it} for kind, it in held.items()]},
    }


def test_versions_sort_as_discovery_prefers_them() -> None:
    order = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    assert sorted(sorted(order), key=version_rank) == order


@given(st.lists(st.from_regex(r"v[1-9]((alpha|beta)[1-9])?|[a-z]{1,3}", fullmatch=True), unique=True))
def test_ranks_tell_versions_apart(versions: list[str]) -> None:
    assert len({version_rank(each) for each in versions}) == len(versions)


def test_each_served_version_is_a_row_and_the_first_stands_for_the_kind() -> None:
    parts = {"status": {}, "scale": {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}}
    old = {"name": "v1alpha1", "served": True, "storage": True}
    unserved = {"name": "v2", "served": False}
    stable = {"name": "v1", "served": True, "subresources": parts}
    first, second = custom_rows(definition(old, unserved, stable))
    assert (first.version, second.version) == ("v1", "v1alpha1")
    assert first.storage_key == second.storage_key == "example.com/crontabs"
    assert (bool(first.storage), bool(second.storage)) == (False, True)
    assert (first.has_status, second.has_status) == (True, False)
    assert first.custom is not None
    assert first.custom.storage_api_version == "example.com/v1alpha1"
    assert first.custom.scale == ScalePaths(".spec.n", ".status.n")
    assert [sub.name for sub in first.subresources] == ["scale", "status"]
    assert first.list_kind == "CronTabs"


def test_a_status_that_says_too_little_breaks_nothing() -> None:
    mine = definition({"name": "v1", "served": True, "storage": True})
    mine["status"]["acceptedNames"] = {}
    [row] = custom_rows(mine)
    assert (row.plural, row.list_kind, row.short_names) == ("crontabs", "CronTabs", ())


def test_a_built_in_kind_stays_what_it_is() -> None:
    mine = definition({"name": "v7", "served": True, "storage": True})
    mine["spec"] |= {"group": "coordination.k8s.io", "names": {**NAMES, "plural": "leases"}}
    assert custom_rows(mine) == []


def test_a_row_needs_its_definition_established_and_loses_create_at_its_end() -> None:
    version = {"name": "v1", "served": True, "storage": True}
    assert custom_rows(definition(version, Established="False")) == []
    assert "create" in custom_rows(definition(version))[0].verbs
    assert "create" not in custom_rows(definition(version, Terminating="True"))[0].verbs

"""Which names of a definition are accepted."""

from __future__ import annotations

from typing import Any

from pullet.policy.definition_naming import CLEANUP_FINALIZER, end_definition, named_status, with_condition

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"


def definition(name: str, kind: str, *short: str, group: str = "example.com", accepted: bool = False) -> dict[str, Any]:
    names: dict[str, Any] = {"plural": f"{name}s", "singular": name, "kind": kind, "listKind": f"{kind}List"}
    if short:
        names["shortNames"] = list(short)
    status = {"acceptedNames": names} if accepted else {}
    return {"metadata": {"name": f"{name}s.{group}"}, "spec": {"group": group, "names": names}, "status": status}


def conditions(status: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: f"{each['status']} {each['reason']}: {each['message']}" for each in status["conditions"]}


def test_free_names_are_accepted() -> None:
    status = named_status(definition("a", "A", "x"), [], NOW)
    assert status["acceptedNames"] == definition("a", "A", "x")["spec"]["names"]
    assert conditions(status) == {
        "NamesAccepted": "True NoConflicts: no conflicts found",
        "Established": "True InitialNamesAccepted: the initial names have been accepted",
    }


def test_a_name_of_another_definition_in_the_group_is_not() -> None:
    taken = definition("a", "A", "x", accepted=True)
    elsewhere = definition("b", "B", "y", group="other.example.com", accepted=True)
    status = named_status(definition("b", "A", "x", "y"), [taken, elsewhere], NOW)
    assert status["acceptedNames"] == {"plural": "bs", "singular": "b", "kind": ""}
    assert conditions(status) == {
        "NamesAccepted": 'False ListKindConflict: "AList" is already in use',
        "Established": "False NotAccepted: not all names are accepted",
    }
    short = named_status(definition("b", "B", "x", "a"), [taken], NOW)
    text = 'False ShortNamesConflict: ["x" is already in use, "a" is already in use]'
    assert conditions(short)["NamesAccepted"] == text


def test_nothing_is_written_anew_when_nothing_changed() -> None:
    mine = definition("a", "A", "x")
    mine["status"] = named_status(mine, [], NOW)
    assert named_status(mine, [mine], LATER) == mine["status"]
    mine["spec"]["names"]["shortNames"] = ["x", "z"]
    changed = named_status(mine, [mine], LATER)
    assert changed["acceptedNames"]["shortNames"] == ["x", "z"]
    assert {each["lastTransitionTime"] for each in changed["conditions"]} == {NOW}


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    first = with_condition([], "A", ("True", "R", "m"), NOW)
    assert with_condition(first, "A", ("True", "S", "n"), LATER)[0]["lastTransitionTime"] == NOW
    assert with_condition(first, "A", ("False", "S", "n"), LATER)[0]["lastTransitionTime"] == LATER


def test_the_end_is_marked_once() -> None:
    mine = definition("a", "A", accepted=True)
    mine["metadata"]["deletionTimestamp"] = NOW
    end_definition(mine)
    assert mine["metadata"]["finalizers"] == [CLEANUP_FINALIZER]
    mine["metadata"]["finalizers"] = []
    end_definition(mine)
    assert mine["metadata"]["finalizers"] == [], "what was finished does not begin again"

"""Label and field selectors as query strings and objects."""

from __future__ import annotations

import pytest

from pullet.kube.selector import (
    SelectorError,
    label_selector_from,
    parse_field_selector,
    parse_label_selector,
)


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web", {"app": "db"}, False),
        ("app!=web", {}, True),
        ("app in (web, db)", {"app": "db"}, True),
        ("app notin (web,db)", {"app": "db"}, False),
        ("app notin (web)", {}, True),
        ("app", {"app": ""}, True),
        ("!app", {"app": "x"}, False),
        ("a=1,b in (2),!c", {"a": "1", "b": "2"}, True),
        ("a=", {"a": ""}, True),
        ("n>4", {"n": "5"}, True),
        ("n<4", {"n": "x"}, False),
        ("kubernetes.io/metadata.name=x", {"kubernetes.io/metadata.name": "x"}, True),
    ],
)
def test_label_selector(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_label_selector(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["=x", "a=b,", "a in b", "a b", "(x)", "a=b=c"])
def test_what_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_label_selector(text)


def test_an_absent_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not label_selector_from(None).matches({})
    assert label_selector_from({}).matches({"a": "b"})


def test_expressions_and_labels_must_all_match() -> None:
    selector = label_selector_from(
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}
    )
    assert selector.matches({"app": "web"})
    assert not selector.matches({"app": "web", "tier": "db"})


def test_field_selector_compares_missing_fields_as_empty() -> None:
    selector = parse_field_selector("spec.nodeName=,status.phase!=Failed,spec.unschedulable=false")
    assert selector.matches({"status": {"phase": "Running"}})
    assert not selector.matches({"spec": {"nodeName": "n1"}})


def test_field_selector_escapes_and_unknown_fields() -> None:
    selector = parse_field_selector(r"metadata.name=a\,b\=c")
    assert selector.equal("metadata.name") == "a,b=c"
    with pytest.raises(SelectorError, match=r"^field label not supported: spec\.foo$"):
        parse_field_selector("spec.foo=x").check(("spec.nodeName",))
    with pytest.raises(SelectorError):
        parse_field_selector("nonsense")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("==", "found '==', expected: !, identifier, or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b', expected: '('"),
    ],
)
def test_what_is_no_selector_is_refused_in_the_parsers_words(text: str, complaint: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_label_selector(text)
    assert str(caught.value) == complaint

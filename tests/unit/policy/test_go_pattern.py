"""Go's regular expressions as Python's."""

from __future__ import annotations

import re

import pytest

from pullet.policy.go_pattern import go_pattern


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("^a$", "a", "a\n"),
        (r"a\z", "a", "a\n"),
        (r"^\$$", "$", "a"),
        ("^[$]+$", "$$", "a"),
        ("^[[:alpha:]]+$", "ab", "a1"),
        ("^[^[:digit:]_]+$", "ab", "a1"),
        ("^[[]$", "[", "a"),
        (r"^[]a\]]+$", "a]", "b"),
        (r"^\d$", "1", "٣"),
        (r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$", "* * * * */5", "* * * *"),
        ("b", "abc", "acd"),
        ("(?i)^B$", "b", "c"),
    ],
)
def test_it_fits_what_go_would(pattern: str, fits: str, does_not: str) -> None:
    assert go_pattern(pattern).search(fits)
    assert not go_pattern(pattern).search(does_not)


@pytest.mark.parametrize("pattern", ["(", "[", "a{2,1}", "*"])
def test_what_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(re.error):
        go_pattern(pattern)

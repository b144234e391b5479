"""Quantities: exact values, canonical spelling."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullet.kube.quantity import canonical_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("100M", "100M"),
        ("0.1", "100m"),
        ("2e3", "2e3"),
        ("1500", "1500"),
        ("1000000", "1M"),
        ("0", "0"),
        ("512Ki", "512Ki"),
        ("100n", "100n"),
        (2, "2"),
    ],
)
def test_canonical_form(text: str | int, canonical: str) -> None:
    assert canonical_quantity(text) == canonical


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1 Gi", "1gi", "--1", "1e99999", "Gi"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        parse_quantity(text)


@given(st.integers(-(2**62), 2**62), st.sampled_from(["", "m", "k", "M", "Ki", "Mi"]))
def test_spelling_keeps_the_value(number: int, suffix: str) -> None:
    quantity = parse_quantity(f"{number}{suffix}")
    assert parse_quantity(str(quantity)).value == quantity.value


def test_arithmetic_is_exact() -> None:
    assert (parse_quantity("0.1") + parse_quantity("0.2")).value == Decimal("0.3")
    assert str(parse_quantity("1Gi") - parse_quantity("512Mi")) == "512Mi"
    assert parse_quantity("1500m").units == 2

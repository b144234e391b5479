"""resource.Quantity: exact arithmetic and the canonical form.

Source: apimachinery pkg/api/resource/quantity.go, suffix.go.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal
from typing import Literal

from pullet.base.values import Value

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_SUFFIX_OF = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_SYNTAX = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?|[eE][+-]?\d+)")
_EXACT = Context(prec=60)
_LIMIT = Decimal(2**63 - 1)

QUANTITY_TEXT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


class Quantity(Value):
    """An exact amount and the family of suffixes it is written with."""

    value: Decimal
    format: Format = "DecimalSI"

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(_EXACT.add(self.value, other.value), self.format if self.value else other.format)

    def __sub__(self, other: Quantity) -> Quantity:
        return Quantity(_EXACT.subtract(self.value, other.value), self.format if self.value else other.format)

    def __lt__(self, other: Quantity) -> bool:
        return self.value < other.value

    def __le__(self, other: Quantity) -> bool:
        return self.value <= other.value

    def __bool__(self) -> bool:
        return bool(self.value)

    @property
    def units(self) -> int:
        """Whole units, rounded up (away from zero, as the API does)."""
        return int(self.value.to_integral_value(ROUND_CEILING if self.value >= 0 else ROUND_UP))

    @property
    def milli_units(self) -> int:
        """Thousandths, rounded up."""
        return int((self.value * 1000).to_integral_value(ROUND_CEILING))

    def __str__(self) -> str:
        if not self.value:
            return "0"
        if self.format == "BinarySI" and abs(self.value) >= 1024 and self.value == self.value.to_integral_value():
            return _binary(int(self.value))
        nano = self.value.scaleb(9).to_integral_value(ROUND_UP)
        mantissa, exponent = int(nano), -9
        while mantissa % 10 == 0:
            mantissa, exponent = mantissa // 10, exponent + 1
        while exponent % 3:
            mantissa, exponent = mantissa * 10, exponent - 1
        while exponent > 18:
            mantissa, exponent = mantissa * 1000, exponent - 3
        if self.format == "DecimalExponent":
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_SUFFIX_OF[exponent]}"


def _binary(value: int) -> str:
    power = 0
    while value % 1024 == 0 and power < 6:
        value //= 1024
        power += 1
    return f"{value}{next((suffix for suffix, exponent in _BINARY.items() if exponent == power), '')}"


def parse_quantity(text: str | int | float) -> Quantity:
    """`100m`, `1.5Gi`, `2e3`, or a JSON number.

    Raises:
        ValueError: not a quantity; the text is the API's.
    """
    match = _SYNTAX.fullmatch(str(text))
    if match is None:
        raise ValueError(QUANTITY_TEXT)
    sign, digits, suffix = match.groups()
    number = Decimal(f"{sign}{digits}")
    if suffix in _BINARY:
        result = Quantity(_EXACT.multiply(number, Decimal(1024 ** _BINARY[suffix])), "BinarySI")
    elif suffix in _DECIMAL:
        result = Quantity(number.scaleb(_DECIMAL[suffix], _EXACT), "DecimalSI")
    else:
        exponent = int(suffix[1:])
        if abs(exponent) > 40:
            raise ValueError(QUANTITY_TEXT)
        result = Quantity(number.scaleb(exponent, _EXACT), "DecimalExponent")
    if abs(result.value) > _LIMIT:
        return Quantity(_LIMIT.copy_sign(result.value), result.format)
    return result


def canonical_quantity(text: str | int | float) -> str:
    """The form the API stores: `0.5` → `500m`, `1024Mi` → `1Gi`."""
    return str(parse_quantity(text))

"""String formats of OpenAPI schemas: which there are, and whether a text has one.

Source: kube-openapi pkg/validation/strfmt, apiextensions-apiserver pkg/apiserver/validation/formats.go.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime

from pullet.kube.meta import dns_label_problems, dns_subdomain_problems

_HEX = "[0-9a-fA-F]"
_UUID = re.compile(rf"{_HEX}{{8}}-?{_HEX}{{4}}-?({_HEX}){_HEX}{{3}}-?([0-9a-fA-F]){_HEX}{{3}}-?{_HEX}{{12}}")
_HOSTNAME = re.compile(
    r"(?=.{1,255}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)*\.?"
)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:?\d\d)?")
_DURATION = re.compile(
    r"[-+]?(\d+(\.\d*)?(ns|us|µs|μs|ms|s|m|h))+|0|\d+\s*(ns|us|µs|ms|s|m|h|d|w|"
    r"nanos?|micros?|millis?|milliseconds?|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|wks?|weeks?)"
)
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*|/\S*")


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _matches(pattern: str | re.Pattern[str]) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _uuid(version: str) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        match = _UUID.fullmatch(text)
        return match is not None and (not version or match[1] == version)

    return check


def _cidr(text: str) -> object:
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def _date_time(text: str) -> bool:
    return _DATE_TIME.fullmatch(text) is not None and _parses(datetime.fromisoformat)(text[:19].replace(" ", "T"))


_ANYTHING: Callable[[str], bool] = lambda text: True  # noqa: E731 - a row of the table below
FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(f"{_HEX}{{24}}"),
    "byte": _parses(lambda text: base64.b64decode(text, validate=True)),
    "cidr": _parses(_cidr),
    "creditcard": _matches(r"\d{13,19}"),
    "date": _parses(date.fromisoformat),
    "date-time": _date_time,
    "datetime": _date_time,
    "duration": lambda text: _DURATION.fullmatch(text) is not None,
    "email": _matches(_EMAIL),
    "hexcolor": _matches(f"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "hostname": _matches(_HOSTNAME),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "isbn": _matches(r"(?:\d[- ]?){9}[\dX]|(?:\d[- ]?){13}"),
    "isbn10": _matches(r"(?:\d[- ]?){9}[\dX]"),
    "isbn13": _matches(r"(?:\d[- ]?){13}"),
    "k8s-long-name": lambda text: not dns_subdomain_problems(text),
    "k8s-short-name": lambda text: not dns_label_problems(text),
    "mac": _matches(rf"{_HEX}{{2}}([:-]{_HEX}{{2}}){{5}}([:-]{_HEX}{{2}}){{0,2}}"),
    "password": _ANYTHING,
    "rgbcolor": _matches(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _matches(_URI),
    "uuid": _uuid(""),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
}
INTEGER_BOUNDS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
RECOGNIZED = frozenset({*FORMATS, *INTEGER_BOUNDS, "float", "double"})


def has_format(text: str, name: str) -> bool:
    """Whether the text has the format; every text has one that is not known."""
    check = FORMATS.get(name)
    return check is None or check(text)

r"""Regular expressions of Go (RE2) as Python's, for what schemas use of them.

Alike but for a few spellings: `$` is the very end of a text in Go, `\z` is Python's `\Z`, POSIX classes stand inside
brackets, and Perl classes like `\d` are ASCII.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\$", re.DOTALL)
_POSIX = re.compile(r"\[:(\w+):\]|\\.|\[", re.DOTALL)
_CLASSES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "ascii": r"\x00-\x7f", "blank": r"\t ", "digit": "0-9", "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~", "space": r"\s", "upper": "A-Z", "word": r"\w", "xdigit": "0-9A-Fa-f",
}  # fmt: skip


@lru_cache(maxsize=2_000)
def go_pattern(pattern: str) -> re.Pattern[str]:
    """The expression, compiled.

    Raises:
        re.error: it is none.
    """
    return re.compile(_TOKEN.sub(_translated, pattern), re.ASCII)


def _translated(match: re.Match[str]) -> str:
    token = match[0]
    if token in ("$", r"\z"):
        return r"\Z"
    return token[0] + _POSIX.sub(_inside, token[1:]) if token[0] == "[" else token


def _inside(match: re.Match[str]) -> str:
    if match[1]:
        return _CLASSES.get(match[1], match[0])
    return r"\[" if match[0] == "[" else match[0]

from __future__ import annotations

import pytest

from pullet.base.quote import go_quote


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("nginx", '"nginx"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("a\nb\tc\x00\x7f", '"a\\nb\\tc\\x00\\x7f"'),
        ("ä – ☃", '"ä – ☃"'),
        ("\u200b\U000e0001", '"\\u200b\\U000e0001"'),
    ],
)
def test_as_go_prints_it(text: str, quoted: str) -> None:
    assert go_quote(text) == quoted

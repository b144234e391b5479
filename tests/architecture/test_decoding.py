"""Whatever is decoded into a type of ours may be decoded in several threads at once; see `pullet.base.decodable`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.architecture.source_tree import SOURCE, dotted, modules

DECODERS = {"msgspec.json.decode", "msgspec.msgpack.decode", "msgspec.json.Decoder", "msgspec.convert"}
SHARES_NOTHING = {"dict", "list", "tuple", "str", "int", "float", "bool", "bytes", "object", "Any"}


def _unguarded(text: str) -> list[str]:
    """Calls that decode into a type that is neither `decodable(…)` nor made of built-in types."""
    found = []
    for call in ast.walk(ast.parse(text)):
        if isinstance(call, ast.Call) and (name := ast.unparse(call.func)) in DECODERS:
            position = {"msgspec.json.Decoder": 0, "msgspec.convert": 1}.get(name, 9)
            kinds = [*call.args[position : position + 1], *(word.value for word in call.keywords if word.arg == "type")]
            found += [ast.unparse(call) for kind in kinds if not _is_guarded(kind)]
    return found


def _is_guarded(kind: ast.expr) -> bool:
    if isinstance(kind, ast.Call):
        return ast.unparse(kind.func) == "decodable"
    return {node.id for node in ast.walk(kind) if isinstance(node, ast.Name)} <= SHARES_NOTHING


@pytest.mark.parametrize("module", [one for one in modules() if one != SOURCE / "base" / "decodable.py"], ids=dotted)
def test_a_type_is_known_before_it_is_decoded_into(module: Path) -> None:
    text = module.read_text()
    assert _unguarded(text) == []
    assert "from msgspec import" not in text, "the calls are told by their names"


@pytest.mark.parametrize(
    "call",
    [
        "msgspec.json.decode(raw, type=Index)",
        "msgspec.convert(raw, Index)",
        "msgspec.convert(raw, dict[str, Index])",
        "msgspec.json.Decoder(Index)",
    ],
)
def test_the_rule_sees(call: str) -> None:
    assert _unguarded(call) == [call]

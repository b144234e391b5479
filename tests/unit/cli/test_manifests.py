"""Manifests as users write them, and the words for what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pullet.base.errors import UsageError
from pullet.cli.manifests import load_manifests

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers: []\n"


def write(directory: Path, text: str, name: str = "pod.yaml") -> str:
    path = directory / name
    path.write_text(text)
    return str(path)


def test_documents_lists_and_directories(tmp_path: Path) -> None:
    write(tmp_path, f"{POD}---\n---\n{POD.replace('web', 'db')}")
    write(
        tmp_path,
        '{"apiVersion": "v1", "kind": "List", "items": ['
        + '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}]}',
        "z.json",
    )
    (tmp_path / "notes.txt").write_text("not a manifest")
    assert [manifest.name for manifest in load_manifests([str(tmp_path)])] == ["web", "db", "x"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: [1\nb: 2", "pod.yaml:2: not valid YAML: expected ',' or ']', but got ':'"),
        (f"{POD}---\nkind: Pod\nmetadata: {{}}\n", "pod.yaml:8: `apiVersion` is missing"),
        ("apiVersion: v1\nkind: Pood\nmetadata: {}\n", 'pod.yaml:1: no matches for kind "Pood" in version "v1"'),
        ("- a\n- b\n", "pod.yaml:1: this is a list, not a Kubernetes object"),
        ("apiVersion: v1\nkind: Pod\n", "pod.yaml:1: `metadata` is missing"),
        ("# nothing\n", "no objects found: the files hold no Kubernetes manifest"),
    ],
)
def test_what_is_wrong_and_where(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_manifests([write(tmp_path, text)])
    assert str(raised.value).removeprefix(f"{tmp_path}/") == complaint


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"the path 'nosuch\.yaml' does not exist"):
        load_manifests(["nosuch.yaml"])

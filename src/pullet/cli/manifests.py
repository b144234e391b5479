"""Manifests from files, directories and stdin, with errors that name the file and the line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from pullet.base.errors import UsageError
from pullet.base.values import Value
from pullet.kube.scheme import Resource, resource_of


class Manifest(Value):
    """One object and where it was written."""

    source: str  # file:line
    resource: Resource
    body: dict[str, Any]

    @property
    def name(self) -> str:
        """The object's name; empty when generateName makes one."""
        return str(self.body["metadata"].get("name", ""))


def load_manifests(paths: Iterable[str]) -> list[Manifest]:
    """Every object of the files (`-` = stdin, a directory = its *.yaml, *.yml and *.json), List kinds taken apart.

    Raises:
        UsageError: a file is missing or not YAML, or a document is not an object of a known kind.
    """
    manifests = [manifest for path in paths for source, text in _texts(path) for manifest in _parse(source, text)]
    if not manifests:
        raise UsageError("no objects found: the files hold no Kubernetes manifest")
    return manifests


def _texts(path: str) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "stdin", sys.stdin.read()
        return
    file = Path(path)
    if file.is_dir():
        for child in sorted(file.iterdir()):
            if child.suffix in (".yaml", ".yml", ".json"):
                yield str(child), child.read_text()
        return
    try:
        yield path, file.read_text()
    except FileNotFoundError as error:
        raise UsageError(f"the path {path!r} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error


def _parse(source: str, text: str) -> Iterator[Manifest]:
    try:
        lines = [node.start_mark.line + 1 for node in yaml.compose_all(text, Loader=yaml.SafeLoader)]
        bodies = list(yaml.safe_load_all(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise UsageError(f"{where}: not valid YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {error}") from error
    for line, body in zip(lines, bodies, strict=True):
        if body is not None:
            yield from _objects(f"{source}:{line}", body)


def _objects(source: str, body: Any) -> Iterator[Manifest]:
    if not isinstance(body, dict):
        raise UsageError(f"{source}: this is a {type(body).__name__}, not a Kubernetes object")
    kind, api_version = body.get("kind"), body.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(api_version, str):
        missing = "kind" if not isinstance(kind, str) else "apiVersion"
        raise UsageError(f"{source}: `{missing}` is missing")
    if kind.endswith("List") and isinstance(body.get("items"), list):
        for item in body["items"]:
            yield from _objects(source, item)
        return
    resource = resource_of(api_version, kind)
    if resource is None:
        raise UsageError(f'{source}: no matches for kind "{kind}" in version "{api_version}"')
    if not isinstance(body.get("metadata"), dict):
        raise UsageError(f"{source}: `metadata` is missing")
    yield Manifest(source, resource, body)

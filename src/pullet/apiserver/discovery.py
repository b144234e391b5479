"""What is served, told in the three ways clients ask: per group and version, aggregated v2, aggregated v2beta1.

Old kubectl and `kubectl drain` read the legacy lists, new kubectl the aggregated ones; kubectl dies on an aggregated
answer whose Content-Type does not repeat the parameters it asked with. All answers are built once, and again when a
definition changes what is served.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from pullet.apiserver.records import encode_json
from pullet.apiserver.served_resources import ServedResources
from pullet.base.jsonvalue import JsonObject
from pullet.kube.scheme import Resource, Subresource

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Document:
    """A finished answer."""

    body: bytes
    content_type: str = "application/json"
    etag: str = ""


def _document(value: JsonObject, content_type: str = "application/json") -> Document:
    body = encode_json(value)
    return Document(body, content_type, f'"{hashlib.sha256(body).hexdigest().upper()}"')


class Discovery:
    """All discovery documents, by path."""

    def __init__(self, served: ServedResources) -> None:
        self._served = served
        self._state: object = None
        self._documents: dict[str, Document] = {}
        self._aggregated: dict[tuple[str, str], Document] = {}

    def _refresh(self) -> None:
        if self._state is self._served.state:
            return
        self._state = self._served.state
        self._documents.clear()
        groups, resources = self._served.group_versions(), self._served.rows()
        self._documents["/api"] = _document(
            {
                "kind": "APIVersions",
                "versions": groups[""],
                "serverAddressByClientCIDRs": [],
            }
        )
        named = [_group(name, versions) for name, versions in groups.items() if name]
        self._documents["/apis"] = _document({"kind": "APIGroupList", "apiVersion": "v1", "groups": named})
        for group in named:
            self._documents[f"/apis/{group['name']}"] = _document({"kind": "APIGroup", "apiVersion": "v1", **group})
        for name, versions in groups.items():
            for version in versions:
                rows = [row for row in resources if (row.group, row.version) == (name, version)]
                self._documents[rows[0].root_path] = _document(_resource_list(rows))
        for version in ("v2", "v2beta1"):
            content_type = _AGGREGATED.format(version=version)
            for path in ("/api", "/apis"):
                items = [
                    _group_discovery(name, versions, resources)
                    for name, versions in groups.items()
                    if bool(name) == (path == "/apis")
                ]
                self._aggregated[path, version] = _document(
                    {
                        "kind": "APIGroupDiscoveryList",
                        "apiVersion": f"apidiscovery.k8s.io/{version}",
                        "metadata": {},
                        "items": items,
                    },
                    content_type,
                )

    def find(self, path: str, accept: str) -> Document | None:
        """The document at `path` in the form `accept` prefers, or None if nothing is discovered there."""
        self._refresh()
        path = path.rstrip("/")
        if path in ("/api", "/apis"):
            for choice in accept.split(","):
                if "as=APIGroupDiscoveryList" in choice.replace(" ", ""):
                    version = "v2beta1" if "v=v2beta1" in choice.replace(" ", "") else "v2"
                    return self._aggregated[path, version]
        return self._documents.get(path)


def _group(name: str, versions: list[str]) -> JsonObject:
    known = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": known, "preferredVersion": known[0]}


def _resource_list(rows: list[Resource]) -> JsonObject:
    resources = []
    for row in sorted(rows, key=lambda each: each.plural):
        entry: JsonObject = {
            "name": row.plural,
            "singularName": row.singular,
            "namespaced": row.namespaced,
            "kind": row.kind,
            "verbs": list(row.verbs),
        }
        if row.short_names:
            entry["shortNames"] = list(row.short_names)
        if row.categories:
            entry["categories"] = list(row.categories)
        if row.is_stored:
            entry["storageVersionHash"] = _version_hash(row)
        resources.append(entry)
        resources += [_subresource(row, sub) for sub in row.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": rows[0].group_version,
        "resources": resources,
    }


def _version_hash(row: Resource) -> str:
    stored = row.custom.storage_api_version if row.custom else f"{row.group}/{row.version}"
    digest = hashlib.sha256(f"{stored}/{row.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _subresource(row: Resource, sub: Subresource) -> JsonObject:
    entry: JsonObject = {
        "name": f"{row.plural}/{sub.name}",
        "singularName": "",
        "namespaced": row.namespaced,
        "kind": sub.kind or row.kind,
        "verbs": list(sub.verbs),
    }
    if sub.group:
        entry |= {"group": sub.group, "version": sub.version}
    return entry


def _group_discovery(name: str, versions: list[str], rows: list[Resource]) -> JsonObject:
    return {
        "metadata": {"name": name} if name else {},
        "versions": [
            {
                "version": version,
                "resources": [
                    _resource_discovery(row)
                    for row in sorted(rows, key=lambda each: each.plural)
                    if (row.group, row.version) == (name, version)
                ],
                "freshness": "Current",
            }
            for version in versions
        ],
    }


def _resource_discovery(row: Resource) -> JsonObject:
    entry: JsonObject = {
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": "Namespaced" if row.namespaced else "Cluster",
        "singularResource": row.singular,
        "verbs": list(row.verbs),
    }
    if row.short_names:
        entry["shortNames"] = list(row.short_names)
    if row.categories:
        entry["categories"] = list(row.categories)
    if row.subresources:
        entry["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {
                    "group": sub.group if sub.kind else row.group,
                    "version": sub.version or row.version,
                    "kind": sub.kind or row.kind,
                },
                "verbs": list(sub.verbs),
            }
            for sub in row.subresources
        ]
    return entry

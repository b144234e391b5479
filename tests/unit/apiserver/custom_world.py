"""Definitions of custom kinds to try, and how to have one established."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.unit.apiserver.api_world import Api

GROUP = "stable.example.com"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRONTABS = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
SPEC: dict[str, Any] = {
    "type": "object",
    "required": ["cronSpec"],
    "properties": {
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "image": {"type": "string", "default": "busybox:1.36"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"},
                    "port": {"x-kubernetes-int-or-string": True, "format": "int-or-string"},
                },
            },
        },
        "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": SPEC,
        "status": {
            "type": "object",
            "properties": {"replicas": {"type": "integer"}, "labelSelector": {"type": "string"}},
        },
    },
}


def version(name: str = "v1", **more: Any) -> dict[str, Any]:
    """A version, served and stored unless `more` says otherwise."""
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}, **more}


def definition(
    *versions: dict[str, Any], kind: str = "CronTab", scope: str = "Namespaced", **names: Any
) -> dict[str, Any]:
    """The definition of a kind in `GROUP`."""
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {"plural": plural, "kind": kind, **names},
            "versions": list(versions) or [version()],
        },
    }


def crontab(name: str, **spec: Any) -> dict[str, Any]:
    """A CronTab that is as its schema says."""
    spec = {"cronSpec": "* * * * */5", **spec}
    return {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": spec}


def condition(obj: dict[str, Any], kind: str) -> str:
    """`Status Reason` of a condition, empty if there is none."""
    found = [each for each in obj.get("status", {}).get("conditions") or () if each["type"] == kind]
    return f"{found[0]['status']} {found[0]['reason']}" if found else ""


async def until(api: Api, path: str, kind: str, wanted: str) -> dict[str, Any]:
    """Wait until the object at `path` has the condition, watching it."""
    async with asyncio.timeout(10):
        while True:
            obj: dict[str, Any] = await api.ok("GET", path)
            if condition(obj, kind) == wanted:
                return obj
            await asyncio.sleep(0.01)


async def establish(api: Api, body: dict[str, Any]) -> dict[str, Any]:
    """Create a definition and wait until it is served."""
    created = await api.ok("POST", DEFINITIONS, body)
    path = f"{DEFINITIONS}/{created['metadata']['name']}"
    return await until(api, path, "Established", "True InitialNamesAccepted")

"""Custom resources under the controllers: owners and dependents of any kind, the end of a namespace."""

from __future__ import annotations

from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.custom_rows import custom_rows
from pullet.kube.meta import name_of, owner_reference
from pullet.kube.resource import Resource
from pullet.kube.scheme import CONFIGMAPS, CUSTOMRESOURCEDEFINITIONS, NAMESPACES
from pullet.kube.status import NotFoundError
from pullet.testing.control_plane import ControlPlane

GROUP = "stable.example.com"


def definition(kind: str, scope: str = "Namespaced") -> JsonObject:
    """A kind that takes anything."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}}
        for name in ("v1beta1", "v1")
    ]
    spec = {"group": GROUP, "scope": scope, "names": {"plural": plural, "kind": kind}, "versions": versions}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{GROUP}"}, "spec": spec}  # fmt: skip


async def establish(cluster: ControlPlane, body: JsonObject) -> Resource:
    """Create a definition; the row it makes."""
    await cluster.client.create(CUSTOMRESOURCEDEFINITIONS, None, body)

    async def rows() -> list[Resource]:
        return custom_rows(await cluster.client.get(CUSTOMRESOURCEDEFINITIONS, None, name_of(body)))

    found: list[Resource] = await cluster.until("the definition to be established", rows)
    return found[0]


def owned(obj: JsonObject, owner: JsonObject, *, version: str = "", blocks: bool = False) -> JsonObject:
    """The object with an owner, named by another version of its kind if one is given."""
    reference = owner_reference(owner, controller=False) | ({"apiVersion": version} if version else {})
    if blocks:
        reference["blockOwnerDeletion"] = True
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": [reference]}}


def custom(row: Resource, name: str, **meta: Any) -> JsonObject:
    return {"apiVersion": row.api_version, "kind": row.kind, "metadata": {"name": name, **meta}}


def configmap(name: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def until_gone(cluster: ControlPlane, row: Resource, name: str, namespace: str | None = "default") -> None:
    """Wait until the object is gone."""

    async def is_gone() -> bool:
        try:
            await cluster.client.get(row, namespace, name)
        except NotFoundError:
            return True
        return False

    await cluster.until(f"{row} {name} to go", is_gone)


async def test_custom_kinds_own_and_are_owned(cluster: ControlPlane) -> None:
    row = await establish(cluster, definition("Tree"))
    root = await cluster.client.create(row, "default", custom(row, "root"))
    leaf = await cluster.client.create(row, "default", owned(custom(row, "leaf"), root, version=f"{GROUP}/v1beta1"))
    await cluster.client.create(CONFIGMAPS, "default", owned(configmap("under-leaf"), leaf))
    above = await cluster.client.create(CONFIGMAPS, "default", configmap("above"))
    await cluster.client.create(row, "default", owned(custom(row, "below"), above))
    await cluster.client.delete(row, "default", "root")
    await until_gone(cluster, row, "leaf")
    await until_gone(cluster, CONFIGMAPS, "under-leaf")
    await cluster.client.delete(CONFIGMAPS, "default", "above")
    await until_gone(cluster, row, "below")


async def test_foreground_deletion_waits_for_what_is_owned(cluster: ControlPlane) -> None:
    row = await establish(cluster, definition("Tree"))
    root = await cluster.client.create(row, "default", custom(row, "root"))
    held = owned(configmap("held"), root, blocks=True)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await cluster.client.create(CONFIGMAPS, "default", held)
    await cluster.client.delete(row, "default", "root", propagation_policy="Foreground")

    async def is_ending() -> bool:
        found = await cluster.client.get(CONFIGMAPS, "default", "held")
        return bool(found["metadata"].get("deletionTimestamp"))

    await cluster.until("the dependent's end to be asked for", is_ending)
    assert (await cluster.client.get(row, "default", "root"))["metadata"]["finalizers"] == ["foregroundDeletion"]
    await cluster.client.patch(CONFIGMAPS, "default", "held", {"metadata": {"finalizers": None}})
    await until_gone(cluster, row, "root")


async def test_what_a_definition_takes_along_takes_its_own_along(cluster: ControlPlane) -> None:
    row = await establish(cluster, definition("Planet", "Cluster"))
    planet = await cluster.client.create(row, None, custom(row, "earth"))
    await cluster.client.create(CONFIGMAPS, "default", owned(configmap("moon"), planet))
    await cluster.client.delete(CUSTOMRESOURCEDEFINITIONS, None, f"planets.{GROUP}")
    await until_gone(cluster, CUSTOMRESOURCEDEFINITIONS, f"planets.{GROUP}", None)
    await until_gone(cluster, CONFIGMAPS, "moon")
    again = await establish(cluster, definition("Planet", "Cluster"))
    assert (await cluster.client.list(again)).items == []
    mars = await cluster.client.create(again, None, custom(again, "mars"))
    await cluster.client.create(CONFIGMAPS, "default", owned(configmap("phobos"), mars))
    await cluster.client.delete(again, None, "mars")
    await until_gone(cluster, CONFIGMAPS, "phobos")


async def test_a_namespace_ends_with_its_custom_resources(cluster: ControlPlane) -> None:
    row = await establish(cluster, definition("Tree"))
    await cluster.client.create(
        NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "wood"}}
    )
    await cluster.client.create(row, "wood", custom(row, "oak"))
    await cluster.client.create(row, "wood", custom(row, "elm", finalizers=["example.com/hold"]))
    await cluster.client.delete(NAMESPACES, None, "wood")
    await until_gone(cluster, row, "oak", "wood")

    async def told() -> str:
        status = (await cluster.client.get(NAMESPACES, None, "wood")).get("status") or {}
        return " ".join(each["message"] for each in status.get("conditions") or () if each["status"] == "True")

    text = await cluster.until("the condition", told)
    assert f"trees.{GROUP} has 1 resource instances" in text
    await cluster.client.patch(row, "wood", "elm", {"metadata": {"finalizers": None}})
    await until_gone(cluster, NAMESPACES, "wood", None)

"""Workloads as the tests of controllers write them."""

from __future__ import annotations

from typing import Any

from pullet.base.jsonvalue import JsonObject


def template(image: str = "web:1.0", **spec: Any) -> JsonObject:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]} | spec}


def workload(kind: str, api_version: str = "apps/v1", name: str = "web", **spec: Any) -> JsonObject:
    body = {"selector": {"matchLabels": {"app": "web"}}, "template": template()} | spec
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": body}

"""CustomResourceDefinitions over HTTP: defaults, names, conditions, what is refused, discovery, the end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.unit.apiserver.api_world import Api, client_tls
from tests.unit.apiserver.custom_world import (
    CRONTABS,
    DEFINITIONS,
    GROUP,
    SCHEMA,
    SPEC,
    condition,
    crontab,
    definition,
    establish,
    until,
    version,
)

from pullet.apiserver.server import ApiServer
from pullet.apiserver.settings import ApiServerSettings
from pullet.kit.worker_threads import WorkerThreads
from pullet.policy.definition_naming import CLEANUP_FINALIZER

MERGE = "application/merge-patch+json"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CRONTAB = f"{DEFINITIONS}/crontabs.{GROUP}"


async def test_a_definition_is_defaulted_named_and_established(api: Api) -> None:
    created = await api.ok("POST", DEFINITIONS, definition(shortNames=["ct"], categories=["all"]))
    assert created["spec"]["names"] == {
        "plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList",
        "shortNames": ["ct"], "categories": ["all"],
    }  # fmt: skip
    assert created["spec"]["conversion"] == {"strategy": "None"}
    assert created["status"] == {
        "acceptedNames": {"kind": "", "plural": ""}, "conditions": [], "storedVersions": ["v1"]
    }  # fmt: skip
    found = await until(api, CRONTAB, "Established", "True InitialNamesAccepted")
    assert condition(found, "NamesAccepted") == "True NoConflicts"
    assert found["status"]["acceptedNames"] == created["spec"]["names"]
    assert found["metadata"]["generation"] == 1, "the status is no part of the specification"


async def test_served_versions_come_and_go_in_discovery_and_openapi(api: Api) -> None:
    before = (await api.ok("GET", "/openapi/v3"))["paths"]
    assert not [path for path in before if GROUP in path]
    first, second = version("v1beta1", storage=False), version("v1", subresources={"status": {}})
    await establish(api, definition(first, second, shortNames=["ct"]))
    group = await api.ok("GET", f"/apis/{GROUP}")
    assert [each["version"] for each in group["versions"]] == ["v1", "v1beta1"], "the stable version is preferred"
    resources = (await api.ok("GET", f"/apis/{GROUP}/v1"))["resources"]
    assert [each["name"] for each in resources] == ["crontabs", "crontabs/status"]
    assert resources[0]["shortNames"] == ["ct"]
    aggregated = await api.ok("GET", "/apis", accept=AGGREGATED)
    [mine] = [item for item in aggregated["items"] if item["metadata"].get("name") == GROUP]
    assert [each["version"] for each in mine["versions"]] == ["v1", "v1beta1"]
    index = (await api.ok("GET", "/openapi/v3"))["paths"]
    assert {path for path in index if GROUP in path} == {f"apis/{GROUP}/v1", f"apis/{GROUP}/v1beta1"}
    document = await api.ok("GET", index[f"apis/{GROUP}/v1"]["serverRelativeURL"])
    kind = document["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert (
        kind["properties"]["spec"]["properties"]["replicas"] == SCHEMA["properties"]["spec"]["properties"]["replicas"]
    )
    assert kind["x-kubernetes-group-version-kind"] == [{"group": GROUP, "version": "v1", "kind": "CronTab"}]
    old = await api.ok("GET", "/openapi/v2", accept="application/json")
    assert old["definitions"]["com.example.stable.v1.CronTabList"]["required"] == ["items"]
    unserved = [{**first, "served": False}, second]
    await api.ok("PATCH", CRONTAB, {"spec": {"versions": unserved}}, content_type=MERGE)
    assert (await api.refused("GET", f"/apis/{GROUP}/v1beta1"))["code"] == 404
    assert (await api.refused("GET", f"/apis/{GROUP}/v1beta1/crontabs"))["code"] == 404
    assert not [path for path in (await api.ok("GET", "/openapi/v3"))["paths"] if "v1beta1" in path]
    await api.ok("DELETE", CRONTAB)
    await gone(api)
    assert GROUP not in str(await api.ok("GET", "/apis"))
    assert GROUP not in str(await api.ok("GET", "/openapi/v3"))


async def gone(api: Api, path: str = CRONTAB) -> None:
    """Wait until there is nothing at `path`."""
    async with asyncio.timeout(10):
        while (await api.call("GET", path))[0] != 404:
            await asyncio.sleep(0.01)


WRONG: list[tuple[Any, str]] = [
    (
        {"metadata": {"name": "other"}},
        'metadata.name: Invalid value: "other": must be spec.names.plural+"."+spec.group',
    ),
    (
        {"spec": {"scope": "Galaxy"}},
        'spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"',
    ),
    ({"spec": {"scope": None}}, "spec.scope: Required value"),
    ({"spec": {"names": {"singular": "CronTab"}}}, 'spec.names.singular: Invalid value: "CronTab": a DNS-1035 label'),
    ({"spec": {"names": {"shortNames": ["C T"]}}}, 'spec.names.shortNames[0]: Invalid value: "C T": a DNS-1035 label'),
    ({"spec": {"names": {"listKind": "CronTab"}}}, "kind and listKind may not be the same"),
    ({"spec": {"versions": []}}, "must have exactly one version marked as storage version"),
    ({"spec": {"versions": [version(), version()]}}, "must contain unique version names"),
    (
        {"spec": {"versions": [{"name": "v1", "served": True, "storage": True}]}},
        "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
    ),
    (
        {"spec": {"conversion": {"strategy": "Webhook"}}},
        "spec.conversion.strategy: Forbidden: conversion webhooks are not called here",
    ),
    (
        {"spec": {"preserveUnknownFields": True}},
        "spec.preserveUnknownFields: Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields",
    ),
    (
        {"spec": {"versions": [version(additionalPrinterColumns=[{"name": "A", "type": "text", "jsonPath": "spec"}])]}},
        'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number',
    ),
    (
        {
            "spec": {
                "versions": [version(subresources={"scale": {"specReplicasPath": ".n", "statusReplicasPath": ".m"}})]
            }
        },
        'spec.subresources.scale.specReplicasPath: Invalid value: ".n": should be a json path under .spec',
    ),
]


@pytest.mark.parametrize(("change", "text"), WRONG, ids=[text[:50] for _, text in WRONG])
async def test_what_is_wrong_is_told_in_the_servers_words(api: Api, change: Any, text: str) -> None:
    body = definition()
    for part, values in change.items():
        for name, value in values.items():
            inner = body[part].get(name)
            body[part][name] = {**inner, **value} if isinstance(inner, dict) and isinstance(value, dict) else value
    status = await api.refused("POST", DEFINITIONS, body)
    assert status["reason"] == "Invalid"
    assert text in status["message"]


async def test_the_kind_is_for_life_and_stored_versions_stay(api: Api) -> None:
    await establish(api, definition())
    patches: list[tuple[Any, str]] = [
        ({"scope": "Cluster"}, 'spec.scope: Invalid value: "Cluster": field is immutable'),
        ({"names": {"kind": "Other"}}, 'spec.names.kind: Invalid value: "Other": field is immutable'),
        ({"group": "other.example.com"}, "spec.group: Invalid value"),
        ({"versions": [version("v2")]}, 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions'),
    ]
    for patch, text in patches:
        status = await api.refused("PATCH", CRONTAB, {"spec": patch}, content_type=MERGE)
        assert text in status["message"]
    both = [version("v1", storage=False), version("v2")]
    changed = await api.ok("PATCH", CRONTAB, {"spec": {"versions": both}}, content_type=MERGE)
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    assert changed["metadata"]["generation"] == 2
    migrated = await api.ok("PATCH", f"{CRONTAB}/status", {"status": {"storedVersions": ["v2"]}}, content_type=MERGE)
    assert migrated["status"]["storedVersions"] == ["v2"]
    await api.ok("PATCH", CRONTAB, {"spec": {"versions": [version("v2")]}}, content_type=MERGE)


async def test_a_definition_is_applied_by_the_server(api: Api) -> None:
    path, applied = f"{CRONTAB}?fieldManager=", "application/apply-patch+yaml"
    first = await api.ok("PATCH", f"{path}one", definition(), content_type=applied)
    again = await api.ok("PATCH", f"{path}one", definition(), content_type=applied)
    assert again["metadata"]["generation"] == first["metadata"]["generation"] == 1
    await until(api, CRONTAB, "Established", "True InitialNamesAccepted")
    other = definition(version(deprecated=True))
    conflict = await api.refused("PATCH", f"{path}two", other, content_type=applied)
    assert conflict["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.versions'
    managers = {each["manager"] for each in (await api.ok("GET", CRONTAB))["metadata"]["managedFields"]}
    assert managers == {"one", "kube-apiserver"}


async def test_old_objects_show_what_the_definition_says_now(api: Api) -> None:
    await establish(api, definition())
    created = await api.ok("POST", CRONTABS, crontab("a", anything={"x": 1}))
    properties = {name: each for name, each in SPEC["properties"].items() if name != "anything"}
    spec = {**SPEC, "properties": {**properties, "color": {"type": "string", "default": "red"}}}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "spec": spec}}
    patch = {"spec": {"versions": [version(schema={"openAPIV3Schema": schema})]}}
    before = await api.ok("GET", CRONTABS)
    await api.ok("PATCH", CRONTAB, patch, content_type=MERGE)
    shown = await api.ok("GET", f"{CRONTABS}/a")
    assert shown["spec"]["color"] == "red"
    assert "anything" not in shown["spec"]
    assert shown["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"], "nothing was written"
    assert (await api.ok("GET", CRONTABS))["items"] == [shown] != before["items"]


async def test_a_name_in_use_is_waited_for(api: Api) -> None:
    await establish(api, definition(shortNames=["ct"]))
    second = definition(kind="CoolThing", shortNames=["ct"])
    await api.ok("POST", DEFINITIONS, second)
    path = f"{DEFINITIONS}/coolthings.{GROUP}"
    found = await until(api, path, "NamesAccepted", "False ShortNamesConflict")
    assert condition(found, "Established") == "False NotAccepted"
    assert (await api.refused("GET", f"/apis/{GROUP}/v1/coolthings"))["code"] == 404
    await api.ok("DELETE", CRONTAB)
    await until(api, path, "Established", "True InitialNamesAccepted")
    await api.ok("GET", f"/apis/{GROUP}/v1/coolthings")


async def test_the_objects_end_before_their_definition(api: Api) -> None:
    await establish(api, definition())
    kept = crontab("kept")
    kept["metadata"]["finalizers"] = ["example.com/mine"]
    await api.ok("POST", CRONTABS, kept)
    await api.ok("POST", CRONTABS, crontab("plain"))
    ending = await api.ok("DELETE", CRONTAB)
    assert ending["metadata"]["finalizers"] == [CLEANUP_FINALIZER]
    assert condition(ending, "Terminating") == "True InstanceDeletionPending"
    await gone(api, f"{CRONTABS}/plain")
    found = await until(api, CRONTAB, "Terminating", "True InstanceDeletionInProgress")
    assert found["metadata"]["deletionTimestamp"]
    refused = await api.refused("POST", CRONTABS, crontab("new"))
    text = "create not allowed while custom resource definition is terminating"
    assert (refused["code"], refused["message"]) == (405, text)
    [left] = (await api.ok("GET", CRONTABS))["items"]
    assert left["metadata"]["name"] == "kept"
    verbs = (await api.ok("GET", f"/apis/{GROUP}/v1"))["resources"][0]["verbs"]
    assert "create" not in verbs
    await api.ok("PATCH", f"{CRONTABS}/kept", {"metadata": {"finalizers": None}}, content_type=MERGE)
    await gone(api)


async def test_a_definition_of_a_built_in_kind_takes_nothing_along(api: Api) -> None:
    body = definition()
    body["metadata"] = {
        "name": "leases.coordination.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved"},
    }
    body["spec"] |= {"group": "coordination.k8s.io", "names": {"plural": "leases", "kind": "Lease"}}
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    await api.ok("POST", leases, {"metadata": {"name": "mine"}})
    await establish(api, body)
    path = f"{DEFINITIONS}/leases.coordination.k8s.io"
    await api.ok("DELETE", path)
    await gone(api, path)
    await api.ok("GET", f"{leases}/mine")


async def test_a_watch_ends_with_its_kind(api: Api) -> None:
    await establish(api, definition())
    async with api.http.stream("GET", f"{CRONTABS}?watch=true", timeout=10) as watch:
        await api.ok("POST", CRONTABS, crontab("a"))
        await api.ok("DELETE", CRONTAB)
        lines = [line async for line in watch.aiter_lines()]
    assert ["ADDED" in lines[0], "DELETED" in lines[-1]] == [True, True]


async def test_what_is_not_done_is_warned_of(api: Api) -> None:
    schema = {**SCHEMA, "x-kubernetes-validations": [{"rule": "self.spec.replicas > 0"}]}
    schema["properties"] = {**SCHEMA["properties"], "when": {"type": "string", "format": "moon"}}
    body = definition(version(schema={"openAPIV3Schema": schema}))
    response = await api.http.post(DEFINITIONS, json=body)
    assert response.status_code == 201, response.text
    said = response.headers.get_list("warning")
    assert said == [
        '299 - "unrecognized format \\"int-or-string\\""',
        '299 - "unrecognized format \\"moon\\""',
        '299 - "x-kubernetes-validations of version v1 are stored, but not evaluated: no CEL here"',
    ]


async def test_everything_is_there_again_after_a_restart(tmp_path: Path, threads: WorkerThreads) -> None:
    root, settings = tmp_path / "apiserver", ApiServerSettings(port=0)
    for is_first in (True, False):
        async with ApiServer(root=root, settings=settings) as server:
            running = asyncio.create_task(server.run())
            context = await threads.run(client_tls, server, tmp_path, "admin", ["system:masters"])
            async with httpx2.AsyncClient(base_url=server.url, verify=context, trust_env=False) as http:
                api = Api(server, http)
                if is_first:
                    await establish(api, definition())
                    await api.ok("POST", CRONTABS, crontab("a"))
                assert (await api.ok("GET", f"{CRONTABS}/a"))["spec"]["replicas"] == 1
                assert GROUP in str(await api.ok("GET", "/apis"))
            running.cancel()
            await asyncio.wait([running])


async def test_a_protected_group_wants_approval(api: Api) -> None:
    body = definition()
    body["spec"]["group"], body["metadata"]["name"] = "x.k8s.io", "crontabs.x.k8s.io"
    status = await api.refused("POST", DEFINITIONS, body)
    assert 'protected groups must have approval annotation "api-approved.kubernetes.io"' in status["message"]
    body["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://example.com/1"}
    created = await establish(api, body)
    assert condition(created, "KubernetesAPIApprovalPolicyConformant") == "True ApprovedAnnotation"

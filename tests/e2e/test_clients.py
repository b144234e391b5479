"""The usual Python clients, unchanged, against a real node: create, watch, patch, apply, logs, exec, delete."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import lightkube
import pytest
import yaml
from lightkube.generic_resource import create_namespaced_resource, load_in_cluster_generic_resources
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import CascadeType, PatchType
from tests.e2e.harness import Pullet

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    # the clients leave sockets to the garbage collector, and kr8s warns of releases newer than itself
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*Kubernetes version:UserWarning"),
]
# their annotations refuse the plain dicts that their own documentation passes
kubernetes: Any = importlib.import_module("kubernetes")
kubernetes_asyncio: Any = importlib.import_module("kubernetes_asyncio")
kr8s_asyncio: Any = importlib.import_module("kr8s.asyncio")
kr8s_objects: Any = importlib.import_module("kr8s.asyncio.objects")
stream: Any = importlib.import_module("kubernetes.stream").stream
DynamicClient: Any = importlib.import_module("kubernetes.dynamic").DynamicClient
WsApiClient: Any = importlib.import_module("kubernetes_asyncio.stream").WsApiClient
MANAGER = "scenario"
DEFINITION = Path(__file__).with_name("kubectl") / "crontab-definition.yaml"
APPLY = "application/apply-patch+yaml"


def pod_body(name: str) -> dict[str, Any]:
    """A pod that says a word and stays."""
    container = {"name": "c", "image": "busybox:1.36", "command": ["sh", "-c", "echo a word; sleep 3600"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }


def configmap_body(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def definition_body(group: str) -> dict[str, Any]:
    """The CronTabs of a group of the test's own."""
    body: dict[str, Any] = yaml.safe_load(DEFINITION.read_text())
    body["metadata"]["name"], body["spec"]["group"] = f"crontabs.{group}", group
    return body


def crontab_body(group: str, name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"{group}/v1",
        "kind": "CronTab",
        "metadata": {"name": name},
        "spec": {"cronSpec": "* * * * */5", **spec},
    }


@pytest.fixture(autouse=True)
def sockets_left_behind() -> Iterator[None]:
    """What a client leaves to the garbage collector goes here, where its warnings are known, not in a later test."""
    yield
    gc.collect()


@pytest.fixture
def namespace(shared_node: Pullet, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, with its ServiceAccount."""
    name = request.node.name.replace("_", "-")
    shared_node.kubectl("create", "namespace", name).ok()
    deadline = time.monotonic() + 60
    while shared_node.kubectl("get", "serviceaccount", "default", namespace=name).code != 0:
        assert time.monotonic() < deadline, "the namespace got no ServiceAccount"
    yield name
    shared_node.kubectl("delete", "namespace", name, "--wait=false").ok()


# the official client --------------------------------------------------------------------------------------------------


@pytest.fixture
def official(shared_node: Pullet) -> Iterator[Any]:
    with kubernetes.config.new_client_from_config(str(shared_node.kubeconfig)) as client:
        yield client


def test_official_client(official: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(official)
    created = core.create_namespaced_pod(namespace, pod_body("p"))
    seen = []
    watch = kubernetes.watch.Watch()
    for event in watch.stream(core.list_namespaced_pod, namespace, timeout_seconds=60):
        seen.append(event["type"])
        if event["object"].status.phase == "Running":
            watch.stop()
    assert seen[0] == "ADDED"
    patched = core.patch_namespaced_pod("p", namespace, {"metadata": {"labels": {"tier": "front"}}})
    assert patched.metadata.labels == {"app": "p", "tier": "front"}
    assert patched.metadata.uid == created.metadata.uid
    assert core.read_namespaced_pod_log("p", namespace) == "a word\n"
    answer = stream(
        core.connect_get_namespaced_pod_exec,
        "p",
        namespace,
        command=["sh", "-c", "cat; echo out; exit 3"],
        stdin=True,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    answer.write_stdin("in\n")
    answer.update(timeout=5)
    assert answer.read_stdout(timeout=10).startswith("in")
    answer.close()
    ended = stream(
        core.connect_get_namespaced_pod_exec,
        "p",
        namespace,
        command=["sh", "-c", "exit 3"],
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    ended.run_forever(timeout=10)
    assert json.loads(ended.read_channel(kubernetes.stream.ws_client.ERROR_CHANNEL))["message"] == (
        "command terminated with non-zero exit code: error executing command [sh -c exit 3], exit code 3"
    )
    core.delete_namespaced_pod("p", namespace)
    for event in watch.stream(core.list_namespaced_pod, namespace, timeout_seconds=60):
        if event["type"] == "DELETED":
            break
    with pytest.raises(kubernetes.client.ApiException) as caught:
        core.read_namespaced_pod("p", namespace)
    assert (caught.value.status, caught.value.reason) == (404, "Not Found")


def test_official_client_applies_and_drives_a_deployment(official: Any, namespace: str) -> None:
    core = kubernetes.client.CoreV1Api(official)
    for data in ({"a": "1", "b": "2"}, {"a": "1"}):
        applied = core.patch_namespaced_config_map(
            "c", namespace, configmap_body("c", **data), field_manager=MANAGER, _content_type=APPLY
        )
        assert applied.data == data, "what is no longer applied is gone"
    with pytest.raises(kubernetes.client.ApiException) as caught:
        core.patch_namespaced_config_map(
            "c", namespace, configmap_body("c", a="9"), field_manager="other", _content_type=APPLY
        )
    assert caught.value.status == 409
    apps = kubernetes.client.AppsV1Api(official)
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod_body("web")["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    apps.create_namespaced_deployment(namespace, {"metadata": {"name": "web"}, "spec": spec})
    for event in kubernetes.watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=60):
        if event["object"].status.available_replicas == 2:
            break
    assert len(core.list_namespaced_pod(namespace, label_selector="app=web").items) == 2
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    assert scale.spec.replicas == 1
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")


def test_dynamic_client(official: Any, namespace: str) -> None:
    client = DynamicClient(official)
    configmaps = client.resources.get(api_version="v1", kind="ConfigMap")
    configmaps.create(namespace=namespace, body=configmap_body("c", a="1"))
    configmaps.server_side_apply(namespace=namespace, body=configmap_body("c", b="2"), name="c", field_manager=MANAGER)
    assert configmaps.get(namespace=namespace, name="c").data.to_dict() == {"a": "1", "b": "2"}
    listed = configmaps.get(namespace=namespace, field_selector="metadata.name=c")
    assert [item.metadata.name for item in listed.items] == ["c"]
    configmaps.delete(namespace=namespace, name="c")


def test_dynamic_client_with_a_custom_kind(official: Any, namespace: str) -> None:
    group = f"{namespace}.example.com"
    client = DynamicClient(official)
    definitions = client.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body=definition_body(group))
    for event in definitions.watch(name=f"crontabs.{group}", timeout=30):
        conditions = event["raw_object"]["status"].get("conditions") or ()
        if any(each["type"] == "Established" and each["status"] == "True" for each in conditions):
            break
    crontabs = client.resources.get(api_version=f"{group}/v1", kind="CronTab")
    created = crontabs.create(namespace=namespace, body=crontab_body(group, "a"))
    assert (created.spec.replicas, created.spec.image) == (1, "busybox:1.36")
    merge = "application/merge-patch+json"
    body = {"metadata": {"name": "a"}, "spec": {"replicas": 2}}
    assert crontabs.patch(namespace=namespace, body=body, content_type=merge).spec.replicas == 2
    applied = crontab_body(group, "a", image="x:1")
    crontabs.server_side_apply(namespace=namespace, body=applied, field_manager=MANAGER, force_conflicts=True)
    crontabs.status.patch(namespace=namespace, body={"metadata": {"name": "a"}, "status": {"replicas": 2}},
                          content_type=merge)  # fmt: skip
    found = crontabs.get(namespace=namespace, name="a")
    assert (found.spec.image, found.status.replicas) == ("x:1", 2)
    with pytest.raises(kubernetes.client.ApiException) as caught:
        crontabs.create(namespace=namespace, body=crontab_body(group, "b", replicas=11))
    assert caught.value.status == 422
    custom = kubernetes.client.CustomObjectsApi(official)
    assert custom.get_namespaced_custom_object_scale(group, "v1", namespace, "crontabs", "a")["spec"] == {"replicas": 2}
    assert len(custom.list_cluster_custom_object(group, "v1", "crontabs")["items"]) == 1
    crontabs.delete(namespace=namespace, name="a")
    definitions.delete(name=f"crontabs.{group}")
    wait_gone(lambda: definitions.get(name=f"crontabs.{group}"))


def wait_gone(read: Callable[[], Any]) -> None:
    """Read until there is nothing to read."""

    def read_on() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            read()

    with pytest.raises(kubernetes.client.ApiException) as caught:
        read_on()
    assert caught.value.status == 404


# kubernetes_asyncio ---------------------------------------------------------------------------------------------------


async def test_asyncio_client(shared_node: Pullet, namespace: str) -> None:
    configuration = type.__call__(kubernetes_asyncio.client.Configuration)
    await kubernetes_asyncio.config.load_kube_config(
        str(shared_node.kubeconfig), client_configuration=configuration, persist_config=False
    )
    async with kubernetes_asyncio.client.ApiClient(configuration) as client:
        core = kubernetes_asyncio.client.CoreV1Api(client)
        await core.create_namespaced_pod(namespace, pod_body("p"))
        async with kubernetes_asyncio.watch.Watch() as watch:
            async for event in watch.stream(core.list_namespaced_pod, namespace, timeout_seconds=60):
                if event["object"].status.phase == "Running":
                    break
        await core.patch_namespaced_pod("p", namespace, {"metadata": {"annotations": {"note": "x"}}})
        applied = await core.patch_namespaced_config_map(
            "c", namespace, configmap_body("c", a="1"), field_manager=MANAGER, _content_type=APPLY
        )
        assert applied.data == {"a": "1"}
        assert await core.read_namespaced_pod_log("p", namespace) == "a word\n"
        await core.delete_namespaced_pod("p", namespace, grace_period_seconds=0)
    async with WsApiClient(configuration) as client:
        core = kubernetes_asyncio.client.CoreV1Api(client)
        with pytest.raises(Exception, match="404"):
            await core.connect_get_namespaced_pod_exec("nosuch", namespace, command="true")


async def test_asyncio_client_runs_commands(shared_node: Pullet, namespace: str) -> None:
    running_pod(shared_node, namespace)
    configuration = type.__call__(kubernetes_asyncio.client.Configuration)
    await kubernetes_asyncio.config.load_kube_config(
        str(shared_node.kubeconfig), client_configuration=configuration, persist_config=False
    )
    async with WsApiClient(configuration) as client:
        core = kubernetes_asyncio.client.CoreV1Api(client)
        said = await core.connect_get_namespaced_pod_exec(
            "p", namespace, command=["sh", "-c", "echo out; echo err >&2"], stdout=True, stderr=True
        )
        assert sorted(said.split()) == ["err", "out"]


async def test_asyncio_client_with_a_custom_kind(shared_node: Pullet, namespace: str) -> None:
    group = f"{namespace}.example.com"
    configuration = type.__call__(kubernetes_asyncio.client.Configuration)
    await kubernetes_asyncio.config.load_kube_config(
        str(shared_node.kubeconfig), client_configuration=configuration, persist_config=False
    )
    async with kubernetes_asyncio.client.ApiClient(configuration) as client:
        extensions = kubernetes_asyncio.client.ApiextensionsV1Api(client)
        await extensions.create_custom_resource_definition(definition_body(group))
        async with kubernetes_asyncio.watch.Watch() as watch:
            selector = f"metadata.name=crontabs.{group}"
            listed = extensions.list_custom_resource_definition
            async for event in watch.stream(listed, field_selector=selector, timeout_seconds=30):
                conditions = event["object"].status.conditions or ()
                if any(each.type == "Established" and each.status == "True" for each in conditions):
                    break
        custom = kubernetes_asyncio.client.CustomObjectsApi(client)
        where = (group, "v1", namespace, "crontabs")
        created = await custom.create_namespaced_custom_object(*where, crontab_body(group, "a"))
        assert created["spec"]["replicas"] == 1
        patch = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
        patched = await custom.patch_namespaced_custom_object(
            *where, "a", patch, _content_type="application/json-patch+json"
        )
        assert patched["spec"]["replicas"] == 3
        async with kubernetes_asyncio.watch.Watch() as watch:
            async for event in watch.stream(custom.list_namespaced_custom_object, *where, timeout_seconds=30):
                assert (event["type"], event["object"]["spec"]["replicas"]) == ("ADDED", 3)
                break
        await custom.delete_collection_namespaced_custom_object(*where)
        assert (await custom.list_namespaced_custom_object(*where))["items"] == []
        await extensions.delete_custom_resource_definition(f"crontabs.{group}")


def running_pod(node: Pullet, namespace: str) -> None:
    """A running pod called p."""
    node.kubectl("run", "p", "-n", namespace, "--image=busybox:1.36", "--", "sleep", "3600").ok()
    node.kubectl("wait", "--for=condition=Ready", "pod/p", namespace=namespace).ok()


# lightkube ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def light(shared_node: Pullet, namespace: str) -> AsyncIterator[lightkube.AsyncClient]:
    config = lightkube.KubeConfig.from_file(str(shared_node.kubeconfig))
    client = lightkube.AsyncClient(config=config, namespace=namespace, field_manager=MANAGER)
    yield client
    await client.close()


async def test_lightkube(light: lightkube.AsyncClient) -> None:
    spec = PodSpec(
        containers=[Container(name="c", image="busybox:1.36", command=["sh", "-c", "echo a word; sleep 3600"])],
        terminationGracePeriodSeconds=1,
    )
    await light.create(Pod(metadata=ObjectMeta(name="p", labels={"app": "p"}), spec=spec))
    async for _, pod in light.watch(Pod, fields={"metadata.name": "p"}):
        if pod.status and pod.status.phase == "Running":
            break
    ready = await light.wait(Pod, "p", for_conditions=["Ready"])
    assert ready.status is not None
    patched = await light.patch(Pod, "p", {"metadata": {"labels": {"tier": "front"}}}, patch_type=PatchType.MERGE)
    assert patched.metadata is not None
    assert patched.metadata.labels == {"app": "p", "tier": "front"}
    assert [line async for line in light.log("p")] == ["a word\n"]
    first = await light.apply(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1", "b": "2"}))
    assert first.data == {"a": "1", "b": "2"}
    second = await light.apply(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1"}))
    assert second.data == {"a": "1"}
    with pytest.raises(lightkube.ApiError) as conflict:
        await light.apply(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "9"}), field_manager="other")
    assert (conflict.value.status.code, conflict.value.status.reason) == (409, "Conflict")
    assert [item.metadata.name async for item in light.list(Pod, labels={"app": "p"}) if item.metadata] == ["p"]
    await light.delete(Pod, "p", grace_period=0)
    with pytest.raises(lightkube.ApiError) as missing:
        await light.get(Pod, "p")
    assert missing.value.status.reason == "NotFound"


async def test_lightkube_scales_a_deployment(light: lightkube.AsyncClient) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod_body("web")["spec"]}
    body = {
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    web = Deployment.from_dict(body)
    assert isinstance(web, Deployment)
    await light.create(web)
    await light.wait(Deployment, "web", for_conditions=["Available"])
    scaled = await light.patch(Deployment.Scale, "web", {"spec": {"replicas": 3}})
    assert scaled.spec is not None
    assert scaled.spec.replicas == 3
    await light.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)
    async with asyncio.timeout(30):
        while [item async for item in light.list(Deployment)]:
            await asyncio.sleep(0.1)


async def test_lightkube_with_a_custom_kind(light: lightkube.AsyncClient, namespace: str) -> None:
    group = f"{namespace}.example.com"
    made = CustomResourceDefinition.from_dict(definition_body(group))
    assert isinstance(made, CustomResourceDefinition)
    await light.create(made)
    await light.wait(CustomResourceDefinition, f"crontabs.{group}", for_conditions=["Established"])
    crontabs: Any = create_namespaced_resource(group, "v1", "CronTab", "crontabs")
    created: Any = await light.create(crontabs(metadata=ObjectMeta(name="a"), spec={"cronSpec": "* * * * *"}))
    assert created.spec == {"cronSpec": "* * * * *", "image": "busybox:1.36", "replicas": 1}
    applied: Any = await light.apply(
        crontabs(metadata=ObjectMeta(name="a"), spec={"cronSpec": "1 * * * *"}), force=True
    )
    assert applied.spec["cronSpec"] == "1 * * * *"
    patched: Any = await light.patch(crontabs.Status, "a", {"status": {"replicas": 2}}, patch_type=PatchType.MERGE)
    assert patched.status == {"replicas": 2}
    with pytest.raises(lightkube.ApiError) as wrong:
        await light.patch(crontabs, "a", {"spec": {"replicas": 0}}, patch_type=PatchType.MERGE)
    assert wrong.value.status.reason == "Invalid"
    async for kind, seen in light.watch(crontabs):
        assert (kind, seen.metadata.name) == ("ADDED", "a")
        break
    await asyncio.to_thread(load_in_cluster, light)
    await light.delete(crontabs, "a")
    await light.delete(CustomResourceDefinition, f"crontabs.{group}")


def load_in_cluster(light: lightkube.AsyncClient) -> None:
    """What lightkube makes of every definition it finds, with a client that blocks."""
    client = lightkube.Client(config=light.config)
    load_in_cluster_generic_resources(client)


# kr8s -----------------------------------------------------------------------------------------------------------------


async def test_kr8s(shared_node: Pullet, namespace: str) -> None:
    api = await kr8s_asyncio.api(kubeconfig=str(shared_node.kubeconfig), namespace=namespace)
    pod = await kr8s_objects.Pod(pod_body("p"), namespace=namespace, api=api)
    await pod.create()
    async with aclosing(api.watch("pods", namespace=namespace)) as events:
        async for _, seen in events:
            if seen.status.get("phase") == "Running":
                break
    await pod.wait("condition=Ready", timeout=30)
    await pod.patch({"metadata": {"labels": {"tier": "front"}}})
    assert pod.labels["tier"] == "front"
    assert [line async for line in pod.logs()] == ["a word"]
    done = await pod.exec(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    found = [each.name async for each in api.get("pods", namespace=namespace, label_selector={"app": "p"})]
    assert found == ["p"]
    await pod.delete()
    await pod.wait("delete", timeout=30)
    assert not await pod.exists()


async def test_kr8s_with_a_custom_kind(shared_node: Pullet, namespace: str) -> None:
    group = f"{namespace}.example.com"
    api = await kr8s_asyncio.api(kubeconfig=str(shared_node.kubeconfig), namespace=namespace)
    definition = await kr8s_objects.CustomResourceDefinition(definition_body(group), api=api)
    await definition.create()
    await definition.wait("condition=Established", timeout=30)
    crontabs = kr8s_objects.new_class(kind="CronTab", version=f"{group}/v1", namespaced=True, scalable=True)
    one = await crontabs(crontab_body(group, "a"), namespace=namespace, api=api)
    await one.create()
    await one.scale(4)
    assert one.replicas == 4
    await one.patch({"metadata": {"labels": {"tier": "front"}}})
    other = await kr8s_objects.object_from_spec(crontab_body(group, "b"), api=api, allow_unknown_type=True)
    await other.create()
    found = [each.name async for each in api.get(f"crontabs.{group}", namespace=namespace)]
    assert sorted(found) == ["a", "b"]
    picked = [
        each.name async for each in api.get(f"crontabs.{group}", namespace=namespace, label_selector="tier=front")
    ]
    assert picked == ["a"]
    await one.delete()
    await definition.delete()
    await definition.wait("delete", timeout=30)

"""Typed views of pods, nodes, secrets and events over raw objects."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from pullet.kube.container import ContainerKind, RestartPolicy
from pullet.kube.event import parse_event
from pullet.kube.meta import format_micro_time, format_time
from pullet.kube.node import parse_node
from pullet.kube.pod import parse_pod
from pullet.kube.secret import parse_secret
from pullet.kube.view import ViewInvalidError


def raw_pod(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "creationTimestamp": None, "future": {"x": 1}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}], **spec},
        "status": {"phase": "Pending"},
    }


def test_defaults_are_those_of_the_api() -> None:
    pod = parse_pod(raw_pod())
    assert pod.spec.restart_policy is RestartPolicy.ALWAYS
    assert pod.spec.termination_grace_period_seconds == 30
    assert pod.spec.dns_policy == "ClusterFirst"
    assert pod.description == "web_shop(u1)"
    assert not pod.is_terminating


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("containers", "spec.containers{c}"),
        ("initContainers", "spec.initContainers{i}"),
        ("ephemeralContainers", "spec.ephemeralContainers{e}"),
    ],
)
def test_a_container_knows_its_field_path(kind: str, path: str) -> None:
    pod = parse_pod(raw_pod(initContainers=[{"name": "i"}], ephemeralContainers=[{"name": "e"}]))
    container = next(each for each in pod.all_containers() if each.kind == kind)
    assert container.field_path == path
    assert pod.reference(container)["fieldPath"] == path
    assert "fieldPath" not in pod.reference()


def test_only_an_init_container_that_always_restarts_is_a_sidecar() -> None:
    pod = parse_pod(
        raw_pod(
            containers=[{"name": "c", "restartPolicy": "Always"}],
            initContainers=[{"name": "side", "restartPolicy": "Always"}, {"name": "setup"}],
        )
    )
    assert [each.name for each in pod.sidecars] == ["side"]
    assert pod.container("side") is not None
    assert pod.container("side").kind is ContainerKind.INIT  # type: ignore[union-attr]  # asserted above


def test_null_reads_as_absent() -> None:
    pod = parse_pod(raw_pod(imagePullSecrets=None, volumes=[{"name": "v", "emptyDir": {}, "secret": None}]))
    assert pod.pull_secret_names == ()
    assert pod.spec.volumes[0].empty_dir is not None
    assert pod.spec.volumes[0].secret is None


def test_pull_secrets_without_a_name_are_passed_over_in_silence() -> None:
    pod = parse_pod(raw_pod(imagePullSecrets=[{}, {"name": "a"}, {"name": ""}, {"name": "b"}]))
    assert pod.pull_secret_names == ("a", "b")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"containers": [{"name": "c", "image": 5}]}, "spec.containers[0].image: expected string, got integer"),
        ({"containers": []}, "spec.containers: is empty, at least one is needed"),
        ({"containers": [{"image": "x"}]}, "spec.containers[0]: object missing required field name"),
        ({"restartPolicy": "Sometimes"}, "spec.restartPolicy: invalid enum value 'Sometimes'"),
        ({"hostNetwork": "yes"}, "spec.hostNetwork: expected boolean, got string"),
    ],
)
def test_a_bad_pod_is_named_with_field_and_expectation(spec: dict[str, Any], text: str) -> None:
    with pytest.raises(ViewInvalidError) as caught:
        parse_pod(raw_pod(**spec))
    assert str(caught.value) == f"Pod shop/web: {text}"


def test_times_have_years_of_four_digits() -> None:
    moment = datetime(64, 3, 12, 23, 7, 8, 9, tzinfo=UTC)
    assert format_time(moment) == "0064-03-12T23:07:08Z"
    assert format_micro_time(moment) == "0064-03-12T23:07:08.000009Z"


def test_times_are_aware() -> None:
    raw = raw_pod()
    raw["metadata"]["deletionTimestamp"] = "2026-11-20T18:30:10Z"
    pod = parse_pod(raw)
    assert pod.is_terminating
    assert pod.metadata.deletion_timestamp == datetime(2026, 11, 20, 18, 30, 10, tzinfo=UTC)


def test_names_that_are_not_plain_camel_case() -> None:
    pod = parse_pod(
        raw_pod(
            hostPID=True,
            hostIPC=True,
            containers=[{"name": "c", "ports": [{"containerPort": 80, "hostIP": "10.0.0.1"}]}],
            securityContext={"fsGroup": 5, "runAsNonRoot": True},
            volumes=[{"name": "d", "downwardAPI": {"items": []}}],
        )
    )
    assert (pod.spec.host_pid, pod.spec.host_ipc) == (True, True)
    assert pod.spec.containers[0].ports[0].host_ip == "10.0.0.1"
    assert pod.spec.security_context.fs_group == 5
    assert pod.spec.volumes[0].downward_api is not None


def test_secret_values_are_decoded_and_never_printed() -> None:
    secret = parse_secret(
        {
            "metadata": {"name": "s", "namespace": "shop", "uid": "u"},
            "type": "Opaque",
            "data": {"k": base64.b64encode(b"hush").decode()},
        }
    )
    assert secret.data["k"] == b"hush"
    assert "hush" not in repr(secret)


def test_a_secret_that_is_not_base64_is_refused_without_quoting_it() -> None:
    with pytest.raises(ViewInvalidError) as caught:
        parse_secret({"metadata": {"name": "s", "namespace": "shop"}, "data": {"k": "hush!"}})
    assert str(caught.value) == "Secret shop/s: data[k]: is not base64"


def test_a_node_is_ready_by_its_condition() -> None:
    node = parse_node(
        {
            "metadata": {"name": "n"},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "images": [{"names": ["a:1"], "sizeBytes": 5}],
            },
        }
    )
    assert node.is_ready
    assert node.status.images[0].size_bytes == 5


def test_an_event_of_either_form_has_times_and_reporter() -> None:
    old = parse_event(
        {
            "metadata": {},
            "source": {"component": "kubelet", "host": "n"},
            "firstTimestamp": "2026-01-01T00:00:00Z",
            "lastTimestamp": "2026-01-01T00:01:00Z",
            "count": 5,
            "eventTime": None,
        }
    )
    assert (old.last_seen, old.reporter) == (datetime(2026, 1, 1, 0, 1, tzinfo=UTC), "kubelet")
    new = parse_event(
        {"metadata": {}, "eventTime": "2026-01-01T00:00:00.5Z", "reportingComponent": "default-scheduler", "source": {}}
    )
    assert new.first_seen == new.last_seen == datetime(2026, 1, 1, 0, 0, 0, 500000, tzinfo=UTC)
    assert new.reporter == "default-scheduler"


def test_a_pod_without_namespace_is_named_by_its_name_alone() -> None:
    with pytest.raises(ViewInvalidError) as caught:
        parse_pod({"metadata": {"name": "web"}, "spec": {"containers": []}})
    assert str(caught.value) == "Pod web: spec.containers: is empty, at least one is needed"
    with pytest.raises(ViewInvalidError, match="a pod needs a name"):
        parse_pod({"metadata": {}, "spec": {"containers": [{"name": "c"}]}})

"""Rules on pods and workloads, in the recorded words of a real API server."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pullet.policy.admission import always_pull_images, always_pull_images_errors, must_always_pull
from pullet.policy.object_defaulting import default_deployment
from pullet.policy.pod_defaulting import default_pod
from pullet.policy.pod_validation import UPDATE_TEXT, pod_warnings, validate_pod, validate_pod_update
from pullet.policy.workload_validation import validate_deployment


def pod(**container: Any) -> dict[str, Any]:
    one = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "nginx:1", **container}]}}
    default_pod(one)
    return one


def texts(obj: dict[str, Any]) -> list[str]:
    return [str(error) for error in validate_pod(obj)]


POLICIES = 'supported values: "Always", "IfNotPresent", "Never"'


@pytest.mark.parametrize(
    ("container", "text"),
    [
        ({"imagePullPolicy": "always"}, f'imagePullPolicy: Unsupported value: "always": {POLICIES}'),
        ({"imagePullPolicy": "Sometimes"}, f'imagePullPolicy: Unsupported value: "Sometimes": {POLICIES}'),
        ({"image": ""}, "image: Required value"),
        ({"image": " nginx"}, 'image: Invalid value: " nginx": must not have leading or trailing whitespace'),
        ({"image": "nginx "}, 'image: Invalid value: "nginx ": must not have leading or trailing whitespace'),
        ({"name": ""}, "name: Required value"),
        ({"ports": [{"containerPort": 0}]}, "ports[0].containerPort: Required value"),
        (
            {"ports": [{"containerPort": 70000}]},
            "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        ({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, 'volumeMounts[0].name: Not found: "v"'),
        ({"env": [{"value": "x"}]}, "env[0].name: Required value"),
        (
            {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            'resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        ({"livenessProbe": {}}, "livenessProbe: Required value: must specify a handler type"),
    ],
)
def test_container_rules(container: dict[str, Any], text: str) -> None:
    assert texts(pod(**container)) == [f"spec.containers[0].{text}"]


def test_a_pod_without_containers() -> None:
    assert texts({"spec": {"containers": [], "restartPolicy": "Always", "dnsPolicy": "Default"}}) == [
        "spec.containers: Required value"
    ]


def test_init_containers_and_image_volumes() -> None:
    one = pod()
    one["spec"]["initContainers"] = [{"name": "i", "image": "busybox", "imagePullPolicy": "Foo"}]
    one["spec"]["volumes"] = [{"name": "v", "image": {"reference": "a:1", "pullPolicy": "Foo"}}]
    default_pod(one)
    assert texts(one) == [
        f'spec.volumes[0].image.pullPolicy: Unsupported value: "Foo": {POLICIES}',
        f'spec.initContainers[0].imagePullPolicy: Unsupported value: "Foo": {POLICIES}',
    ]


def test_an_image_volume_without_reference_is_no_volume_to_mount() -> None:
    one = pod(volumeMounts=[{"name": "v", "mountPath": "/v"}])
    one["spec"]["volumes"] = [{"name": "v", "image": {"pullPolicy": "Always"}}]
    assert texts(one) == [
        "spec.volumes[0].image.reference: Required value",
        'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ]


def test_names_are_unique() -> None:
    one = pod()
    one["spec"]["containers"].append(copy.deepcopy(one["spec"]["containers"][0]))
    assert texts(one) == ['spec.containers[1].name: Duplicate value: "x"']


def test_an_unnamed_pull_secret_is_only_warned_of() -> None:
    one = pod()
    one["spec"]["imagePullSecrets"] = [{}]
    assert texts(one) == []
    assert pod_warnings(one) == ['spec.imagePullSecrets[0].name: invalid empty name ""']


def test_only_images_may_change_in_a_pod() -> None:
    old, new = pod(), pod(image="nginx:2", imagePullPolicy="IfNotPresent")
    assert validate_pod_update(new, old) == []
    new["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    (error,) = validate_pod_update(new, old)
    assert str(error).startswith(f"spec: Forbidden: {UPDATE_TEXT}\n@@")
    assert '-   "imagePullPolicy": "IfNotPresent",\n+   "imagePullPolicy": "Always",' in str(error)


def test_ephemeral_containers_are_not_changed_with_the_rest_of_a_pod() -> None:
    old, new = pod(), pod()
    new["spec"]["ephemeralContainers"] = []
    assert validate_pod_update(new, old) == []
    new["spec"]["ephemeralContainers"] = [{"name": "debug"}]
    (error,) = validate_pod_update(new, old)
    assert str(error).startswith(f"spec: Forbidden: {UPDATE_TEXT}\n@@")


def test_tolerations_may_only_be_added_and_deadlines_only_shortened() -> None:
    old = pod()
    new = copy.deepcopy(old)
    new["spec"]["tolerations"] = [{"operator": "Exists"}]
    new["spec"]["activeDeadlineSeconds"] = 10
    assert validate_pod_update(new, old) == []
    assert validate_pod_update(old, new) != []


@pytest.mark.parametrize(
    ("container", "text"),
    [
        ({"image": ""}, "spec.template.spec.containers[0].image: Required value"),
        (
            {"image": "a", "imagePullPolicy": "always"},
            f'spec.template.spec.containers[0].imagePullPolicy: Unsupported value: "always": {POLICIES}',
        ),
    ],
)
def test_templates_are_held_to_the_same_words(container: dict[str, Any], text: str) -> None:
    deployment: dict[str, Any] = {
        "kind": "Deployment",
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x", **container}]}},
        },
    }
    default_deployment(deployment)
    assert [str(error) for error in validate_deployment(deployment)] == [text]


def test_a_selector_must_match_its_template() -> None:
    deployment: dict[str, Any] = {
        "kind": "Deployment",
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "x", "image": "a"}]}},
        },
    }
    default_deployment(deployment)
    assert [str(error) for error in validate_deployment(deployment)] == [
        'spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not match template `labels`'
    ]


def test_always_pull_images_overrides_everything_that_pulls() -> None:
    one = pod(imagePullPolicy="Never")
    one["spec"]["initContainers"] = [{"name": "i", "image": "b:1", "imagePullPolicy": "IfNotPresent"}]
    one["spec"]["volumes"] = [{"name": "v", "image": {"reference": "c:1", "pullPolicy": "Never"}}]
    assert [str(error) for error in always_pull_images_errors(one)] == [
        'spec.initContainers[0].imagePullPolicy: Unsupported value: "IfNotPresent": supported values: "Always"',
        'spec.containers[0].imagePullPolicy: Unsupported value: "Never": supported values: "Always"',
        'spec.volumes[0].image.pullPolicy: Unsupported value: "Never": supported values: "Always"',
    ]
    always_pull_images(one)
    assert always_pull_images_errors(one) == []


def test_always_pull_images_looks_at_an_update_only_for_images_new_to_the_pod() -> None:
    old = pod()
    old["spec"]["initContainers"] = [{"name": "i", "image": "b:1"}]
    assert must_always_pull(old, None)
    assert not must_always_pull(pod(image="b:1"), old), "known from another container of the pod"
    assert must_always_pull(pod(image="new:1"), old)

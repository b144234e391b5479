"""Ephemeral containers: what they may be, and that they never change."""

from __future__ import annotations

import copy

from pullet.base.jsonvalue import JsonObject
from pullet.policy.ephemeral_validation import validate_ephemeral_container, validate_ephemeral_update
from pullet.policy.pod_validation import validate_pod_create, validate_pod_template


def pod(*names: str) -> JsonObject:
    debugs = [{"name": name, "image": "busybox:1"} for name in names]
    return {"spec": {"containers": [{"name": "x", "image": "a:1"}], "ephemeralContainers": debugs}}


def test_some_fields_are_not_for_ephemeral_containers() -> None:
    container = {
        "name": "debug",
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"exec": {"command": ["true"]}},
        "resources": {},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/w", "subPath": "w"}],
        "targetContainerName": "nobody",
    }
    assert [str(error) for error in validate_ephemeral_container(container, "here", {"x"})] == [
        "here.ports: Forbidden: cannot be set for an Ephemeral Container",
        "here.livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
        "here.volumeMounts[1].subPath: Forbidden: cannot be set for an Ephemeral Container",
        'here.targetContainerName: Not found: "nobody"',
    ]
    assert validate_ephemeral_container({"targetContainerName": "x"}, "here", {"x"}) == []


def test_they_are_added_only() -> None:
    assert validate_ephemeral_update(pod("a", "b"), pod("b")) == []
    changed = copy.deepcopy(pod("a"))
    changed["spec"]["ephemeralContainers"][0]["image"] = "busybox:2"
    errors = validate_ephemeral_update(changed, pod("a", "b"))
    assert [str(error) for error in errors] == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "a" may not be changed\n'
        '@@ -1,4 +1,4 @@\n {\n- "image": "busybox:1",\n+ "image": "busybox:2",\n  "name": "a"\n }\n',
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "b" may not be removed\n',
    ]


def test_neither_new_pods_nor_templates_have_any() -> None:
    (error,) = validate_pod_create(pod("a"))
    assert str(error) == "spec.ephemeralContainers: Forbidden: cannot be set on create"
    assert str(validate_pod_template(pod("a"), "spec.template")[-1]) == (
        "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
    )


def test_a_pod_with_gates_has_no_node() -> None:
    gated = pod()
    gated["spec"] |= {"nodeName": "n1", "schedulingGates": [{"name": "wait"}]}
    (error,) = validate_pod_create(gated)
    assert str(error) == "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"

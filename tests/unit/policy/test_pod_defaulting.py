"""Defaults of pods: the recorded table of pull policies, and the pod as a real server stored it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pullet.policy.admission import add_default_tolerations, add_priority, add_service_account
from pullet.policy.object_defaulting import (
    default_deployment,
    default_job,
    default_secret,
    prepare_job,
    prepare_pod,
)
from pullet.policy.pod_defaulting import default_pod, default_pod_template


def pod(**container: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "nginx:1", **container}]}}


A64 = "a" * 64


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.17.1", "IfNotPresent"),
        (f"nginx@sha256:{A64}", "IfNotPresent"),
        (f"nginx:latest@sha256:{A64}", "Always"),
        (f"nginx:1.17.1@sha256:{A64}", "IfNotPresent"),
        ("127.0.0.1:5000/nginx", "Always"),
        ("127.0.0.1:5000/nginx:1", "IfNotPresent"),
        ("nginx:Latest", "IfNotPresent"),
        ("nginx:latest-alpine", "IfNotPresent"),
        ("Nginx", "IfNotPresent"),
        ("nginx:", "IfNotPresent"),
        ("nginx latest", "IfNotPresent"),
        ("localhost/nginx", "Always"),
        (A64, "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    one = pod(image=image)
    one["spec"]["volumes"] = [{"name": "v", "image": {"reference": image}}]
    default_pod(one)
    assert one["spec"]["containers"][0]["imagePullPolicy"] == policy
    assert one["spec"]["volumes"][0]["image"]["pullPolicy"] == policy


def test_a_policy_that_is_set_stays_and_later_images_do_not_change_it() -> None:
    one = pod(image="nginx:latest", imagePullPolicy="IfNotPresent")
    default_pod(one)
    assert one["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"


def test_the_stored_pod_is_that_of_a_real_server() -> None:
    one = pod()
    prepare_pod(one)
    default_pod(one)
    one["spec"]["serviceAccountName"] = one["spec"]["serviceAccount"] = "default"
    add_service_account(one, {}, volume_suffix="8z4xh")
    add_default_tolerations(one)
    assert add_priority(one, {}) == ""
    spec = one["spec"]
    assert one["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert spec["containers"] == [
        {
            "image": "nginx:1",
            "imagePullPolicy": "IfNotPresent",
            "name": "x",
            "resources": {},
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File",
            "volumeMounts": [
                {
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                    "name": "kube-api-access-8z4xh",
                    "readOnly": True,
                }
            ],
        }
    ]
    assert {key: spec[key] for key in spec if key not in ("containers", "volumes", "tolerations")} == {
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "terminationGracePeriodSeconds": 30,
    }
    assert [(t["key"], t["tolerationSeconds"]) for t in spec["tolerations"]] == [
        ("node.kubernetes.io/not-ready", 300),
        ("node.kubernetes.io/unreachable", 300),
    ]
    sources = spec["volumes"][0]["projected"]["sources"]
    assert sources[0] == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}


def test_defaulting_twice_changes_nothing() -> None:
    one = pod(
        ports=[{"containerPort": 80}],
        livenessProbe={"httpGet": {"port": 80}},
        env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        resources={"limits": {"cpu": "1"}},
    )
    one["spec"]["volumes"] = [{"name": "e"}, {"name": "s", "secret": {"secretName": "s"}}]
    default_pod(one)
    again = copy.deepcopy(one)
    default_pod(again)
    assert again == one
    container = one["spec"]["containers"][0]
    assert container["ports"][0]["protocol"] == "TCP"
    assert container["livenessProbe"] == {
        "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }
    assert container["resources"]["requests"] == {"cpu": "1"}
    assert one["spec"]["volumes"] == [
        {"name": "e", "emptyDir": {}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 420}},
    ]


def test_templates_are_defaulted_but_not_decided() -> None:
    template: dict[str, Any] = {
        "spec": {"containers": [{"name": "x", "image": "a", "resources": {"limits": {"cpu": "1"}}}]}
    }
    default_pod_template(template)
    assert "enableServiceLinks" not in template["spec"]
    assert "requests" not in template["spec"]["containers"][0]["resources"]


def test_pull_secrets_come_from_the_account_unless_the_pod_has_its_own() -> None:
    account = {"imagePullSecrets": [{"name": "regcred"}]}
    one, own = pod(), pod()
    own["spec"]["imagePullSecrets"] = [{"name": "mine"}]
    for each in (one, own):
        default_pod(each)
        add_service_account(each, account, volume_suffix="aaaaa")
    assert one["spec"]["imagePullSecrets"] == [{"name": "regcred"}]
    assert own["spec"]["imagePullSecrets"] == [{"name": "mine"}]


def test_no_token_is_mounted_where_it_is_not_wanted() -> None:
    one = pod()
    one["spec"]["automountServiceAccountToken"] = False
    add_service_account(one, {}, volume_suffix="aaaaa")
    assert "volumes" not in one["spec"]
    other = pod()
    add_service_account(other, {"automountServiceAccountToken": False}, volume_suffix="aaaaa")
    assert "volumes" not in other["spec"]


def test_deployment_defaults() -> None:
    deployment: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "x", "image": "a:1"}]}}}}
    default_deployment(deployment)
    spec = deployment["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (1, 10, 600)
    assert spec["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"


def test_a_job_selects_its_own_pods() -> None:
    job: dict[str, Any] = {"metadata": {"name": "j", "uid": "u1"}, "spec": {"template": {"spec": {"containers": []}}}}
    prepare_job(job)
    default_job(job)
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"
    assert (job["spec"]["completions"], job["spec"]["parallelism"], job["spec"]["backoffLimit"]) == (1, 1, 6)


def test_string_data_becomes_data() -> None:
    secret: dict[str, Any] = {"stringData": {"a": "b"}, "data": {"c": "ZA=="}}
    default_secret(secret)
    assert secret == {"data": {"c": "ZA==", "a": "Yg=="}, "type": "Opaque"}

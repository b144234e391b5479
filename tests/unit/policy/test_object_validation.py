"""Rules on metadata, Services and Secrets, in the words of the API server."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.kube.meta import dns_subdomain_problems
from pullet.policy.object_defaulting import default_service
from pullet.policy.object_validation import ANNOTATIONS_LIMIT, validate_metadata, validate_secret
from pullet.policy.service_validation import validate_service


def service(**spec: Any) -> dict[str, Any]:
    """A Service as it is after defaulting."""
    made: dict[str, Any] = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], **spec}}
    default_service(made)
    return made


@pytest.mark.parametrize(
    ("spec", "texts"),
    [
        ({}, []),
        ({"ports": []}, ["spec.ports: Required value"]),
        ({"ports": [], "clusterIP": "None"}, []),
        ({"type": "ExternalName", "ports": []}, [
            "spec.externalName: Required value",
            "spec.externalName: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case "
            "alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. "
            "'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"]),
        ({"type": "Odd"}, [
            'spec.type: Unsupported value: "Odd": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
            '"NodePort"']),
        ({"ports": [{"port": 80}, {"port": 81}]},
         ["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"]),
        ({"ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]},
         ['spec.ports[1].name: Duplicate value: "a"']),
        ({"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 80}]}, [
            'spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,'
            '"NodePort":0}']),
        ({"ports": [{"port": 70000}]}, [
            "spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
        ({"ports": [{"port": 80, "targetPort": "Web_Port"}]}, [
            'spec.ports[0].targetPort: Invalid value: "Web_Port": must contain only alpha-numeric characters (a-z, '
            '0-9), and hyphens (-)']),
        ({"ports": [{"port": 80, "protocol": "ICMP"}]},
         ['spec.ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"']),
        ({"sessionAffinity": "Sticky"},
         ['spec.sessionAffinity: Unsupported value: "Sticky": supported values: "ClientIP", "None"']),
    ],
)  # fmt: skip
def test_services(spec: dict[str, Any], texts: list[str]) -> None:
    assert [str(error) for error in validate_service(service(**spec))] == texts


@pytest.mark.parametrize(
    ("kind", "data", "texts"),
    [
        ("kubernetes.io/ssh-auth", {}, ["data[ssh-privatekey]: Required value"]),
        ("kubernetes.io/tls", {"tls.crt": "YQ=="}, ["data[tls.key]: Required value"]),
        ("kubernetes.io/service-account-token", {},
         ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]),
        ("Opaque", {}, []),
    ],
)  # fmt: skip
def test_secrets_of_a_type_have_its_keys(kind: str, data: dict[str, str], texts: list[str]) -> None:
    secret = {"metadata": {"name": "s"}, "type": kind, "data": data}
    assert [str(error) for error in validate_secret(secret)] == texts


def owner(name: str) -> dict[str, Any]:
    """A controlling owner."""
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": True}


def test_an_object_has_one_controller_and_limited_annotations() -> None:
    meta = {"name": "a", "ownerReferences": [owner("x"), owner("y")], "annotations": {"a": "b" * ANNOTATIONS_LIMIT}}
    size, controllers = validate_metadata({"metadata": meta}, is_namespaced=False, name_problems=dns_subdomain_problems)
    assert str(size) == "metadata.annotations: Too long: may not be more than 262144 bytes"
    assert str(controllers).endswith(
        'Only one reference can have Controller set to true. Found "true" in references for Pod/x and Pod/y'
    )

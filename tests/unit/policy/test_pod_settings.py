"""Rules on the rarer parts of a pod: placement, DNS, host aliases, seccomp, volume items, probes."""

from __future__ import annotations

from typing import Any

import pytest

from pullet.policy.pod_defaulting import default_pod
from pullet.policy.pod_validation import validate_pod

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
ADDRESS = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def texts(container: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    one = {"name": "x", "image": "nginx:1", **(container or {})}
    pod = {"metadata": {"name": "x"}, "spec": {"containers": [one], **spec}}
    default_pod(pod)
    return [str(error) for error in validate_pod(pod)]


def needs(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}


def where(**expression: Any) -> dict[str, Any]:
    return needs({"matchExpressions": [expression]})


TERM = f"spec.affinity.nodeAffinity.{REQUIRED}.nodeSelectorTerms"
EXPRESSION = f"{TERM}[0].matchExpressions[0]"
WISH = f"spec.affinity.podAntiAffinity.{PREFERRED}[0]"


@pytest.mark.parametrize(
    ("affinity", "text"),
    [
        (needs(), f"{TERM}: Required value: must have at least one node selector term"),
        (
            where(key="a", operator="In"),
            f"{EXPRESSION}.values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            where(key="a", operator="Exists", values=["x"]),
            f"{EXPRESSION}.values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        (
            where(key="a", operator="Gt", values=["1", "2"]),
            f"{EXPRESSION}.values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
        ),
        (
            where(key="a", operator="Near"),
            f'{EXPRESSION}.operator: Invalid value: "Near": not a valid selector operator',
        ),
        (
            needs({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["n"]}]}),
            f'{TERM}[0].matchFields[0].key: Invalid value: "spec.x": not a valid field selector key',
        ),
        (
            {"podAffinity": {REQUIRED: [{"labelSelector": {}}]}},
            f"spec.affinity.podAffinity.{REQUIRED}[0].topologyKey: Required value: can not be empty",
        ),
        (
            {"podAntiAffinity": {PREFERRED: [{"weight": 101, "podAffinityTerm": {"topologyKey": "zone"}}]}},
            f"{WISH}.weight: Invalid value: 101: must be in the range 1-100",
        ),
    ],
)
def test_affinity(affinity: dict[str, Any], text: str) -> None:
    assert texts(affinity=affinity) == [text]


def test_affinity_that_is_right() -> None:
    right = where(key="kubernetes.io/arch", operator="In", values=["amd64"])
    wish = {"weight": 1, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {}}}
    assert texts(affinity=right | {"podAntiAffinity": {PREFERRED: [wish]}}) == []


SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"maxSkew": 0}, ".maxSkew: Invalid value: 0: must be greater than zero"),
        ({"topologyKey": ""}, ".topologyKey: Required value: can not be empty"),
        (
            {"whenUnsatisfiable": "Cry"},
            '.whenUnsatisfiable: Unsupported value: "Cry": supported values: "DoNotSchedule", "ScheduleAnyway"',
        ),
        ({"minDomains": 0}, ".minDomains: Invalid value: 0: must be greater than 0"),
        (
            {"minDomains": 2, "whenUnsatisfiable": "ScheduleAnyway"},
            ".minDomains: Invalid value: 2: can only use "
            "minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
        ),
    ],
)
def test_spreading(change: dict[str, Any], text: str) -> None:
    assert texts(topologySpreadConstraints=[SPREAD | change]) == [f"spec.topologySpreadConstraints[0]{text}"]


def test_spreading_twice_over_the_same() -> None:
    twice = "spec.topologySpreadConstraints[1].{topologyKey, whenUnsatisfiable}: Duplicate value"
    assert texts(topologySpreadConstraints=[SPREAD, SPREAD]) == [f'{twice}: "{{zone, DoNotSchedule}}"']
    assert texts(topologySpreadConstraints=[SPREAD, SPREAD | {"topologyKey": "host"}]) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"dnsPolicy": "None"}, "dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        (
            {"dnsPolicy": "None", "dnsConfig": {}},
            "dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
        ),
        ({"dnsConfig": {"nameservers": ["x"]}}, f'dnsConfig.nameservers[0]: Invalid value: "x": {ADDRESS}'),
        (
            {"dnsConfig": {"nameservers": ["::1"] * 4}},
            'dnsConfig.nameservers: Invalid value: ["::1","::1","::1","::1"]: must not have more than 3 nameservers',
        ),
        ({"dnsConfig": {"options": [{"value": "1"}]}}, "dnsConfig.options[0]: Required value: must not be empty"),
        (
            {"hostAliases": [{"ip": "1.2.3", "hostnames": ["a"]}]},
            f'hostAliases[0].ip: Invalid value: "1.2.3": {ADDRESS}',
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Localhost"}}},
            "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is "
            "Localhost",
        ),
        (
            {"securityContext": {"seccompProfile": {"type": "Strict"}}},
            'securityContext.seccompProfile.type: Unsupported value: "Strict": supported values: "Localhost", '
            '"RuntimeDefault", "Unconfined"',
        ),
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "s", "items": [{"key": "k"}]}}]},
            "volumes[0].secret.items[0].path: Required value",
        ),
        (
            {"volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "k", "path": "../x"}]}}]},
            "volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            {"volumes": [{"name": "v", "secret": {"secretName": "s", "defaultMode": 512}}]},
            "volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), "
            "both inclusive",
        ),
        (
            {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]},
            "volumes[0].secret: Forbidden: may not specify more than 1 volume type",
        ),
    ],
)
def test_surroundings(spec: dict[str, Any], text: str) -> None:
    assert texts(**spec) == [f"spec.{text}"]


PROBE = {"httpGet": {"port": 80}}


@pytest.mark.parametrize(
    ("container", "text"),
    [
        (
            {"readinessProbe": PROBE | {"terminationGracePeriodSeconds": 5}},
            "readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes",
        ),
        (
            {"livenessProbe": PROBE | {"terminationGracePeriodSeconds": 0}},
            "livenessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            {"livenessProbe": {"httpGet": {"port": 80, "scheme": "FTP"}}},
            'livenessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS"',
        ),
        ({"lifecycle": {"preStop": {}}}, "lifecycle.preStop: Required value: must specify a handler type"),
        (
            {"securityContext": {"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}}},
            'securityContext.seccompProfile.localhostProfile: Invalid value: "x": can only be set when seccomp type is '
            "Localhost",
        ),
    ],
)
def test_containers(container: dict[str, Any], text: str) -> None:
    assert texts(container) == [f"spec.containers[0].{text}"]

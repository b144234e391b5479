"""Which other objects of its namespace a pod refers to, by name. Over raw pods.

Source: kubernetes pkg/api/v1/pod/util.go (VisitPodSecretNames, VisitPodConfigmapNames).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.policy.pod_defaulting import containers_of

# volume source → the field that names a secret or holds a reference to one
_VOLUME_SECRETS = {
    "secret": "secretName", "azureFile": "secretName", "cephfs": "secretRef", "cinder": "secretRef", "flexVolume":
    "secretRef", "rbd": "secretRef", "scaleIO": "secretRef", "iscsi": "secretRef", "storageos": "secretRef", "csi":
    "nodePublishSecretRef",
}  # fmt: skip


class PodReferences(Value, kw_only=True):
    """Names, all in the pod's namespace."""

    secrets: frozenset[str]
    configmaps: frozenset[str]
    claims: frozenset[str]
    service_account: str


def references_of(pod: JsonObject) -> PodReferences:
    """Everything the pod refers to."""
    found: dict[str, set[str]] = {"secret": set(), "configMap": set(), "claim": set()}
    for kind, name in _walk(pod.get("spec") or {}):
        if name:
            found[kind].add(str(name))
    return PodReferences(
        secrets=frozenset(found["secret"]),
        configmaps=frozenset(found["configMap"]),
        claims=frozenset(found["claim"]),
        service_account=(pod.get("spec") or {}).get("serviceAccountName") or "",
    )


def _walk(spec: JsonObject) -> Iterator[tuple[str, Any]]:
    for reference in spec.get("imagePullSecrets") or ():
        yield "secret", reference.get("name")
    for container in containers_of(spec):
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            yield "secret", (source.get("secretKeyRef") or {}).get("name")
            yield "configMap", (source.get("configMapKeyRef") or {}).get("name")
        for source in container.get("envFrom") or ():
            yield "secret", (source.get("secretRef") or {}).get("name")
            yield "configMap", (source.get("configMapRef") or {}).get("name")
    for volume in spec.get("volumes") or ():
        yield from _of_volume(volume)


def _of_volume(volume: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for source, field in _VOLUME_SECRETS.items():
        value = (volume.get(source) or {}).get(field)
        yield "secret", value.get("name") if isinstance(value, Mapping) else value
    yield "configMap", (volume.get("configMap") or {}).get("name")
    yield "claim", (volume.get("persistentVolumeClaim") or {}).get("claimName")
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "secret", (source.get("secret") or {}).get("name")
        yield "configMap", (source.get("configMap") or {}).get("name")

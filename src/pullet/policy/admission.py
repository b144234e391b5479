"""Built-in admission steps as pure functions over raw pods: what is added, what is overridden, what is refused.

Order in the chain: ServiceAccount, DefaultTolerationSeconds, Priority, AlwaysPullImages; the validating half of
AlwaysPullImages comes after the mutating webhooks. Source: kubernetes plugin/pkg/admission/*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.field_error import FieldError, not_supported
from pullet.policy.pod_defaulting import CONTAINER_LISTS, containers_of

DEFAULT_SERVICE_ACCOUNT = "default"
ACCESS_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ACCESS_VOLUME_PREFIX = "kube-api-access-"
ROOT_CA_CONFIGMAP = "kube-root-ca.crt"
ACCESS_TOKEN_SECONDS = 3607
TOLERATION_SECONDS = 300
MIRROR_POD_ANNOTATION = "kubernetes.io/config.mirror"
ALWAYS = "Always"


def add_service_account(pod: JsonObject, account: Mapping[str, Any], *, volume_suffix: str) -> None:
    """Pull secrets and the API token of the pod's ServiceAccount. Source: admission/serviceaccount.

    `volume_suffix` are five random characters for the name of the token volume.
    """
    spec = pod["spec"]
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]
    wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
    if not wanted:
        return
    volumes: list[JsonObject] = spec.setdefault("volumes", [])
    name = next((volume["name"] for volume in volumes if _is_access_volume(volume)), "")
    if not name:
        name = f"{ACCESS_VOLUME_PREFIX}{volume_suffix}"
    is_used = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts: list[JsonObject] = container.setdefault("volumeMounts", [])
        if any(mount.get("mountPath") == ACCESS_MOUNT_PATH for mount in mounts):
            continue
        mounts.append({"name": name, "readOnly": True, "mountPath": ACCESS_MOUNT_PATH})
        is_used = True
    if is_used and not any(volume.get("name") == name for volume in volumes):
        volumes.append(_access_volume(name))
    if not volumes:
        del spec["volumes"]


def _is_access_volume(volume: Mapping[str, Any]) -> bool:
    return str(volume.get("name") or "").startswith(ACCESS_VOLUME_PREFIX) and "projected" in volume


def _access_volume(name: str) -> JsonObject:
    return {
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": ACCESS_TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": ROOT_CA_CONFIGMAP, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "namespace",
                                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                            }
                        ]
                    }
                },
            ],
            "defaultMode": 420,
        },
    }


def add_default_tolerations(pod: JsonObject) -> None:
    """Tolerate a node that is not ready or unreachable for five minutes. Source: admission/defaulttolerationseconds."""
    tolerations: list[JsonObject] = pod["spec"].setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if any(
            toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
            for toleration in tolerations
        ):
            continue
        tolerations.append(
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
        )


_PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


def add_priority(pod: JsonObject, classes: Mapping[str, JsonObject]) -> str:
    """Priority and preemption policy by the PriorityClasses; the name of a class that does not exist, or nothing.

    Without a class the one marked `globalDefault` counts, the lowest if there are several.
    """
    spec = pod["spec"]
    name = spec.get("priorityClassName") or ""
    if not name:
        defaults = [each for each in classes.values() if each.get("globalDefault")]
        if defaults:
            name = spec["priorityClassName"] = min(defaults, key=lambda each: each["value"])["metadata"]["name"]
    if name and name not in _PRIORITIES and name not in classes:
        return str(name)
    found = classes.get(name, {})
    spec["priority"] = _PRIORITIES[name] if name in _PRIORITIES else found.get("value", 0)
    spec.setdefault("preemptionPolicy", found.get("preemptionPolicy", "PreemptLowerPriority"))
    return ""


def keep_on_update(pod: JsonObject, old: Mapping[str, Any]) -> None:
    """What admission gave a pod stays when a client sends the pod without it."""
    spec, before = pod["spec"], old.get("spec") or {}
    for field in ("priority", "preemptionPolicy"):
        if field in before:
            spec.setdefault(field, before[field])
    add_default_tolerations(pod)


def must_always_pull(pod: Mapping[str, Any], old: Mapping[str, Any] | None) -> bool:
    """Whether AlwaysPullImages acts: not on an update that brings no image the old pod did not have somewhere."""
    if old is None:
        return True
    known = {container.get("image") for container in containers_of(old["spec"])}
    return not {container.get("image") for container in containers_of(pod["spec"])} <= known


def always_pull_images(pod: JsonObject) -> None:
    """Every container and every image volume pulls always. Source: admission/alwayspullimages Admit."""
    for container in containers_of(pod["spec"]):
        container["imagePullPolicy"] = ALWAYS
    for volume in pod["spec"].get("volumes") or ():
        if isinstance(volume.get("image"), dict):
            volume["image"]["pullPolicy"] = ALWAYS


def always_pull_images_errors(pod: Mapping[str, Any]) -> list[FieldError]:
    """One error per container or image volume that would not pull always. Source: alwayspullimages Validate."""
    spec = pod["spec"]
    errors = []
    for field in CONTAINER_LISTS:
        containers: Sequence[Mapping[str, Any]] = spec.get(field) or ()
        for index, container in enumerate(containers):
            policy = container.get("imagePullPolicy") or ""
            if policy != ALWAYS:
                errors.append(not_supported(f"spec.{field}[{index}].imagePullPolicy", policy, (ALWAYS,)))
    for index, volume in enumerate(spec.get("volumes") or ()):
        image = volume.get("image")
        if isinstance(image, dict) and image.get("pullPolicy") != ALWAYS:
            errors.append(
                not_supported(f"spec.volumes[{index}].image.pullPolicy", image.get("pullPolicy") or "", (ALWAYS,))
            )
    return errors

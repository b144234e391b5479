"""Credentials out of a pod's image pull secrets.

A secret counts when its type and its key belong together and the value is not empty; all else is passed over in
silence. Source: kubernetes pkg/credentialprovider/secrets/secrets.go; kubelet-images spec 9.5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pullet.credentials.docker_config import DockerConfig, parse_docker_config, parse_dockercfg
from pullet.kube.secret import TYPE_DOCKER_CONFIG_JSON, TYPE_DOCKERCFG, SecretView
from pullet.policy.credential_match import SecretSource, TrackedCredential, credential_hash

DOCKER_CONFIG_JSON_KEY = ".dockerconfigjson"
DOCKERCFG_KEY = ".dockercfg"

_FORMS: dict[str, tuple[str, Callable[..., DockerConfig]]] = {
    TYPE_DOCKER_CONFIG_JSON: (DOCKER_CONFIG_JSON_KEY, parse_docker_config),
    TYPE_DOCKERCFG: (DOCKERCFG_KEY, parse_dockercfg),
}


def credentials_from_secrets(secrets: Iterable[SecretView]) -> list[tuple[str, TrackedCredential]]:
    """(config key, credential) of every usable secret, in the order of the pod's spec.

    Raises:
        DockerConfigInvalidError: a secret of the right type holds something malformed; it is named.
    """
    entries: list[tuple[str, TrackedCredential]] = []
    for secret in secrets:
        key, parse = _FORMS.get(secret.type, ("", parse_docker_config))
        value = secret.data.get(key, b"") if key else b""
        if not value:
            continue
        name = f"secret {secret.namespace}/{secret.name}"
        source = SecretSource(secret.namespace, secret.name, secret.uid)
        for address, entry in parse(value, where=f"{name}: {key}").entries.items():
            auth = entry.to_auth_config()
            credential = TrackedCredential(
                auth=auth,
                source=source,
                hash=credential_hash(auth, email=entry.email),
                origin=f"{name} (key {address})",
            )
            entries.append((address, credential))
    return entries

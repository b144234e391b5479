"""Why a registry may have refused a pod: which logins its pull secrets have, and which key the image needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pullet.credentials.docker_config import DockerConfigInvalidError
from pullet.credentials.pull_secrets import DOCKER_CONFIG_JSON_KEY, credentials_from_secrets
from pullet.kube.secret import TYPE_DOCKER_CONFIG_JSON, TYPE_DOCKERCFG, SecretView
from pullet.policy.credential_match import KeyringIndex, is_default_registry

DOCKER_HUB_KEY: Final = "https://index.docker.io/v1/"
_REFUSALS: Final = (
    "401 Unauthorized",
    "403 Forbidden",
    "pull access denied",
    "authorization failed",
    "failed to authorize",
    "no basic auth credentials",
)


def is_refusal(failure: str) -> bool:
    """Whether the text of a failed pull says that somebody was not let in."""
    return any(words in failure for words in _REFUSALS)


def access_advice(repository: str, *, named: Sequence[str], secrets: Sequence[SecretView]) -> str:
    """Which pull secrets the pod has, what each is good for, and the key that `repository` needs; one sentence.

    `named` are the pod's imagePullSecrets, `secrets` those of them that could be retrieved. No secret is ever in it.
    """
    needed = f"image {repository} needs a pull secret with the key {needed_key(repository)}"
    if not named:
        return f"the pod has no imagePullSecrets, nor has its service account: {needed}"
    there = {secret.name: secret for secret in secrets}
    told = [
        _told(there[name], repository) if name in there else f"secret {name} does not exist in the pod's namespace"
        for name in dict.fromkeys(named)
    ]
    return f"{needed}; {'; '.join(told)}"


def needed_key(repository: str) -> str:
    """The key under which `docker login` and `kubectl create secret docker-registry` keep the login."""
    return DOCKER_HUB_KEY if is_default_registry(repository) else repository.partition("/")[0]


def _told(secret: SecretView, repository: str) -> str:
    name = f"secret {secret.name}"
    if secret.type not in {TYPE_DOCKER_CONFIG_JSON, TYPE_DOCKERCFG}:
        return f"{name} is of type {secret.type or 'Opaque'}, which is not looked at: want {TYPE_DOCKER_CONFIG_JSON}"
    try:
        logins = credentials_from_secrets([secret])
    except DockerConfigInvalidError as error:
        return f"{name} cannot be read: {error}"
    keys = [key for key, _ in logins]
    if not keys:
        return f"{name} has no login: want one under {DOCKER_CONFIG_JSON_KEY}"
    has = f"{name} has {'the key' if len(keys) == 1 else 'the keys'} {', '.join(keys)}"
    fits = KeyringIndex(logins).lookup(repository)
    return f"{has}, whose login the registry refused" if fits else f"{has}, none for this image"

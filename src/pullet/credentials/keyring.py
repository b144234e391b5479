"""All credentials a pull may use, in the order they are tried.

    pod's pull secrets ──► node's Docker config files ──► exec providers

Every match is returned, nothing is de-duplicated. Source: kubelet-images spec 9.1, 9.4.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from pullet.credentials.credential_helper import fetch_from_helper
from pullet.credentials.docker_config import DockerConfig, DockerConfigEntry, find_node_config
from pullet.credentials.node_config_paths import NodeConfigPaths
from pullet.credentials.provider_plugin import ExecProvider, PodServiceAccount
from pullet.credentials.pull_secrets import credentials_from_secrets
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.secret import SecretView
from pullet.policy.credential_match import (
    KeyringIndex,
    TrackedCredential,
    credential_hash,
    is_default_registry,
    matches,
)

log = logging.getLogger(__name__)

NODE_CONFIG_CACHE_SECONDS = 300.0
DOCKER_HUB_SERVER = "https://index.docker.io/v1/"


class NodeConfigFiles:
    """The node's own Docker config, read again when a file changed or after five minutes. Its logins are for every pod.

    The kubelet waits the five minutes out; here a login counts from the next pull on.
    """

    def __init__(
        self,
        paths: NodeConfigPaths,
        *,
        threads: WorkerThreads,
        clock: Clock,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is given to credential helpers; None: the process's own."""
        self._paths, self._threads, self._clock, self._environment = paths, threads, clock, environment
        self._config: DockerConfig | None = None
        self._index: KeyringIndex[tuple[str, DockerConfigEntry]] = KeyringIndex()
        self._helper_answers: dict[tuple[str, str], DockerConfigEntry | None] = {}
        self._read_at = 0.0
        self._stamp: tuple[tuple[int, int, int] | None, ...] = ()

    async def lookup(self, repository: str) -> tuple[TrackedCredential, ...]:
        """The node's logins for the repository, those of credential helpers among them."""
        config = await self._fresh_config()
        found = [
            _track(entry, f"node Docker config (key {address})")
            for address, entry in self._index.lookup(repository)
            if not entry.is_empty or not (config.creds_store or config.cred_helpers)
        ]
        if not found:
            found = await self._ask_helpers(config, repository)
        return tuple(found)

    async def _fresh_config(self) -> DockerConfig:
        now = self._clock.monotonic()
        stamp = await self._threads.run(self._paths.stamp)
        if self._config is None or stamp != self._stamp or now - self._read_at >= NODE_CONFIG_CACHE_SECONDS:
            config = await self._threads.run(
                find_node_config,
                config_json_dirs=self._paths.config_json_dirs,
                dockercfg_dirs=self._paths.dockercfg_dirs,
            )
            index = KeyringIndex((address, (address, entry)) for address, entry in config.entries.items())
            for key in index.rejected_keys:
                log.warning("node Docker config: not a registry address", extra={"key": key})
            self._config, self._index, self._read_at, self._stamp = config, index, now, stamp
            self._helper_answers.clear()
        return self._config

    async def _ask_helpers(self, config: DockerConfig, repository: str) -> list[TrackedCredential]:
        host = repository.partition("/")[0]
        helper = next((name for key, name in config.cred_helpers.items() if matches(key, repository)), "")
        helper = helper or config.creds_store
        if not helper:
            return []
        server = DOCKER_HUB_SERVER if is_default_registry(repository) else host
        if (helper, server) not in self._helper_answers:
            self._helper_answers[helper, server] = await fetch_from_helper(
                helper, server, environment=self._environment
            )
        entry = self._helper_answers[helper, server]
        return [_track(entry, f"credential helper {helper} (server {server})")] if entry is not None else []


def _track(entry: DockerConfigEntry, origin: str) -> TrackedCredential:
    auth = entry.to_auth_config()
    return TrackedCredential(auth=auth, hash=credential_hash(auth, email=entry.email), origin=origin)


class Keyring:
    """The three sources as one."""

    def __init__(self, *, node_files: NodeConfigFiles | None = None, providers: Sequence[ExecProvider] = ()) -> None:
        self._node_files, self._providers = node_files, tuple(providers)

    async def lookup(
        self,
        repository: str,
        *,
        pull_secrets: Sequence[SecretView] = (),
        account: PodServiceAccount | None = None,
    ) -> tuple[TrackedCredential, ...]:
        """Credentials for `repository` (normalised `domain/path`, no tag), first to be tried first.

        `pull_secrets` are those of the pod that could be retrieved, in spec order; `account` lets providers in
        service-account mode ask for tokens.

        Raises:
            DockerConfigInvalidError: a pull secret of the right type is malformed; the pull must not go on.
        """
        found = list(KeyringIndex(credentials_from_secrets(pull_secrets)).lookup(repository))
        if self._node_files is not None:
            found += await self._node_files.lookup(repository)
        provided: list[tuple[str, TrackedCredential]] = []
        for provider in self._providers:
            if provider.applies_to(repository):
                provided += await provider.fetch(repository, account)
        found += KeyringIndex(provided).lookup(repository)
        return tuple(found)

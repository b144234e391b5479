"""The node's own credentials: its Docker config files and its exec credential providers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from pullet.assembly.image_settings import node_config_paths
from pullet.base.errors import UsageError
from pullet.config import Settings
from pullet.credentials.keyring import Keyring, NodeConfigFiles
from pullet.credentials.provider_config import load_provider_configs
from pullet.credentials.provider_plugin import ExecProvider
from pullet.cri.errors import InvalidArgumentError
from pullet.cri.types import AuthConfig
from pullet.engine.credential import to_credential
from pullet.engine.image_service import MirrorLogins
from pullet.kit.clock import Clock
from pullet.kit.tasks import one_error
from pullet.kit.worker_threads import WorkerThreads
from pullet.registry.auth import Credential

log = logging.getLogger(__name__)

NodeCredentials: TypeAlias = Callable[[str], Awaitable[Sequence[AuthConfig]]]


@asynccontextmanager
async def open_keyring(
    settings: Settings, root: Path, *, threads: WorkerThreads, clock: Clock
) -> AsyncIterator[Keyring]:
    """The keyring of the node whose directory is `root`; its provider programs end with the block.

    Raises:
        UsageError: the provider configuration is missing a part or wrong.
    """
    paths = await threads.run(node_config_paths, root)
    with one_error():
        async with asyncio.TaskGroup() as group:
            providers = await threads.run(_providers, settings, group, clock)
            yield Keyring(node_files=NodeConfigFiles(paths, threads=threads, clock=clock), providers=providers)


def node_credentials(keyring: Keyring) -> NodeCredentials:
    """What a pull without a pod may use: the node's own credentials, in order."""

    async def lookup(repository: str) -> Sequence[AuthConfig]:
        return [credential.auth for credential in await keyring.lookup(repository)]

    return lookup


def mirror_logins(keyring: Keyring) -> MirrorLogins:
    """The node's own credentials for a mirror; a pod's secrets are for the registry that its images name."""

    async def lookup(repository: str) -> Sequence[Credential]:
        found: list[Credential] = []
        for each in await keyring.lookup(repository):
            try:
                credential = to_credential(each.auth, repository.partition("/")[0])
            except InvalidArgumentError as error:
                log.warning("login for a mirror is passed over", extra={"origin": each.origin, "error": str(error)})
                continue
            if credential is not None:
                found.append(replace(credential, origin=each.origin))
        return found

    return lookup


def _providers(settings: Settings, group: asyncio.TaskGroup, clock: Clock) -> tuple[ExecProvider, ...]:
    config, directory = settings.image_credential_provider_config, settings.image_credential_provider_bin_dir
    if not config and not directory:
        return ()
    if not config or not directory:
        missing = "imageCredentialProviderBinDir" if config else "imageCredentialProviderConfig"
        raise UsageError(f"{missing} is missing: the programs' directory and their configuration go together")
    bin_directory = Path(directory)
    environment = dict(os.environ)
    return tuple(
        ExecProvider(each, bin_directory=bin_directory, clock=clock, group=group, environment=environment)
        for each in load_provider_configs(Path(config), bin_directory)
    )

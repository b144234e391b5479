"""The node's own credentials: its Docker config files and its exec credential providers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from pullet.assembly.image_settings import node_config_paths
from pullet.base.errors import UsageError
from pullet.config import Settings
from pullet.credentials.keyring import Keyring, NodeConfigFiles
from pullet.credentials.provider_config import load_provider_configs
from pullet.credentials.provider_plugin import ExecProvider
from pullet.cri.types import AuthConfig
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import WorkerThreads

NodeCredentials: TypeAlias = Callable[[str], Awaitable[Sequence[AuthConfig]]]


async def open_keyring(
    settings: Settings, root: Path, *, group: asyncio.TaskGroup, threads: WorkerThreads, clock: Clock
) -> Keyring:
    """The keyring of the node whose directory is `root`; provider programs run in `group`.

    Raises:
        UsageError: the provider configuration is missing a part or wrong.
    """
    paths = await threads.run(node_config_paths, root)
    providers = await threads.run(_providers, settings, group, clock)
    return Keyring(node_files=NodeConfigFiles(paths, threads=threads, clock=clock), providers=providers)


def node_credentials(keyring: Keyring) -> NodeCredentials:
    """What a pull without a pod may use: the node's own credentials, in order."""

    async def lookup(repository: str) -> Sequence[AuthConfig]:
        return [credential.auth for credential in await keyring.lookup(repository)]

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

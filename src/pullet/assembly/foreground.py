"""`pullet up` as a process: signals, logging, the line that says it is ready."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import Literal

import uvloop

from pullet.assembly.cluster import Cluster
from pullet.assembly.root_lock import RootLock
from pullet.config import Settings
from pullet.kit import logging as pullet_logging
from pullet.kit.clock import SystemClock
from pullet.kit.secrecy import forbid_core_dumps


def run_foreground(
    settings: Settings,
    *,
    log_level: str,
    log_style: Literal["text", "json"],
    announce: Callable[[str], None],
) -> None:
    """Run until SIGINT, SIGTERM or `pullet down`. Containers are left running unless `down` asked for their end.

    Raises:
        UsageError: a port is taken, the root is in use, a setting is wrong.
    """
    forbid_core_dumps()
    pullet_logging.configure(level=log_level, style=log_style)
    with RootLock(settings.root_path), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, announce))


async def _run(settings: Settings, announce: Callable[[str], None]) -> None:
    cluster = Cluster(settings, SystemClock())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, cluster.stop, False)

    def ready() -> None:
        gc.freeze()  # what start-up made lives for ever: the collector need not look at it again
        names = ", ".join(settings.node_names)
        announce(f"pullet is up: node {names}, API server {cluster.api_url}, registry {cluster.registry_url}")
        if settings.is_open_to_the_network:
            announce(
                f"warning: the API server listens on {settings.listen_address}, so whoever reaches this machine can "
                "try to log in; only client certificates and tokens of this cluster let them in"
            )
        announce(f"export KUBECONFIG={settings.root_path / 'kubeconfig'}")

    left = await cluster.run(ready)
    if left:
        announce(f"{left} pod(s) keep running; `pullet up` adopts them, `pullet down` would have ended them")

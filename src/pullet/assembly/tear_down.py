"""Ends what outlives a node on purpose: its containers, its namespaces, its bridge."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.kit.process import run_command

log = logging.getLogger(__name__)


async def stop_pods(runtime: RuntimeService) -> int:
    """Stop and remove every sandbox with its containers, together; gives how many there were."""

    async def end(sandbox_id: str) -> None:
        try:
            await runtime.stop_pod_sandbox(sandbox_id)
            await runtime.remove_pod_sandbox(sandbox_id)
        except CriError as error:
            log.warning("sandbox was not removed", extra={"sandbox": sandbox_id, "error": str(error)})

    sandboxes = await runtime.list_pod_sandbox()
    async with asyncio.TaskGroup() as group:
        for sandbox in sandboxes:
            group.create_task(end(sandbox.id))
    return len(sandboxes)


async def remove_bridge(name: str) -> None:
    """Remove the pod bridge; it comes back with the next sandbox."""
    if Path(f"/sys/class/net/{name}").exists():  # noqa: ASYNC240 - sysfs does not wait for a disk
        await run_command(["ip", "link", "delete", name])

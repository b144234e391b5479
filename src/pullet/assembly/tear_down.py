"""What outlives a node on purpose, and its end: its containers, its namespaces, its bridge."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
from pathlib import Path
from typing import Final

from pullet.base.errors import UsageError
from pullet.cri.errors import CriError
from pullet.cri.services import RuntimeService
from pullet.kit.process import run_command
from pullet.node.node import Node

_SIOCBRADDBR: Final = 0x89A0

log = logging.getLogger(__name__)


async def end_pods(node: Node, grace_seconds: float) -> None:
    """Let the containers of a node that has stopped end by themselves; what will not is left to `stop_pods`."""
    try:
        await node.end_pods(grace_seconds)
    except CriError as error:
        log.warning("a pod did not end in time", extra={"node": node.name, "error": str(error)})


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


def make_bridge(name: str) -> None:
    """Make the pod bridge before there is a pod, so that one can listen on it; the first sandbox gives it its address.

    Raises:
        UsageError: the kernel refused.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as any_socket:
            fcntl.ioctl(any_socket, _SIOCBRADDBR, name.encode() + b"\0")
    except FileExistsError:
        return
    except OSError as error:
        raise UsageError(f"the bridge {name} for pods cannot be made: {error.strerror}") from error


async def remove_bridge(name: str) -> None:
    """Remove the pod bridge; it comes back with the next sandbox."""
    if Path(f"/sys/class/net/{name}").exists():  # noqa: ASYNC240 - sysfs does not wait for a disk
        await run_command(["ip", "link", "delete", name])

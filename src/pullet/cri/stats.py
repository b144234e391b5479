"""What a container uses: CRI's ContainerStats, as far as a node under pressure needs it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from pullet.base.values import Value


class ContainerStats(Value, kw_only=True):
    """One container, now."""

    id: str
    memory_working_set_bytes: int  # 0 when nothing of it runs
    writable_layer_bytes: int
    writable_layer_inodes: int


@runtime_checkable
class ContainerStatistics(Protocol):
    """Measures containers. Probed with isinstance; without it a node knows of their disk only volumes and logs."""

    async def container_stats(self, container_id: str) -> ContainerStats:
        """One container, ended ones too. Walks its writable layer. Raises NotFoundError."""
        ...

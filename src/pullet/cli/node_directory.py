"""Which node a command means when no node runs that could tell."""

from __future__ import annotations

from pullet.config import Settings


def choose_node(settings: Settings, wanted: str) -> str:
    """The node called `wanted`, else the first that is at the root, else the one that `pullet up` would make."""
    nodes = settings.root_path / "nodes"
    existing = sorted(path.name for path in nodes.iterdir()) if nodes.is_dir() else []
    return wanted or (existing[0] if existing else settings.node_names[0])

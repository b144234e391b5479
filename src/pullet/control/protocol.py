"""The messages of the control socket: JSON objects, one per line where they stream.

The client side imports nothing heavy, so a short command starts quickly; hence TypedDicts and not structs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict

DEFAULT_ROOT = Path("/var/lib/pullet")
SOCKET_NAME = "control.sock"


def socket_path(root: Path) -> Path:
    """Where the node at `root` listens."""
    return root / SOCKET_NAME


class LayerLine(TypedDict):
    """One layer of a pull under way; compressed bytes, total 0 = unknown."""

    digest: str
    phase: str
    done_bytes: int
    total_bytes: int


class ProgressMessage(TypedDict):
    """A snapshot of a pull."""

    kind: str  # "progress"
    image: str
    phase: str
    layers: list[LayerLine]


class PulledMessage(TypedDict):
    """The end of a pull that succeeded."""

    kind: str  # "pulled"
    image: str  # docker.io/library/nginx:latest
    image_id: str
    digest: str  # of the manifest or index that the reference names; empty if the runtime does not say
    is_new: bool  # whether the name points to something else than before
    downloaded_bytes: int
    elapsed_seconds: float


class ErrorMessage(TypedDict):
    """A failure: the runtime's words, and below them the plain cause and the next step where known."""

    kind: str  # "error"
    reason: str
    message: str
    cause: NotRequired[str]
    next_step: NotRequired[str]


class ImageRow(TypedDict):
    """One image as listed."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    size_bytes: int
    is_pinned: bool


class NodeRow(TypedDict):
    """One node of the process."""

    name: str
    details: dict[str, Any]  # what the store and the runtime say of themselves


class StatusMessage(TypedDict):
    """What runs here."""

    version: str
    pid: int
    root: str
    started_at: str
    api_server: str
    registry: str
    kubeconfig: str
    nodes: list[NodeRow]

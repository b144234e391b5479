"""Typed read view of a Node. Source: kubernetes api/core/v1 types.go."""

from __future__ import annotations

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.kube.container import QuantityText
from pullet.kube.view import ObjectMetaView, View, ViewInvalidError, parse_view


class TaintView(View, frozen=True, kw_only=True):
    """Keeps pods without a matching toleration away."""

    key: str
    value: str = ""
    effect: str = ""


class NodeSpecView(View, frozen=True, kw_only=True):
    """What an administrator says about the node."""

    unschedulable: bool = False
    taints: tuple[TaintView, ...] = ()
    pod_cidr: str = msgspec.field(default="", name="podCIDR")


class NodeConditionView(View, frozen=True, kw_only=True):
    """Ready, MemoryPressure, DiskPressure, PIDPressure …"""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class ContainerImageView(View, frozen=True, kw_only=True):
    """An image on the node as the scheduler sees it (spec 18)."""

    names: tuple[str, ...] = ()
    size_bytes: int = 0


class NodeAddressView(View, frozen=True, kw_only=True):
    """InternalIP, Hostname …"""

    type: str
    address: str


class NodeStatusView(View, frozen=True, kw_only=True):
    """What the node says about itself."""

    capacity: dict[str, QuantityText] = msgspec.field(default_factory=dict)
    allocatable: dict[str, QuantityText] = msgspec.field(default_factory=dict)
    conditions: tuple[NodeConditionView, ...] = ()
    addresses: tuple[NodeAddressView, ...] = ()
    images: tuple[ContainerImageView, ...] = ()


class NodeView(View, frozen=True, kw_only=True):
    """A node."""

    metadata: ObjectMetaView
    spec: NodeSpecView = NodeSpecView()
    status: NodeStatusView = NodeStatusView()

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def is_ready(self) -> bool:
        """Whether condition Ready is True."""
        return any(condition.type == "Ready" and condition.status == "True" for condition in self.status.conditions)


def parse_node(obj: JsonObject) -> NodeView:
    """The raw node as a view.

    Raises:
        ViewInvalidError: a field has the wrong type, or the node has no name.
    """
    node = parse_view(obj, NodeView, kind="Node")
    if not node.name:
        raise ViewInvalidError(what="Node", field="metadata.name", problem="is empty, a node needs a name")
    return node

"""Typed read views of a container in a pod: image, command, env, probes, hooks, security.

Three classes tell the three lists of a pod spec apart, so that a container knows its own place in events
(`spec.initContainers{name}`). Source: kubernetes api/core/v1 types.go; field paths: kubelet-images spec 12.4.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, TypeAlias

import msgspec

from pullet.kube.view import View

QuantityText: TypeAlias = str | int | float  # as written; arithmetic is kube.quantity's


class ContainerKind(StrEnum):
    """Which list of the pod spec a container stands in."""

    REGULAR = "containers"
    INIT = "initContainers"
    EPHEMERAL = "ephemeralContainers"


class RestartPolicy(StrEnum):
    """What happens when a container ends."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


class ContainerPortView(View, frozen=True, kw_only=True):
    """A port; host_port 0 is not published."""

    container_port: int
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    name: str = ""
    protocol: str = "TCP"


class KeySelectorView(View, frozen=True, kw_only=True):
    """A key of a ConfigMap or Secret."""

    key: str
    name: str = ""
    optional: bool = False


class ObjectFieldSelectorView(View, frozen=True, kw_only=True):
    """A field of the pod itself (downward API)."""

    field_path: str
    api_version: str = "v1"


class ResourceFieldSelectorView(View, frozen=True, kw_only=True):
    """A resource of a container (downward API)."""

    resource: str
    container_name: str = ""
    divisor: QuantityText = "0"


class EnvVarSourceView(View, frozen=True, kw_only=True):
    """Where a variable's value comes from; exactly one is set."""

    field_ref: ObjectFieldSelectorView | None = None
    resource_field_ref: ResourceFieldSelectorView | None = None
    config_map_key_ref: KeySelectorView | None = None
    secret_key_ref: KeySelectorView | None = None


class EnvVarView(View, frozen=True, kw_only=True):
    """One variable."""

    name: str
    value: str = ""
    value_from: EnvVarSourceView | None = None


class EnvFromNameView(View, frozen=True, kw_only=True):
    """A whole ConfigMap or Secret taken as variables."""

    name: str = ""
    optional: bool = False


class EnvFromSourceView(View, frozen=True, kw_only=True):
    """One `envFrom` entry."""

    prefix: str = ""
    config_map_ref: EnvFromNameView | None = None
    secret_ref: EnvFromNameView | None = None


class VolumeMountView(View, frozen=True, kw_only=True):
    """Where a volume appears in the container."""

    name: str
    mount_path: str
    read_only: bool = False
    recursive_read_only: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: str = ""


class ResourcesView(View, frozen=True, kw_only=True):
    """Quantities as written."""

    limits: dict[str, QuantityText] = msgspec.field(default_factory=dict)
    requests: dict[str, QuantityText] = msgspec.field(default_factory=dict)


class ExecActionView(View, frozen=True, kw_only=True):
    """A command run in the container."""

    command: tuple[str, ...] = ()


class HTTPHeaderView(View, frozen=True, kw_only=True):
    """A header of a probe's request."""

    name: str
    value: str = ""


class HTTPGetActionView(View, frozen=True, kw_only=True):
    """A GET; `port` is a number or the name of a container port; empty host is the pod's IP."""

    port: int | str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeaderView, ...] = ()


class TCPSocketActionView(View, frozen=True, kw_only=True):
    """A TCP connect."""

    port: int | str
    host: str = ""


class GRPCActionView(View, frozen=True, kw_only=True):
    """A gRPC health check."""

    port: int
    service: str = ""


class SleepActionView(View, frozen=True, kw_only=True):
    """A pause as a hook."""

    seconds: int


class ProbeView(View, frozen=True, kw_only=True):
    """A probe with Kubernetes' defaults; exactly one action is set."""

    exec: ExecActionView | None = None
    http_get: HTTPGetActionView | None = None
    tcp_socket: TCPSocketActionView | None = None
    grpc: GRPCActionView | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandlerView(View, frozen=True, kw_only=True):
    """A hook's action; exactly one is set."""

    exec: ExecActionView | None = None
    http_get: HTTPGetActionView | None = None
    tcp_socket: TCPSocketActionView | None = None
    sleep: SleepActionView | None = None


class LifecycleView(View, frozen=True, kw_only=True):
    """Hooks around a container's life."""

    post_start: LifecycleHandlerView | None = None
    pre_stop: LifecycleHandlerView | None = None
    stop_signal: str = ""


class CapabilitiesView(View, frozen=True, kw_only=True):
    """POSIX capabilities beyond or below the runtime's default set."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class AppArmorProfileView(View, frozen=True, kw_only=True):
    """RuntimeDefault, Unconfined or Localhost."""

    type: str


class SeccompProfileView(View, frozen=True, kw_only=True):
    """RuntimeDefault, Unconfined or Localhost with a profile below the kubelet's seccomp directory."""

    type: str
    localhost_profile: str = ""


class SecurityContextView(View, frozen=True, kw_only=True):
    """Container-level security; None means the pod's or the image's say."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool = False
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities: CapabilitiesView = CapabilitiesView()
    seccomp_profile: SeccompProfileView | None = None
    app_armor_profile: AppArmorProfileView | None = None
    proc_mount: str = ""


class ExitCodesView(View, frozen=True, kw_only=True):
    """`operator` is In or NotIn."""

    operator: str
    values: tuple[int, ...] = ()


class RestartRuleView(View, frozen=True, kw_only=True):
    """A container restart rule: `action` (Restart, RestartAllContainers) when the exit code matches."""

    action: str
    exit_codes: ExitCodesView | None = None


class ContainerView(View, frozen=True, kw_only=True):
    """A regular container."""

    kind: ClassVar[ContainerKind] = ContainerKind.REGULAR

    name: str
    image: str = ""
    image_pull_policy: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPortView, ...] = ()
    env_from: tuple[EnvFromSourceView, ...] = ()
    env: tuple[EnvVarView, ...] = ()
    resources: ResourcesView = ResourcesView()
    volume_mounts: tuple[VolumeMountView, ...] = ()
    liveness_probe: ProbeView | None = None
    readiness_probe: ProbeView | None = None
    startup_probe: ProbeView | None = None
    lifecycle: LifecycleView = LifecycleView()
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    security_context: SecurityContextView = SecurityContextView()
    restart_policy: str = ""  # container-level: overrides the pod's; Always on an init container makes a sidecar
    restart_policy_rules: tuple[RestartRuleView, ...] = ()
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False

    @property
    def is_sidecar(self) -> bool:
        """Whether this is a restartable init container."""
        return self.kind is ContainerKind.INIT and self.restart_policy == RestartPolicy.ALWAYS

    @property
    def field_path(self) -> str:
        """How events point at this container, e.g. `spec.containers{web}`."""
        return f"spec.{self.kind}{{{self.name}}}"


class InitContainerView(ContainerView, frozen=True, kw_only=True):
    """An init container, or a sidecar when its restart policy is Always."""

    kind: ClassVar[ContainerKind] = ContainerKind.INIT


class EphemeralContainerView(ContainerView, frozen=True, kw_only=True):
    """A debug container added to a running pod; never restarted."""

    kind: ClassVar[ContainerKind] = ContainerKind.EPHEMERAL

    target_container_name: str = ""

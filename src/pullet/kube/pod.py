"""Typed read view of a Pod: only what pullet acts on. Source: kubernetes api/core/v1 types.go.

The status stays raw JSON: whoever writes it owns it, and readers take single members.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.kube.container import (
    AppArmorProfileView,
    ContainerView,
    EphemeralContainerView,
    InitContainerView,
    ResourcesView,
    RestartPolicy,
    SeccompProfileView,
)
from pullet.kube.view import ObjectMetaView, View, ViewInvalidError, describe_object, parse_view
from pullet.kube.volume import VolumeView

DEFAULT_GRACE_PERIOD_SECONDS = 30


class LocalObjectReferenceView(View, frozen=True, kw_only=True):
    """An object of the same namespace, by name."""

    name: str = ""


class SysctlView(View, frozen=True, kw_only=True):
    """A kernel setting of the sandbox."""

    name: str
    value: str


class PodSecurityContextView(View, frozen=True, kw_only=True):
    """Pod-level security: what containers take when they say nothing themselves."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    supplemental_groups_policy: str = "Merge"
    fs_group: int | None = None
    seccomp_profile: SeccompProfileView | None = None
    app_armor_profile: AppArmorProfileView | None = None
    sysctls: tuple[SysctlView, ...] = ()


class HostAliasView(View, frozen=True, kw_only=True):
    """A line for /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()


class DNSConfigOptionView(View, frozen=True, kw_only=True):
    """A resolver option, e.g. ndots:5."""

    name: str = ""
    value: str | None = None


class PodDNSConfigView(View, frozen=True, kw_only=True):
    """Merged into what dnsPolicy gives."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DNSConfigOptionView, ...] = ()


class PodReadinessGateView(View, frozen=True, kw_only=True):
    """A condition that somebody else sets and readiness waits for."""

    condition_type: str


class TolerationView(View, frozen=True, kw_only=True):
    """A taint that the pod puts up with."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class PodSpecView(View, frozen=True, kw_only=True):
    """What the pod asks for."""

    containers: tuple[ContainerView, ...]
    init_containers: tuple[InitContainerView, ...] = ()
    ephemeral_containers: tuple[EphemeralContainerView, ...] = ()
    volumes: tuple[VolumeView, ...] = ()
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    termination_grace_period_seconds: int = DEFAULT_GRACE_PERIOD_SECONDS
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: PodDNSConfigView = PodDNSConfigView()
    node_name: str = ""
    node_selector: dict[str, str] = msgspec.field(default_factory=dict)
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    host_network: bool = False
    host_pid: bool = msgspec.field(default=False, name="hostPID")
    host_ipc: bool = msgspec.field(default=False, name="hostIPC")
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    share_process_namespace: bool = False
    security_context: PodSecurityContextView = PodSecurityContextView()
    image_pull_secrets: tuple[LocalObjectReferenceView, ...] = ()
    hostname: str = ""
    subdomain: str = ""
    host_aliases: tuple[HostAliasView, ...] = ()
    tolerations: tuple[TolerationView, ...] = ()
    readiness_gates: tuple[PodReadinessGateView, ...] = ()
    enable_service_links: bool = True
    runtime_class_name: str = ""
    priority: int = 0
    scheduler_name: str = "default-scheduler"
    resources: ResourcesView = ResourcesView()


class PodView(View, frozen=True, kw_only=True):
    """A pod. Two views are equal when everything pullet acts on is."""

    metadata: ObjectMetaView
    spec: PodSpecView
    status: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def name(self) -> str:
        """metadata.name."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """metadata.namespace."""
        return self.metadata.namespace

    @property
    def uid(self) -> str:
        """metadata.uid; changes when a pod of the same name is made again."""
        return self.metadata.uid

    @property
    def description(self) -> str:
        """`name_namespace(uid)`, the kubelet's way to name a pod in messages."""
        return f"{self.name}_{self.namespace}({self.uid})"

    @property
    def is_terminating(self) -> bool:
        """Whether deletion was asked for."""
        return self.metadata.deletion_timestamp is not None

    @property
    def pull_secret_names(self) -> tuple[str, ...]:
        """The imagePullSecrets in spec order; entries with empty names are dropped (spec 9.5)."""
        return tuple(entry.name for entry in self.spec.image_pull_secrets if entry.name)

    @property
    def sidecars(self) -> tuple[InitContainerView, ...]:
        """The restartable init containers."""
        return tuple(container for container in self.spec.init_containers if container.is_sidecar)

    def all_containers(self) -> Iterator[ContainerView]:
        """Init, regular, then ephemeral containers, each in spec order."""
        yield from self.spec.init_containers
        yield from self.spec.containers
        yield from self.spec.ephemeral_containers

    def container(self, name: str) -> ContainerView | None:
        """The container of that name in any list."""
        return next((container for container in self.all_containers() if container.name == name), None)

    def reference(self, container: ContainerView | None = None) -> JsonObject:
        """The `involvedObject` of an event about the pod, or about one of its containers."""
        reference: JsonObject = {
            "kind": "Pod",
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "apiVersion": "v1",
            "resourceVersion": self.metadata.resource_version,
        }
        if container is not None:
            reference["fieldPath"] = container.field_path
        return reference


def parse_pod(obj: JsonObject) -> PodView:
    """The raw pod as a view.

    Raises:
        ViewInvalidError: a field has the wrong type, or the pod has no name or no containers.
    """
    pod = parse_view(obj, PodView, kind="Pod")
    if not pod.name:
        raise ViewInvalidError(what="Pod", field="metadata.name", problem="is empty, a pod needs a name")
    if not pod.spec.containers:
        raise ViewInvalidError(
            what=describe_object(obj, "Pod"), field="spec.containers", problem="is empty, at least one is needed"
        )
    return pod

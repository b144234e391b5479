"""CRI values. Source: cri-api pkg/apis/runtime/v1/api.proto; only the fields that pullet acts on.

Times are integer nanoseconds since the epoch (0 = never), sizes are bytes, as in the proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from pullet.base.values import Value
from pullet.cri.image_types import NO_SECRET as NO_SECRET
from pullet.cri.image_types import AuthConfig as AuthConfig
from pullet.cri.image_types import FilesystemUsage as FilesystemUsage
from pullet.cri.image_types import Image as Image
from pullet.cri.image_types import ImageSpec as ImageSpec


class PodSandboxMetadata(Value):
    """Names a sandbox: unique by all four."""

    name: str
    uid: str
    namespace: str
    attempt: int = 0


class DNSConfig(Value):
    """What resolv.conf holds; empty servers means the host's."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class PortMapping(Value):
    """A port published on the host; `protocol` is TCP, UDP or SCTP; host_port 0 is not published."""

    container_port: int
    host_port: int = 0
    protocol: str = "TCP"
    host_ip: str = ""


class NamespaceMode(StrEnum):
    """Whose namespace: the pod's, the container's own, or the machine's."""

    POD = "POD"
    CONTAINER = "CONTAINER"
    NODE = "NODE"
    TARGET = "TARGET"


class NamespaceOption(Value):
    """Namespaces of a sandbox or container."""

    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.CONTAINER
    ipc: NamespaceMode = NamespaceMode.POD
    target_id: str = ""


class PodSandboxConfig(Value, kw_only=True):
    """All that is needed to make a sandbox. `log_directory` is absolute; container log paths are relative to it."""

    metadata: PodSandboxMetadata
    hostname: str = ""
    log_directory: str = ""
    dns_config: DNSConfig = DNSConfig()
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    cgroup_parent: str = ""
    namespaces: NamespaceOption = NamespaceOption()
    sysctls: Mapping[str, str] = msgspec.field(default_factory=dict)


class PodSandboxState(StrEnum):
    """Ready: namespaces and network are up."""

    READY = "SANDBOX_READY"
    NOTREADY = "SANDBOX_NOTREADY"


class PodSandbox(Value, kw_only=True):
    """A sandbox as listed."""

    id: str
    metadata: PodSandboxMetadata
    state: PodSandboxState
    created_at: int
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


class PodSandboxStatus(PodSandbox, kw_only=True):
    """A sandbox with its addresses; `ip` is empty for host network."""

    ip: str = ""
    additional_ips: tuple[str, ...] = ()
    namespaces: NamespaceOption = NamespaceOption()


class ContainerMetadata(Value):
    """Names a container in its sandbox."""

    name: str
    attempt: int = 0


class MountPropagation(StrEnum):
    """As in Kubernetes' mountPropagation."""

    PRIVATE = "PRIVATE"
    HOST_TO_CONTAINER = "HOST_TO_CONTAINER"
    BIDIRECTIONAL = "BIDIRECTIONAL"


class Mount(Value, kw_only=True):
    """A bind mount, or the read-only content of an image when `image` is set (then host_path is empty)."""

    container_path: str
    host_path: str = ""
    is_readonly: bool = False
    propagation: MountPropagation = MountPropagation.PRIVATE
    image: ImageSpec | None = None
    image_sub_path: str = ""


class LinuxContainerResources(Value, kw_only=True):
    """cgroup limits; 0 is "not set" (cpu_quota -1 is unlimited). cpu_* are microseconds, memory is bytes."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0
    pids_limit: int = 0


class Capability(Value):
    """Without the CAP_ prefix; `ALL` is allowed in either list."""

    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class LinuxContainerSecurityContext(Value, kw_only=True):
    """Who the process is and what it may do. run_as_user None means the image's user."""

    run_as_user: int | None = None
    run_as_username: str = ""
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    ignores_image_groups: bool = False  # SupplementalGroupsPolicy Strict: not those of the image's /etc/group
    is_privileged: bool = False
    is_readonly_rootfs: bool = False
    capabilities: Capability = Capability()
    no_new_privs: bool = False
    namespaces: NamespaceOption = NamespaceOption()
    seccomp_profile: str = "RuntimeDefault"  # RuntimeDefault | Unconfined | absolute path of a profile
    masked_paths: tuple[str, ...] | None = None  # None: the runtime's defaults
    readonly_paths: tuple[str, ...] | None = None


class ContainerConfig(Value, kw_only=True):
    """All that is needed to make a container. `image.image` is the image id; empty command/args: the image's."""

    metadata: ContainerMetadata
    image: ImageSpec
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    envs: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    log_path: str = ""  # relative to the sandbox's log_directory
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: LinuxContainerResources = LinuxContainerResources()
    security_context: LinuxContainerSecurityContext = LinuxContainerSecurityContext()
    stop_signal: str = ""


class ContainerState(StrEnum):
    """Life of a container: created → running → exited."""

    CREATED = "CONTAINER_CREATED"
    RUNNING = "CONTAINER_RUNNING"
    EXITED = "CONTAINER_EXITED"
    UNKNOWN = "CONTAINER_UNKNOWN"


class Container(Value, kw_only=True):
    """A container as listed. `image_ref` is the image id; `image_id` likewise."""

    id: str
    pod_sandbox_id: str
    metadata: ContainerMetadata
    image: ImageSpec
    image_ref: str
    image_id: str
    state: ContainerState
    created_at: int
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)


class ContainerStatus(Value, kw_only=True):
    """A container with its times and ending.

    `image.image` is the runtime's name (docker.io/library/x:tag, or the id when untagged); `image_ref` the first
    repo digest (or id), `image_id` the config digest. `reason`: Completed (exit 0), Error, OOMKilled,
    ContainerCannotRun, Unknown.
    """

    id: str
    metadata: ContainerMetadata
    state: ContainerState
    created_at: int
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    image: ImageSpec
    image_ref: str
    image_id: str
    reason: str = ""
    message: str = ""
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    log_path: str = ""  # absolute
    user_uid: int = 0
    user_gid: int = 0
    user_supplemental_groups: tuple[int, ...] = ()


class ContainerEventType(StrEnum):
    """What happened to a container or sandbox."""

    CREATED = "CONTAINER_CREATED_EVENT"
    STARTED = "CONTAINER_STARTED_EVENT"
    STOPPED = "CONTAINER_STOPPED_EVENT"
    DELETED = "CONTAINER_DELETED_EVENT"


class ContainerEvent(Value, kw_only=True):
    """One change; for sandboxes container_id is the sandbox id. The pod is found by `pod_uid`."""

    type: ContainerEventType
    container_id: str
    pod_sandbox_id: str
    pod_uid: str
    created_at: int


class PodSandboxFilter(Value):
    """All given must match; empty matches all."""

    id: str = ""
    state: PodSandboxState | None = None
    label_selector: Mapping[str, str] = msgspec.field(default_factory=dict)


class ContainerFilter(Value):
    """All given must match; empty matches all."""

    id: str = ""
    pod_sandbox_id: str = ""
    state: ContainerState | None = None
    label_selector: Mapping[str, str] = msgspec.field(default_factory=dict)


class ExecSyncResponse(Value):
    """Output and exit code of a command run in a container."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class VersionResponse(Value):
    """Who the runtime is, e.g. `pullet`, `0.1.0`. Prefix of container ids in the API: `<runtime_name>://`."""

    runtime_name: str
    runtime_version: str
    runtime_api_version: str = "v1"


class RuntimeCondition(Value):
    """RuntimeReady or NetworkReady."""

    type: str
    is_true: bool
    reason: str = ""
    message: str = ""

"""Every waiting, terminated, condition and event reason, once. Source: kubelet-images spec 4.2, 12.2, 14, 27.

A reason is a stable CamelCase word that people and tools match on; its texts are policy.wording's.
"""

from __future__ import annotations

# --- why a container waits (spec 27.3) ---
CONTAINER_CREATING = "ContainerCreating"
POD_INITIALIZING = "PodInitializing"
ERR_IMAGE_PULL = "ErrImagePull"
IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
ERR_IMAGE_NEVER_PULL = "ErrImageNeverPull"
INVALID_IMAGE_NAME = "InvalidImageName"
IMAGE_INSPECT_ERROR = "ImageInspectError"
REGISTRY_UNAVAILABLE = "RegistryUnavailable"
SIGNATURE_VALIDATION_FAILED = "SignatureValidationFailed"
CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
CREATE_CONTAINER_ERROR = "CreateContainerError"
PRE_CREATE_HOOK_ERROR = "PreCreateHookError"
PRE_START_HOOK_ERROR = "PreStartHookError"
POST_START_HOOK_ERROR = "PostStartHookError"
RUN_CONTAINER_ERROR = "RunContainerError"
CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"

# --- how a container ended ---
COMPLETED = "Completed"
ERROR = "Error"
OOM_KILLED = "OOMKilled"
CONTAINER_CANNOT_RUN = "ContainerCannotRun"
CONTAINER_STATUS_UNKNOWN = "ContainerStatusUnknown"

# --- why a whole pod ended ---
DEADLINE_EXCEEDED = "DeadlineExceeded"
EVICTED = "Evicted"
SYSCTL_FORBIDDEN = "SysctlForbidden"
APP_ARMOR = "AppArmor"

# --- condition reasons (spec 14) ---
CONTAINERS_NOT_INITIALIZED = "ContainersNotInitialized"
CONTAINERS_NOT_READY = "ContainersNotReady"
READINESS_GATES_NOT_READY = "ReadinessGatesNotReady"
POD_COMPLETED = "PodCompleted"
POD_FAILED = "PodFailed"
UNKNOWN_CONTAINER_STATUSES = "UnknownContainerStatuses"

# --- event reasons about images ---
PULLING = "Pulling"
PULLED = "Pulled"
BACK_OFF = "BackOff"  # Normal for images, Warning for crashes
FAILED = "Failed"  # pull, image, config, create and start failures alike
INSPECT_FAILED = "InspectFailed"
FAILED_TO_RETRIEVE_IMAGE_PULL_SECRET = "FailedToRetrieveImagePullSecret"  # noqa: S105 - an event reason
IMAGE_GC_FAILED = "ImageGCFailed"
FREE_DISK_SPACE_FAILED = "FreeDiskSpaceFailed"
INVALID_DISK_CAPACITY = "InvalidDiskCapacity"

# --- event reasons about containers and pods ---
CREATED = "Created"
STARTED = "Started"
KILLING = "Killing"
UNHEALTHY = "Unhealthy"
PROBE_WARNING = "ProbeWarning"
PROBE_WARNING = "ProbeWarning"
FAILED_POST_START_HOOK = "FailedPostStartHook"
FAILED_PRE_STOP_HOOK = "FailedPreStopHook"
SANDBOX_CHANGED = "SandboxChanged"
FAILED_CREATE_POD_SANDBOX = "FailedCreatePodSandBox"
FAILED_KILL_POD = "FailedKillPod"
FAILED_MOUNT = "FailedMount"
FAILED_SYNC = "FailedSync"
NETWORK_NOT_READY = "NetworkNotReady"
SCHEDULED = "Scheduled"
FAILED_SCHEDULING = "FailedScheduling"

# --- event reasons about the node ---
STARTING = "Starting"
NODE_READY = "NodeReady"
NODE_NOT_READY = "NodeNotReady"
NODE_SCHEDULABLE = "NodeSchedulable"
NODE_NOT_SCHEDULABLE = "NodeNotSchedulable"
NODE_HAS_SUFFICIENT_MEMORY = "NodeHasSufficientMemory"
NODE_HAS_INSUFFICIENT_MEMORY = "NodeHasInsufficientMemory"
NODE_HAS_NO_DISK_PRESSURE = "NodeHasNoDiskPressure"
NODE_HAS_DISK_PRESSURE = "NodeHasDiskPressure"
EVICTION_THRESHOLD_MET = "EvictionThresholdMet"
NODE_HAS_SUFFICIENT_PID = "NodeHasSufficientPID"
NODE_ALLOCATABLE_ENFORCED = "NodeAllocatableEnforced"

# --- condition types of a pod ---
POD_SCHEDULED = "PodScheduled"
POD_READY_TO_START_CONTAINERS = "PodReadyToStartContainers"
INITIALIZED = "Initialized"
CONTAINERS_READY = "ContainersReady"
READY = "Ready"
DISRUPTION_TARGET = "DisruptionTarget"

# --- event types ---
NORMAL = "Normal"
WARNING = "Warning"

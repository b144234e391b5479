"""What can go wrong between us and the OCI runtime, the kernel's namespaces and the CNI plugins."""

from __future__ import annotations

from typing import ClassVar

from pullet.base.errors import PulletError


class OciRuntimeError(PulletError):
    """The OCI runtime refused or failed; the text is its own, without its decoration."""

    reason: ClassVar[str] = "OciRuntime"


class RuntimeMissingError(OciRuntimeError):
    """The OCI runtime is not installed."""

    reason: ClassVar[str] = "RuntimeMissing"


class RuntimeChangedError(OciRuntimeError):
    """Containers of the other runtime are still there."""

    reason: ClassVar[str] = "RuntimeChanged"

    def __init__(self, name: str, containers: int) -> None:
        other = "runc" if name == "crun" else "crun"
        super().__init__(
            f"{containers} container(s) of this node were made by {other}, which alone can end them: "
            f"stop the node with ociRuntime: {other} (pullet down), then start it with {name}"
        )


class StartFailedError(OciRuntimeError):
    """The container's command could not be run."""

    reason: ClassVar[str] = "StartFailed"


class ExecFailedError(OciRuntimeError):
    """A further command could not be run in a container; `problem` says why, in the runtime's words."""

    reason: ClassVar[str] = "ExecFailed"

    def __init__(self, problem: str) -> None:
        text = f"OCI runtime exec failed: exec failed: unable to start container process: {problem}: unknown"
        super().__init__(text)


class ProcessUserError(OciRuntimeError):
    """The user the process shall run as cannot be found in the image."""

    reason: ClassVar[str] = "ProcessUser"


class NamespaceError(OciRuntimeError):
    """The namespaces of a sandbox could not be made."""

    reason: ClassVar[str] = "Namespace"


class CniError(OciRuntimeError):
    """A CNI plugin failed; the text is the plugin's own."""

    reason: ClassVar[str] = "Cni"

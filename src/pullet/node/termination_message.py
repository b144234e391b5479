"""The last words of a container: its termination message file, or the tail of its log.

Source: kubernetes pkg/kubelet/kuberuntime/kuberuntime_container.go getTerminationMessage.
"""

from __future__ import annotations

from pathlib import Path

from pullet.cri.log_format import parse_record
from pullet.cri.types import ContainerStatus
from pullet.kit.worker_threads import WorkerThreads
from pullet.policy.runtime_status import ANNOTATION_TERMINATION_MESSAGE_PATH, ANNOTATION_TERMINATION_MESSAGE_POLICY

MAX_MESSAGE_BYTES = 4096
MAX_LOG_BYTES = 2048
MAX_LOG_LINES = 80
FALLBACK_TO_LOGS = "FallbackToLogsOnError"


class TerminationMessages:
    """Reads last words off the loop."""

    def __init__(self, threads: WorkerThreads) -> None:
        self._threads = threads

    async def read(self, status: ContainerStatus) -> str | None:
        """What the ended container left; None leaves the runtime's own message in place."""
        return await self._threads.run(read_termination_message, status)


def read_termination_message(status: ContainerStatus) -> str | None:
    """As `TerminationMessages.read`. Blocking."""
    inside = status.annotations.get(ANNOTATION_TERMINATION_MESSAGE_PATH, "")
    policy = status.annotations.get(ANNOTATION_TERMINATION_MESSAGE_POLICY, "")
    mount = next((each for each in status.mounts if each.container_path == inside and inside), None)
    message = _tail_of_file(Path(mount.host_path), MAX_MESSAGE_BYTES) if mount is not None else ""
    if not message and policy == FALLBACK_TO_LOGS and status.exit_code != 0 and status.log_path:
        message = _tail_of_log(Path(status.log_path))
    if not message:
        return None
    return f"{status.message}: {message}" if status.message else message


def _tail_of_file(path: Path, limit: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - limit))
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""


def _tail_of_log(path: Path) -> str:
    lines = _tail_of_file(path, 64 << 10).encode().splitlines()[-MAX_LOG_LINES:]
    records = [record for record in map(parse_record, lines) if record is not None]
    text = b"".join(record.text + (b"" if record.is_partial else b"\n") for record in records)
    return text[-MAX_LOG_BYTES:].decode("utf-8", "replace")

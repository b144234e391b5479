"""Containers: their life from a ContainerConfig to nothing.

    create  directory, mounts, config.json → container.json (from now on it exists)     CREATED
    start   a monitor runs the OCI runtime                                               RUNNING, or EXITED(128)
    ended   the monitor is gone: its note tells the exit code → ending.json              EXITED
    remove  container.json away → processes, mounts, directory                           a restart finishes it

Every running container has one task that waits for the end of its monitor. Closing the engine ends these tasks and
leaves the containers running; `recover` finds them again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from pullet.base.errors import PulletError
from pullet.base.values import State
from pullet.cri.errors import CriError, DeadlineExceededError, FailedPreconditionError, NotFoundError
from pullet.cri.stats import ContainerStats
from pullet.cri.types import (
    ContainerConfig,
    ContainerEvent,
    ContainerEventType,
    ContainerState,
    PodSandboxConfig,
)
from pullet.engine.container_bundle import BundleMaker
from pullet.engine.container_events import ContainerEvents
from pullet.engine.container_images import ContainerImages
from pullet.engine.sandboxes import Sandboxes, new_id
from pullet.engine.state_files import ContainerRecord, Ending, SandboxPhase, StateFiles
from pullet.kit import faults
from pullet.kit.clock import Clock
from pullet.kit.locks import KeyedLock
from pullet.kit.process import CommandMissingError, CommandTimeoutError, wait_readable
from pullet.kit.tasks import Uninterrupted, spawn
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime import cgroup
from pullet.ociruntime.errors import OciRuntimeError, StartFailedError
from pullet.ociruntime.monitored_process import (
    Ended,
    Started,
    has_monitor,
    kill_monitor,
    open_monitor,
    read_ended,
    read_started,
    start_failure,
    start_monitored,
)
from pullet.ociruntime.runtime import OciRuntime

log = logging.getLogger(__name__)

START_ERROR_EXIT_CODE: Final = 128
LOST_EXIT_CODE: Final = 137
KILL_SECONDS: Final = 10.0
SETTLE_SECONDS: Final = 30.0


class LiveContainer(State, eq=False):
    """What is known of one container now. `released` is set when the OCI runtime has forgotten it as well."""

    record: ContainerRecord
    state: ContainerState
    started_at: int = 0
    ending: Ending | None = None
    is_stopping: bool = False
    ended: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    released: asyncio.Event = msgspec.field(default_factory=asyncio.Event)


def not_running(state: ContainerState) -> CriError:
    """A container in `state` has no processes to reach, in containerd's words."""
    return CriError(f"container is in {state} state")


class Containers:
    """The containers of one engine. Used on the event loop; blocking work goes to `threads`."""

    def __init__(
        self,
        *,
        files: StateFiles,
        sandboxes: Sandboxes,
        images: ContainerImages,
        runtime: OciRuntime,
        clock: Clock,
        threads: WorkerThreads,
        events: ContainerEvents,
        group: asyncio.TaskGroup,
    ) -> None:
        self._files, self._sandboxes, self._images, self._runtime = files, sandboxes, images, runtime
        self._clock, self._threads, self._events, self._group = clock, threads, events, group
        self._uninterrupted = Uninterrupted(group)
        self._bundles = BundleMaker(files=files, sandboxes=sandboxes, images=images, runtime=runtime)
        self._containers: dict[str, LiveContainer] = {}
        self._names: dict[tuple[str, str, int], str] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._locks = KeyedLock()

    def get(self, container_id: str) -> LiveContainer:
        """Raises NotFoundError."""
        container = self._containers.get(container_id)
        if container is None:
            raise NotFoundError(f'an error occurred when try to find container "{container_id}": not found')
        return container

    def running(self, container_id: str) -> LiveContainer:
        """Raises NotFoundError, CriError: as `not_running`."""
        container = self.get(container_id)
        if container.state is not ContainerState.RUNNING:
            raise not_running(container.state)
        return container

    def list(self) -> Sequence[LiveContainer]:
        """All, newest first."""
        return sorted(self._containers.values(), key=lambda container: container.record.created_at, reverse=True)

    def of_sandbox(self, sandbox_id: str) -> Sequence[LiveContainer]:
        """Those of one sandbox."""
        return [container for container in self._containers.values() if container.record.sandbox_id == sandbox_id]

    async def stats(self, container_id: str) -> ContainerStats:
        """What it uses now. Raises NotFoundError."""
        container = self.get(container_id)
        written = await self._threads.run(self._images.written, container_id)
        memory_bytes = 0
        if container.state is ContainerState.RUNNING:
            memory_bytes = await self._threads.run(cgroup.memory_working_set, container.record.cgroups_path)
        return ContainerStats(
            id=container_id,
            memory_working_set_bytes=memory_bytes,
            writable_layer_bytes=written.size_bytes,
            writable_layer_inodes=written.inodes,
        )

    # -- create -----------------------------------------------------------------------------------------------------

    async def create(self, sandbox_id: str, config: ContainerConfig, sandbox_config: PodSandboxConfig) -> str:
        """Make it; on failure or cancellation nothing of it stays. Raises CriError."""
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox.phase is not SandboxPhase.READY:
            raise FailedPreconditionError(f'sandbox container "{sandbox_id}" is not running')
        name = (sandbox_id, config.metadata.name, config.metadata.attempt)
        holder = self._names.get(name)
        if holder is not None:
            raise CriError(f'failed to reserve container name "{config.metadata.name}": reserved for "{holder}"')
        container_id = new_id()
        self._names[name] = container_id
        created_at = self._now()
        try:
            record = await self._threads.run(
                self._bundles.make, container_id, sandbox, config, sandbox_config, created_at
            )
        except BaseException as error:
            await self._uninterrupted.run(lambda: self._threads.run(self._bundles.remove, container_id))
            self._names.pop(name, None)
            if isinstance(error, PulletError | OSError) and not isinstance(error, CriError):
                raise CriError(f"failed to create container: {error}") from error
            raise
        self._containers[container_id] = LiveContainer(record, ContainerState.CREATED)
        self._publish(record, ContainerEventType.CREATED)
        return container_id

    # -- start ------------------------------------------------------------------------------------------------------

    async def start(self, container_id: str) -> None:
        """Run it. Raises CriError; a command that cannot be run leaves it EXITED(128)."""
        async with self._locks.hold(container_id):
            container = self.get(container_id)
            if container.state is not ContainerState.CREATED:
                raise FailedPreconditionError(f"container {container_id} is in state {container.state}")
            if self._sandboxes.get(container.record.sandbox_id).phase is not SandboxPhase.READY:
                raise FailedPreconditionError(f'sandbox container "{container.record.sandbox_id}" is not running')
            await self._uninterrupted.run(lambda: self._start(container))

    async def _start(self, container: LiveContainer) -> None:
        record = container.record
        try:
            started = await start_monitored(
                self._runtime,
                threads=self._threads,
                container_id=record.id,
                directory=self._files.container(record.id),
                log_path=Path(record.log_path) if record.log_path else None,
                has_terminal=record.config.tty,
                has_stdin=record.config.stdin,
                stdin_once=record.config.stdin_once,
            )
        except (OciRuntimeError, CommandMissingError, CommandTimeoutError) as error:
            await self._runtime.delete(record.id)
            if isinstance(error, StartFailedError):
                await self._end(container, _start_error(str(error), self._now()))
                container.released.set()
            raise CriError(str(error)) from error
        faults.hit("container.started")
        await self._adopt(container, started)
        self._publish(record, ContainerEventType.STARTED)

    async def _adopt(self, container: LiveContainer, started: Started) -> None:
        container.state, container.started_at = ContainerState.RUNNING, started.started_at
        pidfd = await self._threads.run(open_monitor, self._files.container(container.record.id))
        task = spawn(self._group, self._watch(container, pidfd), name=f"container/{container.record.id[:12]}")
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    # -- end --------------------------------------------------------------------------------------------------------

    async def _watch(self, container: LiveContainer, pidfd: int | None) -> None:
        """Wait for the monitor's end, note how the container ended, have the OCI runtime forget it."""
        if pidfd is not None:
            try:
                await wait_readable(pidfd)
            finally:
                os.close(pidfd)
        record = container.record
        ended = await self._threads.run(read_ended, self._files.container(record.id))
        oom_kills = await self._threads.run(cgroup.oom_kill_count, record.cgroups_path)
        # What outlived the first process: only possible without a PID namespace of its own, or without a monitor.
        await self._threads.run(cgroup.kill, record.cgroups_path)
        await self._end(container, ending_of(ended, container.started_at, oom_kills=oom_kills, now=self._now()))
        try:
            await self._runtime.delete(record.id)
        except OciRuntimeError as error:
            log.warning("container left behind", extra={"container": record.id, "error": str(error)})
        container.released.set()

    async def _end(self, container: LiveContainer, ending: Ending) -> None:
        try:
            await self._threads.run(self._files.write_ending, container.record.id, ending)
        except OSError as error:  # a full disk: known until we end, the monitor's own note tells it again afterwards
            log.warning("ending not recorded", extra={"container": container.record.id, "error": str(error)})
        container.ending, container.state = ending, ContainerState.EXITED
        container.ended.set()
        self._publish(container.record, ContainerEventType.STOPPED)

    # -- stop and remove --------------------------------------------------------------------------------------------

    async def stop(self, container_id: str, timeout_seconds: float) -> None:
        """Stop signal, wait, SIGKILL to all of it. Idempotent; absent is success. Raises CriError."""
        container = self._containers.get(container_id)
        if container is None or container.state is not ContainerState.RUNNING:
            return
        if timeout_seconds > 0:
            try:
                await self._runtime.kill(container_id, container.record.stop_signal)
            except OciRuntimeError as error:
                raise CriError(f'failed to stop container "{container_id}": {error}') from error
            if await _happens(container.ended, timeout_seconds):
                return
        await self._kill(container)

    async def _kill(self, container: LiveContainer) -> None:
        record = container.record
        await self._threads.run(cgroup.kill, record.cgroups_path)
        if not await _happens(container.ended, KILL_SECONDS):
            raise DeadlineExceededError(f'container "{record.id}" did not die within {KILL_SECONDS:g} s of SIGKILL')

    async def remove(self, container_id: str) -> None:
        """Kill it if it runs, delete all but the log. Idempotent; absent is success. Raises CriError."""
        async with self._locks.hold(container_id):
            container = self._containers.get(container_id)
            if container is None:
                return
            await self._uninterrupted.run(lambda: self._remove(container))

    async def _remove(self, container: LiveContainer) -> None:
        record = container.record
        if container.state is ContainerState.RUNNING:
            await self._kill(container)
        if container.state is ContainerState.EXITED:
            await container.released.wait()
        await self._threads.run(self._bundles.remove, record.id)
        del self._containers[record.id]
        self._names.pop((record.sandbox_id, record.config.metadata.name, record.config.metadata.attempt), None)
        self._publish(record, ContainerEventType.DELETED)

    # -- after a restart --------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Find the containers of the last run: the living are watched again, the half made are removed."""
        for container_id in await self._threads.run(lambda: list(self._files.ids(self._files.containers))):
            try:
                record = await self._threads.run(self._files.read_container, container_id)
                if record is None or not self._has_sandbox(record):
                    await self._discard(container_id)
                else:
                    await self._revive(record)
            except (PulletError, OSError) as error:
                log.warning("container not recovered", extra={"container": container_id, "error": str(error)})
        await self._threads.run(self._images.release_others, frozenset(self._containers))

    def _has_sandbox(self, record: ContainerRecord) -> bool:
        with suppress(NotFoundError):
            self._sandboxes.get(record.sandbox_id)
            return True
        return False

    async def _discard(self, container_id: str) -> None:
        directory = self._files.container(container_id)
        await self._settled(container_id)
        await self._runtime.delete(container_id)
        await self._until(lambda: not has_monitor(directory))
        await self._threads.run(kill_monitor, directory)
        await self._threads.run(self._bundles.remove, container_id)

    async def _settled(self, container_id: str) -> None:
        """Wait until a monitor that was being started when we died has either started its container or given up."""
        directory = self._files.container(container_id)

        def is_settled() -> bool:
            return (
                not has_monitor(directory) or read_started(directory) is not None or read_ended(directory) is not None
            )

        if not await self._until(is_settled):
            await self._threads.run(kill_monitor, directory)

    async def _until(self, condition: Callable[[], bool]) -> bool:
        """Ask every few milliseconds on a thread; False when it did not come true in time."""
        deadline = self._clock.monotonic() + SETTLE_SECONDS
        while not await self._threads.run(condition):
            if self._clock.monotonic() > deadline:
                return False
            await self._clock.sleep(0.02)
        return True

    async def _revive(self, record: ContainerRecord) -> None:
        container = LiveContainer(record, ContainerState.CREATED)
        directory = self._files.container(record.id)
        self._containers[record.id] = container
        self._names[record.sandbox_id, record.config.metadata.name, record.config.metadata.attempt] = record.id
        ending = await self._threads.run(self._files.read_ending, record.id)
        if ending is not None:
            await self._runtime.delete(record.id)
            container.state, container.ending, container.started_at = ContainerState.EXITED, ending, ending.started_at
            container.ended.set()
            container.released.set()
            return
        await self._settled(record.id)
        started = await self._threads.run(read_started, directory)
        ended = await self._threads.run(read_ended, directory)
        if started is not None:
            await self._adopt(container, started)
        elif ended is not None:
            message = await self._threads.run(start_failure, directory)
            await self._runtime.delete(record.id)
            await self._end(container, _start_error(message, ended.finished_at))
            container.released.set()
        else:
            await self._runtime.delete(record.id)  # a monitor that was killed before its container ran
            await self._threads.run(self._images.restore, record.id)

    async def close(self) -> None:
        """End the tasks that watch; the containers go on."""
        watchers = list(self._watchers)
        for task in watchers:
            task.cancel()
        if watchers:
            await asyncio.wait(watchers)

    # -- small things -----------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1e6) * 1000

    def _publish(self, record: ContainerRecord, kind: ContainerEventType) -> None:
        self._events.publish(
            ContainerEvent(
                type=kind,
                container_id=record.id,
                pod_sandbox_id=record.sandbox_id,
                pod_uid=record.pod_uid,
                created_at=self._now(),
            )
        )


def ending_of(ended: Ended | None, started_at: int, *, oom_kills: int, now: int) -> Ending:
    """How a container that ran has ended, in the reasons of containerd. `ended` None: nobody saw it."""
    if ended is None:
        return Ending(
            exit_code=LOST_EXIT_CODE,
            reason="Unknown",
            message="the container's monitor is gone, its exit code is not known",
            started_at=started_at,
            finished_at=now,
        )
    reason = "OOMKilled" if oom_kills else "Completed" if ended.exit_code == 0 else "Error"
    return Ending(exit_code=ended.exit_code, reason=reason, started_at=started_at, finished_at=ended.finished_at)


def _start_error(message: str, now: int) -> Ending:
    return Ending(exit_code=START_ERROR_EXIT_CODE, reason="StartError", message=message, finished_at=now)


async def _happens(event: asyncio.Event, timeout_seconds: float) -> bool:
    try:
        async with asyncio.timeout(timeout_seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True

"""Pod sandboxes: namespaces kept by bind mounts, a network by CNI, the files every container of the pod shares.

    run     record(CREATING) → files, /dev/shm, namespaces → network → record(READY)
    stop    network away → record(STOPPED)             the namespaces stay until it is removed
    remove  forget the record → unmount, delete        a directory without a record is removed at the next start

There is no process per sandbox, but for pods whose containers share their processes.
"""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pullet.base.errors import PulletError
from pullet.cri.errors import CriError, FailedPreconditionError, NotFoundError
from pullet.cri.types import (
    ContainerEvent,
    ContainerEventType,
    NamespaceMode,
    PodSandboxConfig,
    PodSandboxMetadata,
)
from pullet.engine.container_events import ContainerEvents
from pullet.engine.sandbox_files import make_files, mount_shm, unmount_files
from pullet.engine.state_files import SandboxPhase, SandboxRecord, StateFiles
from pullet.kit import faults
from pullet.kit.clock import Clock
from pullet.kit.locks import KeyedLock
from pullet.kit.tasks import Uninterrupted
from pullet.kit.worker_threads import WorkerThreads
from pullet.ociruntime import cgroup
from pullet.ociruntime.cni import CniNetwork, PublishedPort
from pullet.ociruntime.errors import OciRuntimeError
from pullet.ociruntime.namespaces import (
    create_namespaces,
    create_pid_namespace,
    is_alive,
    prepare_files,
    processes_in,
    remove_namespaces,
)

log = logging.getLogger(__name__)


def new_id() -> str:
    """An id as containerd makes them: 64 hex digits."""
    return secrets.token_hex(32)


class Sandboxes:
    """The sandboxes of one engine. Used on the event loop; blocking work goes to `threads`."""

    def __init__(
        self,
        *,
        files: StateFiles,
        network: CniNetwork,
        clock: Clock,
        threads: WorkerThreads,
        events: ContainerEvents,
        uninterrupted: Uninterrupted,
    ) -> None:
        self._files, self._network, self._clock = files, network, clock
        self._threads, self._events, self._uninterrupted = threads, events, uninterrupted
        self._records: dict[str, SandboxRecord] = {}
        self._names: dict[PodSandboxMetadata, str] = {}
        self._locks = KeyedLock()

    def get(self, sandbox_id: str) -> SandboxRecord:
        """The record of a sandbox that was made whole. Raises NotFoundError."""
        record = self._records.get(sandbox_id)
        if record is None:
            raise NotFoundError(f'an error occurred when try to find sandbox "{sandbox_id}": not found')
        return record

    def list(self) -> Sequence[SandboxRecord]:
        """All that were made whole, newest first."""
        return sorted(self._records.values(), key=lambda record: record.created_at, reverse=True)

    def directory(self, sandbox_id: str) -> Path:
        """Where its files are."""
        return self._files.sandbox(sandbox_id)

    def cgroup_parent(self, record: SandboxRecord) -> str:
        """The group below which the groups of its containers are."""
        return record.config.cgroup_parent or f"/pullet/{record.id}"

    def hostname(self, config: PodSandboxConfig) -> str:
        """What the pod calls itself: the machine's name when it uses the machine's network."""
        if config.namespaces.network is NamespaceMode.NODE or not config.hostname:
            return socket.gethostname()
        return config.hostname

    # -- making -----------------------------------------------------------------------------------------------------

    async def run(self, config: PodSandboxConfig) -> str:
        """Make it; on failure or cancellation nothing of it stays. Raises CriError."""
        holder = self._names.get(config.metadata)
        if holder is not None:
            name = "_".join((config.metadata.name, config.metadata.namespace, config.metadata.uid))
            raise CriError(f'failed to reserve sandbox name "{name}": name is reserved for "{holder}"')
        created_at = int(self._clock.now().timestamp() * 1e6) * 1000
        record = SandboxRecord(id=new_id(), config=config, created_at=created_at, phase=SandboxPhase.CREATING)
        self._names[config.metadata] = record.id
        try:
            record = await self._make(record)
        except BaseException as error:
            await self._uninterrupted.run(lambda: self._destroy_if_possible(record))
            self._names.pop(config.metadata, None)
            if isinstance(error, PulletError | OSError) and not isinstance(error, CriError):
                raise CriError(f"failed to set up sandbox: {error}") from error
            raise
        self._records[record.id] = record
        self._publish(record, ContainerEventType.CREATED)
        self._publish(record, ContainerEventType.STARTED)
        return record.id

    async def _make(self, record: SandboxRecord) -> SandboxRecord:
        directory, config = self.directory(record.id), record.config
        kinds = _own_namespaces(config)
        shares_processes = config.namespaces.pid is NamespaceMode.POD
        hostname = self.hostname(config)

        def make() -> None:
            self._files.write_sandbox(record)
            faults.hit("sandbox.recorded")
            make_files(directory, config, hostname)
            prepare_files(directory / "ns", (*kinds, "pid") if shares_processes else kinds)

        await self._threads.run(make)
        if kinds:
            await create_namespaces(directory / "ns", kinds=kinds, hostname=hostname, sysctls=config.sysctls)
        if shares_processes:
            await create_pid_namespace(directory / "ns", clock=self._clock, threads=self._threads)
        faults.hit("sandbox.namespaces")
        if "net" in kinds:
            attachment = await self._network.attach(record.id, directory / "ns" / "net", published_ports(config))
            faults.hit("sandbox.attached")
            record = msgspec.structs.replace(record, ips=attachment.ips, network_results=attachment.results)
        record = msgspec.structs.replace(record, phase=SandboxPhase.READY)
        await self._threads.run(self._files.write_sandbox, record)
        return record

    # -- ending -----------------------------------------------------------------------------------------------------

    async def stop(self, sandbox_id: str) -> None:
        """Take its network away; its containers have been stopped before. Idempotent."""
        async with self._locks.hold(sandbox_id):
            record = self._records.get(sandbox_id)
            if record is None or record.phase is SandboxPhase.STOPPED:
                return
            await self._uninterrupted.run(lambda: self._stop(record))

    async def _stop(self, record: SandboxRecord) -> None:
        try:
            await self._detach(record)
        except OciRuntimeError as error:
            raise CriError(f'failed to destroy network for sandbox "{record.id}": {error}') from error
        stopped = msgspec.structs.replace(record, phase=SandboxPhase.STOPPED)
        await self._threads.run(self._files.write_sandbox, stopped)
        self._records[record.id] = stopped
        self._publish(stopped, ContainerEventType.STOPPED)

    async def _detach(self, record: SandboxRecord) -> None:
        if record.config.namespaces.network is NamespaceMode.NODE:
            return
        netns = self.directory(record.id) / "ns" / "net"
        alive = await self._threads.run(is_alive, netns)
        ports = published_ports(record.config)
        await self._network.detach(record.id, netns if alive else None, ports, dict(record.network_results) or None)

    async def remove(self, sandbox_id: str) -> None:
        """Stop it and delete all of it; its containers have been removed before. Idempotent."""
        await self.stop(sandbox_id)
        async with self._locks.hold(sandbox_id):
            record = self._records.get(sandbox_id)
            if record is None:
                return
            if record.phase is not SandboxPhase.STOPPED:
                raise FailedPreconditionError(f'sandbox "{sandbox_id}" is not fully stopped')
            await self._uninterrupted.run(lambda: self._threads.run(self._delete, record.id, record))
            del self._records[sandbox_id]
            self._names.pop(record.config.metadata, None)
            self._publish(record, ContainerEventType.DELETED)

    async def _destroy(self, record: SandboxRecord) -> None:
        """Undo a sandbox that was not made whole."""
        try:
            await self._detach(record)
        finally:
            await self._threads.run(self._delete, record.id, record)

    async def _destroy_if_possible(self, record: SandboxRecord) -> None:
        try:
            await self._destroy(record)
        except (PulletError, OSError) as error:
            log.warning("sandbox left behind", extra={"sandbox": record.id, "error": str(error)})

    def _delete(self, sandbox_id: str, record: SandboxRecord | None) -> None:
        directory = self.directory(sandbox_id)
        if record is not None:
            cgroup.remove_empty(self.cgroup_parent(record))
        self._files.forget_sandbox(sandbox_id)
        faults.hit("sandbox.forgotten")
        remove_namespaces(directory / "ns")
        unmount_files(directory)
        self._files.remove_directory(directory)

    # -- after a restart --------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Find the sandboxes of the last run: whole ones are known again, all others are removed without trace."""
        for sandbox_id in await self._threads.run(lambda: list(self._files.ids(self._files.sandboxes))):
            try:
                await self._recover(sandbox_id)
            except (PulletError, OSError) as error:
                log.warning("sandbox not recovered", extra={"sandbox": sandbox_id, "error": str(error)})
        await self._threads.run(self._network.release_reserved, set(self._records))

    async def _recover(self, sandbox_id: str) -> None:
        record = await self._threads.run(self._files.read_sandbox, sandbox_id)
        if record is None:
            await self._threads.run(self._delete, sandbox_id, None)
        elif record.phase is SandboxPhase.CREATING:
            await self._destroy(record)
        else:
            # Known before it is revived: should that fail, it can still be stopped and removed.
            self._records[sandbox_id] = record
            self._names[record.config.metadata] = sandbox_id
            self._records[sandbox_id] = await self._revive(record)

    async def _revive(self, record: SandboxRecord) -> SandboxRecord:
        """After a reboot the namespaces are gone: the sandbox is there and not ready."""
        if record.phase is not SandboxPhase.READY:
            return record
        directory, kinds = self.directory(record.id), _own_namespaces(record.config)

        def namespaces_alive() -> bool:
            if record.config.namespaces.pid is NamespaceMode.POD and not processes_in(directory / "ns" / "pid"):
                return False
            return all(is_alive(directory / "ns" / kind) for kind in kinds)

        if await self._threads.run(namespaces_alive):
            if record.config.namespaces.ipc is not NamespaceMode.NODE:
                await self._threads.run(mount_shm, directory)
            return record
        await self._detach(record)
        stopped = msgspec.structs.replace(record, phase=SandboxPhase.STOPPED)
        await self._threads.run(self._files.write_sandbox, stopped)
        return stopped

    def _publish(self, record: SandboxRecord, kind: ContainerEventType) -> None:
        self._events.publish(
            ContainerEvent(
                type=kind,
                container_id=record.id,
                pod_sandbox_id=record.id,
                pod_uid=record.config.metadata.uid,
                created_at=int(self._clock.now().timestamp() * 1e6) * 1000,
            )
        )


def _own_namespaces(config: PodSandboxConfig) -> tuple[str, ...]:
    kinds = []
    if config.namespaces.network is not NamespaceMode.NODE:
        kinds += ["net", "uts"]
    if config.namespaces.ipc is not NamespaceMode.NODE:
        kinds.append("ipc")
    return tuple(kinds)


def published_ports(config: PodSandboxConfig) -> tuple[PublishedPort, ...]:
    """The ports that the machine shall forward."""
    return tuple(
        PublishedPort(
            host_port=mapping.host_port,
            container_port=mapping.container_port,
            protocol=mapping.protocol,
            host_ip=mapping.host_ip,
        )
        for mapping in config.port_mappings
        if mapping.host_port
    )

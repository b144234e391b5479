"""Single probes: a command, a GET, a TCP connect, a gRPC health check.

Source: kubernetes pkg/probe/{exec,http,tcp,grpc}, pkg/kubelet/prober/prober.go.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from pullet.cri.errors import CriError, DeadlineExceededError
from pullet.cri.services import RuntimeService
from pullet.kit.clock import Clock
from pullet.kube.container import ContainerView, HTTPGetActionView, ProbeView
from pullet.node.grpc_health import GRPCHealthError, check_grpc_health
from pullet.node.http_get import HTTPGetError, http_get, insecure_tls
from pullet.node.lifecycle_hooks import HookFailedError, resolve_port
from pullet.policy.probe_state import ProbeResult

MAX_OUTPUT = 10 << 10


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What one probe found; `output` is shown in the event of a failure."""

    result: ProbeResult
    output: str = ""


SUCCESS = ProbeOutcome(ProbeResult.SUCCESS)


class Prober:
    """Runs one probe against one container."""

    def __init__(self, *, runtime: RuntimeService, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock

    async def probe(
        self, probe: ProbeView, *, container: ContainerView, container_id: str, pod_ip: str
    ) -> ProbeOutcome:
        """The outcome; UNKNOWN when the probe itself could not be carried out."""
        if probe.exec is not None:
            return await self._exec(probe, container_id)
        outcome: list[ProbeOutcome] = []

        async def run() -> None:
            outcome.append(await self._connect(probe, container, pod_ip))
            limit.cancel()

        async with asyncio.TaskGroup() as group:
            attempt = group.create_task(run())
            limit = group.create_task(self._cancel_later(attempt, probe.timeout_seconds))
        return outcome[0] if outcome else _failure(_timeout_text(probe, pod_ip))

    async def _cancel_later(self, task: asyncio.Task[None], seconds: float) -> None:
        await self._clock.sleep(seconds)
        task.cancel()

    async def _exec(self, probe: ProbeView, container_id: str) -> ProbeOutcome:
        assert probe.exec is not None
        command = probe.exec.command
        try:
            answer = await self._runtime.exec_sync(container_id, command, probe.timeout_seconds)
        except DeadlineExceededError:
            return _failure(f'command timed out: "{" ".join(command)}" timed out after {probe.timeout_seconds}s')
        except CriError as error:
            return ProbeOutcome(ProbeResult.UNKNOWN, str(error))
        output = (answer.stdout + answer.stderr)[:MAX_OUTPUT].decode("utf-8", "replace")
        return SUCCESS if answer.exit_code == 0 else _failure(output)

    async def _connect(self, probe: ProbeView, container: ContainerView, pod_ip: str) -> ProbeOutcome:
        try:
            if probe.http_get is not None:
                return await self._http(probe.http_get, container, pod_ip)
            if probe.tcp_socket is not None:
                host = probe.tcp_socket.host or pod_ip
                return await self._tcp(host, resolve_port(probe.tcp_socket.port, container))
            if probe.grpc is not None:
                status = await check_grpc_health(pod_ip, probe.grpc.port, probe.grpc.service)
                return SUCCESS if status == "SERVING" else _failure(f'service unhealthy (responded with "{status}")')
        except HookFailedError as error:
            return ProbeOutcome(ProbeResult.UNKNOWN, str(error))
        except GRPCHealthError as error:
            return _failure(str(error))
        return SUCCESS

    @staticmethod
    async def _http(action: HTTPGetActionView, container: ContainerView, pod_ip: str) -> ProbeOutcome:
        port = resolve_port(action.port, container)
        tls = insecure_tls() if action.scheme == "HTTPS" else None
        headers = {header.name: header.value for header in action.http_headers}
        try:
            answer = await http_get(action.host or pod_ip, port, action.path or "/", headers=headers, tls=tls)
        except HTTPGetError as error:
            return _failure(str(error))
        if 200 <= answer.status < 400:
            return SUCCESS
        return _failure(f"HTTP probe failed with statuscode: {answer.status}")

    @staticmethod
    async def _tcp(host: str, port: int) -> ProbeOutcome:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            return _failure(f"dial tcp {host}:{port}: connect: {(error.strerror or str(error)).lower()}")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return SUCCESS


def _failure(output: str) -> ProbeOutcome:
    return ProbeOutcome(ProbeResult.FAILURE, output)


def _timeout_text(probe: ProbeView, pod_ip: str) -> str:
    if probe.http_get is not None:
        action = probe.http_get
        url = f"{action.scheme.lower()}://{action.host or pod_ip}:{action.port}{action.path}"
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    if probe.grpc is not None:
        return f'timeout: failed to connect service "{pod_ip}:{probe.grpc.port}" within {probe.timeout_seconds}s'
    port = probe.tcp_socket.port if probe.tcp_socket is not None else ""
    return f"dial tcp {pod_ip}:{port}: i/o timeout"

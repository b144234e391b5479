"""Single probes: a command, a GET, a TCP connect, a gRPC health check.

Source: kubernetes pkg/probe/{exec,http,tcp,grpc}, pkg/kubelet/prober/prober.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from pullet.base.values import Value
from pullet.cri.errors import CriError, DeadlineExceededError
from pullet.cri.services import RuntimeService
from pullet.kit.clock import Clock
from pullet.kube.container import ContainerView, GRPCActionView, ProbeView
from pullet.node.grpc_health import GRPCHealthCheck, GRPCHealthError
from pullet.node.http_get import HTTPGetError, HTTPTarget, authority, dial_text, http_get
from pullet.node.lifecycle_hooks import HookFailedError, resolve_port
from pullet.policy.probe_state import ProbeResult

MAX_OUTPUT = 10 << 10


class ProbeOutcome(Value):
    """What one probe found; `output` is shown in the event of a failure or warning."""

    result: ProbeResult
    output: str = ""
    is_warning: bool = False


SUCCESS = ProbeOutcome(ProbeResult.SUCCESS)


class Prober:
    """Runs one probe against one container."""

    def __init__(self, *, runtime: RuntimeService, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock

    async def probe(
        self, probe: ProbeView, *, container: ContainerView, container_id: str, pod_ip: str
    ) -> ProbeOutcome:
        """The outcome; UNKNOWN when the probe itself could not be carried out."""
        limit = probe.timeout_seconds
        if probe.exec is not None:
            return await self._exec(probe.exec.command, container_id, limit)
        try:
            if probe.http_get is not None:
                port = resolve_port(probe.http_get.port, container)
                return await self._http(HTTPTarget.of_action(probe.http_get, port=port, pod_ip=pod_ip), limit)
            if probe.tcp_socket is not None:
                port = resolve_port(probe.tcp_socket.port, container)
                return await self._tcp(probe.tcp_socket.host or pod_ip, port, limit)
            if probe.grpc is not None:
                return await self._grpc(probe.grpc, pod_ip, limit)
        except HookFailedError as error:
            return ProbeOutcome(ProbeResult.UNKNOWN, str(error))
        return ProbeOutcome(ProbeResult.UNKNOWN, "missing probe handler")

    async def _within(
        self, seconds: float, work: Coroutine[Any, Any, ProbeOutcome], timeout_text: Callable[[], str]
    ) -> ProbeOutcome:
        """What the work gives, or a failure with that text when time is up."""
        outcome: list[ProbeOutcome] = []

        async def run() -> None:
            outcome.append(await work)
            limit.cancel()

        async def end_later() -> None:
            await self._clock.sleep(seconds)
            attempt.cancel()

        async with asyncio.TaskGroup() as group:
            attempt = group.create_task(run())
            limit = group.create_task(end_later())
        return outcome[0] if outcome else _failure(timeout_text())

    async def _exec(self, command: Sequence[str], container_id: str, limit: int) -> ProbeOutcome:
        try:
            answer = await self._runtime.exec_sync(container_id, command, limit)
        except DeadlineExceededError:
            return _failure(f'command timed out: "{" ".join(command)}" timed out after {limit}s')
        except CriError as error:
            return ProbeOutcome(ProbeResult.UNKNOWN, str(error))
        output = (answer.stdout + answer.stderr)[:MAX_OUTPUT].decode("utf-8", "replace")
        return SUCCESS if answer.exit_code == 0 else _failure(output)

    async def _http(self, target: HTTPTarget, limit: int) -> ProbeOutcome:
        async def work() -> ProbeOutcome:
            try:
                answer = await http_get(target)
            except HTTPGetError as error:
                return _failure(str(error))
            if 300 <= answer.status < 400:
                text = f"Probe terminated redirects, Response body: {answer.body}"
                return ProbeOutcome(ProbeResult.SUCCESS, text, is_warning=True)
            if 200 <= answer.status < 300:
                return SUCCESS
            return _failure(f"HTTP probe failed with statuscode: {answer.status}")

        text = f'Get "{target.url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
        return await self._within(limit, work(), lambda: text)

    async def _tcp(self, host: str, port: int, limit: int) -> ProbeOutcome:
        async def work() -> ProbeOutcome:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError as error:
                return _failure(dial_text(host, port, error))
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            return SUCCESS

        return await self._within(limit, work(), lambda: f"dial tcp {authority(host, port)}: i/o timeout")

    async def _grpc(self, action: GRPCActionView, host: str, limit: int) -> ProbeOutcome:
        check = GRPCHealthCheck(host=host, port=action.port, service=action.service, timeout_seconds=limit)

        async def work() -> ProbeOutcome:
            try:
                status = await check.run()
            except GRPCHealthError as error:
                return _failure(str(error))
            return SUCCESS if status == "SERVING" else _failure(f'service unhealthy (responded with "{status}")')

        return await self._within(limit, work(), lambda: check.timeout_text)


def _failure(output: str) -> ProbeOutcome:
    return ProbeOutcome(ProbeResult.FAILURE, output)

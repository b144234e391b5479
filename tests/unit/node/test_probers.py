"""Probes and hooks against real servers on loopback: what counts as success, and the words of each failure."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from pullet.cri.errors import CriError, DeadlineExceededError
from pullet.cri.types import ExecSyncResponse
from pullet.kube.pod import PodView, parse_pod
from pullet.node.lifecycle_hooks import HookFailedError, LifecycleHooks
from pullet.node.probers import ProbeOutcome, Prober
from pullet.policy.probe_state import ProbeResult
from pullet.testing.clock import FakeClock
from pullet.testing.cri_fakes import FakeRuntimeService
from pullet.testing.cri_image_fakes import FakeImageService

HOST = "127.0.0.1"


class Runtime(FakeRuntimeService):
    """Answers every command the same way, or with an error."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock, FakeImageService(clock))
        self.commands: list[list[str]] = []
        self.answer: ExecSyncResponse | CriError = ExecSyncResponse(b"", b"", 0)

    async def exec_sync(self, container_id: str, command: Sequence[str], timeout_seconds: float) -> ExecSyncResponse:
        self.commands.append(list(command))
        if isinstance(self.answer, CriError):
            raise self.answer
        return self.answer


class Stage:
    """A prober, hooks, and the clock and runtime they look at."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.runtime = Runtime(self.clock)
        self.prober = Prober(runtime=self.runtime, clock=self.clock)
        self.hooks = LifecycleHooks(runtime=self.runtime, clock=self.clock)

    async def probe(self, **action: Any) -> ProbeOutcome:
        container = pod({"readinessProbe": action}).spec.containers[0]
        assert container.readiness_probe is not None
        return await self.prober.probe(container.readiness_probe, container=container, container_id="id", pod_ip=HOST)

    async def probe_until_time_is_up(self, reached: asyncio.Event, **action: Any) -> ProbeOutcome:
        """Let a second pass once the server was reached."""
        async with asyncio.TaskGroup() as group:
            probing = group.create_task(self.probe(**action))
            await reached.wait()
            await self.clock.advance(1)
        return probing.result()

    async def hook(self, **handler: Any) -> None:
        view = pod({"lifecycle": {"postStart": handler}})
        container = view.spec.containers[0]
        assert container.lifecycle.post_start is not None
        await self.hooks.run(
            container.lifecycle.post_start, pod=view, container=container, container_id="id", pod_ip=HOST
        )


def pod(container: dict[str, Any]) -> PodView:
    meta = {"name": "p", "namespace": "ns", "uid": "u"}
    return parse_pod({"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i"} | container]}})


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as closed_at_once:
        closed_at_once.bind((HOST, 0))
        port: int = closed_at_once.getsockname()[1]
        return port


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server on a free port."""
    server = await asyncio.start_server(handler, HOST, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Web:
    """Answers by path; keeps the requests."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.requests: list[list[str]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = []
        while line := (await reader.readline()).decode().strip():
            lines.append(line)
        if lines:
            self.requests.append(lines)
            answer = self.answers[lines[0].split()[1]]
            writer.write(f"HTTP/1.1 {answer}\r\n\r\nbody".encode())
            await writer.drain()
        writer.close()


# --- HTTP ---


async def test_http_sends_the_given_headers_and_looks_at_the_status(stage: Stage) -> None:
    web = Web({"/ok?x=1": "200 OK", "/sick": "503 Service Unavailable"})
    async with listening(web) as port:
        headers = [{"name": "Host", "value": "web.test"}, {"name": "X-A", "value": "1"}, {"name": "X-A", "value": "2"}]
        good = await stage.probe(httpGet={"port": port, "path": "ok?x=1", "httpHeaders": headers})
        bad = await stage.probe(httpGet={"port": port, "path": "/sick"})
    assert good.result is ProbeResult.SUCCESS
    assert web.requests[0] == [
        "GET /ok?x=1 HTTP/1.1", "User-Agent: kube-probe/1.36", "Accept: */*", "Host: web.test", "X-A: 1", "X-A: 2",
        "Connection: close",
    ]  # fmt: skip
    assert f"Host: {HOST}:{port}" in web.requests[1]
    assert bad == ProbeOutcome(ProbeResult.FAILURE, "HTTP probe failed with statuscode: 503")


async def test_http_follows_redirects_on_its_own_host_only(stage: Stage) -> None:
    web = Web({})
    async with listening(web) as port:
        web.answers = {
            "/old": "302 Found\r\nLocation: /new",
            "/new": "500 Oh",
            "/out": "301 Moved\r\nLocation: http://elsewhere.test/",
            "/round": f"307 Again\r\nLocation: http://{HOST}:{port}/round",
        }
        followed = await stage.probe(httpGet={"port": port, "path": "/old"})
        away = await stage.probe(httpGet={"port": port, "path": "/out"})
        endless = await stage.probe(httpGet={"port": port, "path": "/round"})
    assert followed.output == "HTTP probe failed with statuscode: 500"
    assert away == ProbeOutcome(ProbeResult.SUCCESS, "Probe terminated redirects, Response body: body", is_warning=True)
    assert endless.output == f'Get "http://{HOST}:{port}/round": stopped after 10 redirects'


async def test_https_trusts_anybody_and_says_when_nobody_speaks_tls(stage: Stage) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("other.test").configure_cert(tls)
    async with listening(Web({"/": "204 No Content"}), tls) as port:
        good = await stage.probe(httpGet={"port": port, "scheme": "HTTPS"})
    assert good.result is ProbeResult.SUCCESS
    async with listening(Web({"/": "200 OK"})) as port:

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with listening(plain) as plain_port:
            bad = await stage.probe(httpGet={"port": plain_port, "scheme": "HTTPS"})
    assert bad.output == f'Get "https://{HOST}:{plain_port}/": http: server gave HTTP response to HTTPS client'


async def test_nobody_there_and_nobody_answers(stage: Stage, free_port: int) -> None:
    http = await stage.probe(httpGet={"port": free_port, "path": "/x"})
    tcp = await stage.probe(tcpSocket={"port": free_port})
    assert http.output == f'Get "http://{HOST}:{free_port}/x": dial tcp {HOST}:{free_port}: connect: connection refused'
    assert tcp.output == f"dial tcp {HOST}:{free_port}: connect: connection refused"
    reached = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    async with listening(silent) as port:
        late = await stage.probe_until_time_is_up(reached, httpGet={"port": port, "path": "/x"})
    exceeded = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    assert late == ProbeOutcome(ProbeResult.FAILURE, f'Get "http://{HOST}:{port}/x": {exceeded}')


# --- TCP and commands ---


async def test_tcp_and_ports_that_are_names(stage: Stage) -> None:
    async with listening(Web({})) as port:
        assert (await stage.probe(tcpSocket={"port": port})).result is ProbeResult.SUCCESS
        assert (await stage.probe(tcpSocket={"port": str(port)})).result is ProbeResult.SUCCESS
    unknown = await stage.probe(tcpSocket={"port": "nosuch"})
    assert unknown == ProbeOutcome(ProbeResult.UNKNOWN, "couldn't find port: 'nosuch'")


async def test_a_command_fails_with_what_it_said(stage: Stage) -> None:
    assert (await stage.probe(exec={"command": ["is-well"]})).result is ProbeResult.SUCCESS
    stage.runtime.answer = ExecSyncResponse(b"out", b"err", 3)
    assert await stage.probe(exec={"command": ["is-well"]}) == ProbeOutcome(ProbeResult.FAILURE, "outerr")
    assert stage.runtime.commands == [["is-well"], ["is-well"]]


async def test_a_command_that_takes_too_long(stage: Stage) -> None:
    stage.runtime.answer = DeadlineExceededError("too late")
    outcome = await stage.probe(exec={"command": ["sleep", "9"]})
    assert outcome == ProbeOutcome(ProbeResult.FAILURE, 'command timed out: "sleep 9" timed out after 1s')


# --- gRPC ---


@contextmanager
def grpc_server(servicer: health.HealthServicer | None) -> Iterator[int]:
    """A real gRPC server; without a servicer it knows no health service."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        if servicer is not None:
            health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port(f"{HOST}:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


async def test_grpc_health_of_a_real_server(stage: Stage) -> None:
    servicer = health.HealthServicer()
    status = health_pb2.HealthCheckResponse
    long_name = "a.very.long.service/" + "x" * 200
    for name, value in {"": status.SERVING, "sick": status.NOT_SERVING, "new": status.UNKNOWN, long_name: 1}.items():
        servicer.set(name, value)
    with grpc_server(servicer) as port:
        outcomes = {
            name: await stage.probe(grpc={"port": port, "service": name})
            for name in ("", long_name, "sick", "new", "nobody")
        }
    assert outcomes[""].result is outcomes[long_name].result is ProbeResult.SUCCESS
    assert {name: outcome.output for name, outcome in outcomes.items() if outcome.output} == {
        "sick": 'service unhealthy (responded with "NOT_SERVING")',
        "new": 'service unhealthy (responded with "UNKNOWN")',
        "nobody": "error: health rpc probe failed: rpc error: code = NotFound desc = ",
    }


async def test_grpc_server_without_health_service(stage: Stage) -> None:
    with grpc_server(None) as port:
        outcome = await stage.probe(grpc={"port": port})
    text = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): Method not found!"
    assert outcome == ProbeOutcome(ProbeResult.FAILURE, text)


class _Stuck(health.HealthServicer):
    """Tells that it was asked, and answers once the caller has gone."""

    def __init__(self, asked: Callable[[], None]) -> None:
        super().__init__()
        self._asked = asked

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802  # the service's own name
        gone = threading.Event()
        context.add_callback(gone.set)
        self._asked()
        gone.wait(30)
        return super().Check(request, context)


async def test_grpc_nobody_there_or_nobody_answers(stage: Stage, free_port: int) -> None:
    refused = await stage.probe(grpc={"port": free_port})
    nowhere = f'timeout: failed to connect service "{HOST}:{free_port}" within 1s: context deadline exceeded'
    assert refused == ProbeOutcome(ProbeResult.FAILURE, nowhere)
    async with listening(Web({"*": "200 OK"})) as port:
        other = await stage.probe(grpc={"port": port})
    assert other.output == nowhere.replace(str(free_port), str(port))
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    def asked() -> None:
        loop.call_soon_threadsafe(reached.set)

    with grpc_server(_Stuck(asked)) as port:
        late = await stage.probe_until_time_is_up(reached, grpc={"port": port})
    assert late == ProbeOutcome(ProbeResult.FAILURE, "timeout: health rpc did not complete within 1s")


# --- hooks ---


async def test_hooks_succeed(stage: Stage, free_port: int) -> None:
    await stage.hook(exec={"command": ["register"]})
    async with listening(Web({"/up": "500 Whatever"})) as port:
        await stage.hook(httpGet={"port": port, "path": "/up"})  # any answer will do
    async with asyncio.TaskGroup() as group:
        pause = group.create_task(stage.hook(sleep={"seconds": 5}))
        await stage.clock.advance(4)
        assert not pause.done()
        await stage.clock.advance(1)


async def test_words_of_failed_hooks(stage: Stage, free_port: int) -> None:
    stage.runtime.answer = ExecSyncResponse(b"out", b"err", 3)
    with pytest.raises(HookFailedError) as command:
        await stage.hook(exec={"command": ["register", "now"]})
    assert str(command.value) == (
        'Exec lifecycle hook ([register now]) for Container "c" in Pod "p_ns(u)" failed - error: '
        "command 'register now' exited with 3: err, message: \"outerr\""
    )
    with pytest.raises(HookFailedError) as get:
        await stage.hook(httpGet={"port": free_port, "path": "/up"})
    assert str(get.value) == (
        f'HTTP lifecycle hook (/up) for Container "c" in Pod "p_ns(u)" failed - error: Get "http://{HOST}:{free_port}'
        f'/up": dial tcp {HOST}:{free_port}: connect: connection refused'
    )

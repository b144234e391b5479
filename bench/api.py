"""The API server: requests per CPU-second of its process, and how soon a watcher hears of a write.

CPU-seconds are the server's own (user and system), so that neither this client nor the machine's other work counts.
Beside each figure stands that of a prototype: the same Python server library answering prepared bytes without TLS,
without admission, validation or storage; so the difference is the price of being an API server.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
import yaml

from pullet.testing.api_load import RawConnection, events_in

PODS = "/api/v1/namespaces/default/pods"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PROTOTYPE = {"small GET": 11_571.0, "list of 1 000 pods": 1_658.0, "watch fan-out": 142_857.0}


@dataclass(frozen=True)
class Server:
    """A running server process."""

    url: str
    pid: int
    tls: ssl.SSLContext

    def cpu_seconds(self) -> float:
        """User and system time it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def connect(self) -> RawConnection:
        return await RawConnection.open(self.url, self.tls)


@contextmanager
def running_server() -> Iterator[Server]:
    """A server with an empty store."""
    with tempfile.TemporaryDirectory(prefix="pullet-bench-api-") as directory:
        root = Path(directory)
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.api_server", directory], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            yield Server(url, process.pid, client_tls(root))
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def client_tls(root: Path) -> ssl.SSLContext:
    """TLS as the generated kubeconfig says."""
    kubeconfig = yaml.safe_load((root / "admin.kubeconfig").read_text())
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    both = root / "client.pem"
    both.write_bytes(b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key")))
    context.load_cert_chain(both)
    return context


async def write(connection: RawConnection, method: str, path: str, body: Any, content_type: str = "") -> Any:
    status, answer = await connection.request(method, path, json.dumps(body).encode() if body else b"", content_type)
    assert status < 300 or status == 409, answer
    return json.loads(answer)


def pod(name: str) -> dict[str, Any]:
    container = {"name": "c", "image": "nginx:1", "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}
    return {"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": {"containers": [container]}}


async def fill(server: Server, count: int) -> None:
    """Pods to look at."""
    first = await server.connect()
    await write(first, "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})

    async def create(connection: RawConnection, numbers: range) -> None:
        for number in numbers:
            await write(connection, "POST", PODS, pod(f"p-{number:04}"))
        await connection.close()

    await first.close()
    async with asyncio.TaskGroup() as group:
        for start in range(8):
            group.create_task(create(await server.connect(), range(start, count, 8)))


async def rate(server: Server, seconds: float, ask: Callable[[RawConnection], Awaitable[object]]) -> float:
    """Requests per CPU-second of the server, by 16 connections for some seconds."""
    connections = [await server.connect() for _ in range(16)]
    done = 0
    ends_at = time.monotonic() + seconds

    async def loop(connection: RawConnection) -> None:
        nonlocal done
        while time.monotonic() < ends_at:
            await ask(connection)
            done += 1

    before = server.cpu_seconds()
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(loop(connection))
    used = server.cpu_seconds() - before
    for connection in connections:
        await connection.close()
    return done / used


async def fan_out(server: Server, watchers: int, events: int) -> float:
    """CPU-seconds of the server for so many creates with so many watchers."""
    connections = [await server.connect() for _ in range(watchers)]
    asking = await server.connect()
    start = (await write(asking, "GET", CONFIGMAPS, None))["metadata"]["resourceVersion"]
    await asking.close()

    async def follow(connection: RawConnection) -> None:
        seen = 0
        async for lines in connection.watch(f"{CONFIGMAPS}?watch=true&resourceVersion={start}"):
            seen += lines.count(b"\n") + 1
            if seen >= events:
                break
        await connection.close()

    before = server.cpu_seconds()
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(follow(connection))
        writers = [await server.connect() for _ in range(4)]

        async def create(connection: RawConnection, numbers: range) -> None:
            for number in numbers:
                await write(
                    connection, "POST", CONFIGMAPS, {"metadata": {"name": f"c-{watchers}-{number}"}, "data": {"a": "b"}}
                )

        for first, connection in enumerate(writers):
            group.create_task(create(connection, range(first, events, 4)))
    for connection in writers:
        await connection.close()
    return server.cpu_seconds() - before


async def latencies(server: Server, count: int) -> list[float]:
    """Seconds from sending a create until a watcher has the event, sorted."""
    writer, watcher = await server.connect(), await server.connect()
    lines = watcher.watch("/api/v1/namespaces/default/secrets?watch=true")
    found = []
    for number in range(count):
        began = time.perf_counter()
        body = {"metadata": {"name": f"s-{number}"}, "stringData": {"a": "b"}}
        writing = asyncio.ensure_future(write(writer, "POST", "/api/v1/namespaces/default/secrets", body))
        events_in(await anext(lines))
        found.append(time.perf_counter() - began)
        await writing
    await writer.close()
    await watcher.close()
    return sorted(found)


async def measure(server: Server, seconds: float, watchers: int, events: int) -> None:
    await fill(server, 1_000)
    results = {
        "small GET": await rate(server, seconds, lambda each: each.request("GET", f"{PODS}/p-0001")),
        "list of 1 000 pods": await rate(server, seconds, lambda each: each.request("GET", PODS)),
    }
    creates = await fan_out(server, 0, events)
    results["watch fan-out"] = watchers * events / max(await fan_out(server, watchers, events) - creates, 0.01)
    print(f"{'per CPU-second of the server':32} {'pullet, TLS':>12} {'prototype':>12}")
    for name, value in results.items():
        print(f"{name:32} {value:12,.0f} {PROTOTYPE[name]:12,.0f}")
    print(f"{'creates of a ConfigMap':32} {events / creates:12,.0f}")
    found = await latencies(server, 300)
    print(
        f"create to watch: median {found[len(found) // 2] * 1e3:.1f} ms, "
        f"99 of 100 below {found[len(found) * 99 // 100] * 1e3:.1f} ms"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="bench api", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each request rate is measured")
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--events", type=int, default=500)
    options = parser.parse_args(argv)
    with running_server() as server:
        uvloop.run(measure(server, options.seconds, options.watchers, options.events))


if __name__ == "__main__":
    main()

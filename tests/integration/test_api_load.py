"""The API server under load, over real TLS: nothing of a watch is lost, lists are moments, versions only grow."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster
from tests.unit.apiserver.api_world import client_tls, configmap, pod

from pullet.apiserver.server import ApiServer
from pullet.apiserver.settings import ApiServerSettings
from pullet.testing.api_load import RawConnection, events_in

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
WATCHERS = 200
EVENTS = 5_000
WRITERS = 8


class World:
    """A running server and connections to it."""

    def __init__(self, server: ApiServer, tls: Any) -> None:
        self.server, self._tls = server, tls
        self._open: list[RawConnection] = []

    async def connect(self) -> RawConnection:
        """A new connection, closed at the end."""
        connection = await RawConnection.open(self.server.url, self._tls)
        self._open.append(connection)
        return connection

    async def close(self) -> None:
        """Hang up everywhere."""
        for connection in self._open:
            await connection.close()


@asynccontextmanager
async def running(root: Path) -> AsyncIterator[World]:
    """An API server with its state below `root`."""
    async with ApiServer(root=root, settings=ApiServerSettings(port=0)) as server:
        serving = asyncio.create_task(server.run())
        tls = await asyncio.get_running_loop().run_in_executor(
            None, client_tls, server, root, "admin", ["system:masters"]
        )
        world = World(server, tls)
        connection = await world.connect()
        await ok(connection, "POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        try:
            yield world
        finally:
            await world.close()
            serving.cancel()
            await asyncio.wait([serving])


async def ok(connection: RawConnection, method: str, path: str, body: Any = None, content_type: str = "") -> Any:
    """The decoded answer of a request that succeeds, or of a create that found it done."""
    status, answer = await connection.request(method, path, json.dumps(body).encode() if body else b"", content_type)
    assert status < 300 or (method == "POST" and status == 409), answer
    return json.loads(answer)


def version_of(obj: Any) -> int:
    return int(obj["metadata"]["resourceVersion"])


async def write_events(world: World) -> list[tuple[str, int]]:
    """EVENTS writes by several at once; type and version of each, in the order of versions."""
    written: list[tuple[str, int]] = []

    async def write(number: int) -> None:
        connection = await world.connect()
        for step in range(EVENTS // WRITERS):
            name = f"c-{number}-{step // 10}"
            match step % 10:
                case 0:
                    made = await ok(connection, "POST", CONFIGMAPS, configmap(name, step="0"))
                    written.append(("ADDED", version_of(made)))
                case 9:
                    await ok(connection, "DELETE", f"{CONFIGMAPS}/{name}")
                    written.append(("DELETED", 0))
                case _:
                    patch = {"data": {"step": str(step)}}
                    made = await ok(connection, "PATCH", f"{CONFIGMAPS}/{name}", patch, "application/merge-patch+json")
                    written.append(("MODIFIED", version_of(made)))

    async with asyncio.TaskGroup() as group:
        for number in range(WRITERS):
            group.create_task(write(number))
    return written


async def test_two_hundred_watchers_see_every_event_once_and_in_order(tmp_path: Path, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()  # it looks at the stack of every send and receive, of which there are too many here
    async with running(tmp_path) as world:
        start = version_of(await ok(await world.connect(), "GET", CONFIGMAPS))
        path = f"{CONFIGMAPS}?watch=true&resourceVersion={start}"
        slow = (await world.connect()).watch(path)
        lagging = asyncio.ensure_future(anext(slow))  # asks, and then does not read on
        first: list[tuple[str, int]] = []

        async def follow(log: list[tuple[str, int]] | None) -> bytes:
            """The digest of what came; `log` takes the events of one of the many."""
            digest, seen = hashlib.sha256(), 0
            async for lines in (await world.connect()).watch(path):
                digest.update(lines + b"\n")
                seen += lines.count(b"\n") + 1
                if log is not None:
                    log += events_in(lines)
                if seen >= EVENTS:
                    break
            return digest.digest()

        async with asyncio.TaskGroup() as group:
            following = [group.create_task(follow(None if number else first)) for number in range(WATCHERS)]
            writing = group.create_task(write_events(world))
        written = writing.result()
        assert len(written) == EVENTS
        versions = [version for _, version in first]
        assert versions == sorted(set(versions)), "in order, none twice"
        assert len({task.result() for task in following}) == 1, "everybody sees the same"
        assert sorted(kind for kind, _ in first) == sorted(kind for kind, _ in written), "none lost"
        assert {pair for pair in written if pair[1]} <= set(first)
        late = events_in(await lagging)
        async for lines in slow:
            late += events_in(lines)
            if len(late) >= EVENTS:
                break
        assert late == first, "who reads late misses nothing either"


async def test_a_watcher_that_never_reads_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        path = f"{CONFIGMAPS}?watch=true"
        stuck = [(await world.connect()).watch(path) for _ in range(20)]
        asking = [asyncio.ensure_future(anext(each)) for each in stuck]
        writer, reader = await world.connect(), (await world.connect()).watch(path)
        big = "x" * 100_000  # far more than sockets buffer
        loop = asyncio.get_running_loop()
        worst = 0.0
        for number in range(100):
            name = f"c-{number}"
            began = loop.time()
            made = await ok(writer, "POST", CONFIGMAPS, configmap(name, big=big))
            async with asyncio.timeout(10):
                while ("ADDED", version_of(made)) not in events_in(await anext(reader)):
                    pass
            worst = max(worst, loop.time() - began)
        assert worst < 5, "seconds from a write to the watcher that reads"
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)


async def test_versions_only_grow_over_restarts_and_a_watch_goes_on_or_expires(tmp_path: Path) -> None:
    last = 0
    for start in range(3):
        async with running(tmp_path) as world:
            connection = await world.connect()
            listed = await ok(connection, "GET", CONFIGMAPS)
            names = [item["metadata"]["name"] for item in listed["items"]]
            assert names == [f"c-{before}-{step}" for before in range(start) for step in range(10, 30)]
            assert version_of(listed) >= last
            for step in range(10, 30):
                version = version_of(await ok(connection, "POST", CONFIGMAPS, configmap(f"c-{start}-{step}")))
                assert version > last
                last = version
            before = (await world.connect()).watch(f"{CONFIGMAPS}?watch=true&resourceVersion={last - 20}")
            seen: list[tuple[str, int]] = []
            async with asyncio.timeout(10):
                while len(seen) < 20:
                    seen += events_in(await anext(before))
            assert [version for _, version in seen][-1] == last
            status, body = await connection.request(
                "GET", f"{CONFIGMAPS}?watch=true&resourceVersion=1&timeoutSeconds=1"
            )
            event = json.loads(body)
            assert (status, event["type"], event["object"]["reason"]) == (200, "ERROR", "Expired")


async def test_pages_of_a_list_are_one_moment_while_everything_changes(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        created = await asyncio.wait_for(create_pods(world, 1_000), 60)
        start = version_of(await ok(await world.connect(), "GET", PODS))
        changes: list[tuple[str, str, int]] = []
        watching = asyncio.create_task(record(world, start, changes))
        stop = asyncio.Event()
        changing = [asyncio.create_task(change(world, created, seed, stop)) for seed in range(3)]
        connection = await world.connect()
        for _ in range(3):
            versions, items, token = set(), {}, ""
            while True:
                page = await ok(connection, "GET", f"{PODS}?limit=50&continue={token}")
                versions.add(version_of(page))
                for item in page["items"]:
                    assert item["metadata"]["name"] not in items, "no object on two pages"
                    items[item["metadata"]["name"]] = version_of(item)
                token = page["metadata"].get("continue", "")
                if not token:
                    break
            assert len(versions) == 1
            [moment] = versions
            async with asyncio.timeout(20):
                while not changes or changes[-1][2] < moment:
                    await asyncio.sleep(0.02)
            state = dict(created)
            for kind, name, version in changes:
                if version <= moment:
                    if kind == "DELETED":
                        del state[name]
                    else:
                        state[name] = version
            assert items == state
        stop.set()
        await asyncio.wait(changing)
        watching.cancel()
        await asyncio.wait([watching])


async def create_pods(world: World, count: int) -> dict[str, int]:
    """Pods by name with their versions."""
    made: dict[str, int] = {}

    async def create(numbers: range) -> None:
        connection = await world.connect()
        for number in numbers:
            name = f"p-{number:04}"
            made[name] = version_of(await ok(connection, "POST", PODS, pod(name)))

    async with asyncio.TaskGroup() as group:
        for first in range(4):
            group.create_task(create(range(first, count, 4)))
    return made


async def change(world: World, names: dict[str, int], seed: int, stop: asyncio.Event) -> None:
    """Label, delete and create pods as long as it lasts."""
    chance = random.Random(seed)
    connection = await world.connect()
    mine = [name for index, name in enumerate(sorted(names)) if index % 3 == seed]
    number = 0
    while not stop.is_set():
        number += 1
        name = chance.choice(mine)
        if number % 5 == 0:
            mine.remove(name)
            await ok(connection, "DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
        elif number % 5 == 1:
            await ok(connection, "POST", PODS, pod(f"new-{seed}-{number}"))
        else:
            patch = {"metadata": {"labels": {"number": str(number)}}}
            await ok(connection, "PATCH", f"{PODS}/{name}", patch, "application/merge-patch+json")


async def record(world: World, start: int, changes: list[tuple[str, str, int]]) -> None:
    """Everything that happens to pods after a version."""
    async for lines in (await world.connect()).watch(f"{PODS}?watch=true&resourceVersion={start}"):
        for line, (kind, version) in zip(lines.split(b"\n"), events_in(lines), strict=True):
            name = re.search(rb'"metadata":\{[^{}]*?"name":"([^"]+)"', line)
            assert name is not None
            changes.append((kind, name[1].decode(), version))

"""watch: nothing lost, nothing doubled, in order; replay, bookmarks, selectors, expiry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from tests.unit.apiserver.api_world import PODS, Api, configmap

from pullet.apiserver.records import Record
from pullet.apiserver.storage import Storage
from pullet.apiserver.watch_cache import QUEUE_SIZE, Change, WatchCache
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.status import ExpiredError

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


@asynccontextmanager
async def watching(api: Api, path: str, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    timeout = httpx2.Timeout(10.0)
    async with api.http.stream("GET", path, headers=headers, timeout=timeout) as response:
        assert response.status_code == 200

        async def events() -> AsyncIterator[dict[str, Any]]:
            async for line in response.aiter_lines():
                yield msgspec.json.decode(line)

        yield events()


async def take(events: AsyncIterator[dict[str, Any]], count: int) -> list[tuple[str, str]]:
    found = []
    async for event in events:
        found.append((event["type"], event["object"]["metadata"].get("name", "")))
        if len(found) == count:
            break
    return found


async def test_what_happens_after_a_list_is_seen(api: Api) -> None:
    await api.pod("before")
    version = (await api.ok("GET", PODS))["metadata"]["resourceVersion"]
    await api.pod("missed")
    async with watching(api, f"{PODS}?watch=true&resourceVersion={version}") as events:
        await api.pod("after")
        await api.ok("DELETE", f"{PODS}/after")
        assert await take(events, 3) == [("ADDED", "missed"), ("ADDED", "after"), ("DELETED", "after")]


async def test_without_a_version_what_is_there_comes_first(api: Api) -> None:
    await api.pod("a")
    async with watching(api, f"{PODS}?watch=true") as events:
        await api.pod("b")
        assert await take(events, 2) == [("ADDED", "a"), ("ADDED", "b")]


async def test_initial_events_end_with_a_bookmark(api: Api) -> None:
    await api.pod("a")
    query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    async with watching(api, f"{PODS}?{query}") as events:
        first, bookmark = [event async for event in _first(events, 2)]
    assert first["type"] == "ADDED"
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def _first(events: AsyncIterator[dict[str, Any]], count: int) -> AsyncIterator[dict[str, Any]]:
    seen = 0
    async for event in events:
        yield event
        seen += 1
        if seen == count:
            return


async def test_a_selector_turns_changes_into_comings_and_goings(api: Api) -> None:
    await api.pod("p", app="web")
    version = (await api.ok("GET", PODS))["metadata"]["resourceVersion"]
    merge = "application/merge-patch+json"
    async with watching(api, f"{PODS}?watch=1&resourceVersion={version}&labelSelector=app%3Dweb") as events:
        await api.ok("PATCH", f"{PODS}/p", {"metadata": {"annotations": {"x": "1"}}}, content_type=merge)
        await api.ok("PATCH", f"{PODS}/p", {"metadata": {"labels": {"app": "db"}}}, content_type=merge)
        await api.ok("PATCH", f"{PODS}/p", {"metadata": {"annotations": {"x": "2"}}}, content_type=merge)
        await api.ok("PATCH", f"{PODS}/p", {"metadata": {"labels": {"app": "web"}}}, content_type=merge)
        assert await take(events, 3) == [("MODIFIED", "p"), ("DELETED", "p"), ("ADDED", "p")]


async def test_a_watch_ends_at_its_time_with_a_last_bookmark(api: Api) -> None:
    query = "watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion="
    version = (await api.ok("GET", PODS))["metadata"]["resourceVersion"]
    async with watching(api, f"{PODS}?{query}{version}") as events:
        assert [event["type"] async for event in events] == ["BOOKMARK"]


async def test_a_table_watch_has_one_row_per_event(api: Api) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    async with watching(api, f"{PODS}?watch=true&resourceVersion=0", accept=accept) as events:
        await api.pod("p")
        await api.ok("DELETE", f"{PODS}/p")
        added, deleted = [event async for event in _first(events, 2)]
    assert [column["name"] for column in added["object"]["columnDefinitions"]][:5] == [
        "Name", "Ready", "Status", "Restarts", "Age",
    ]  # fmt: skip
    assert deleted["object"]["columnDefinitions"] is None
    assert deleted["object"]["rows"][0]["cells"][:3] == ["p", "0/1", "Pending"]


async def test_an_old_version_has_expired_and_a_strange_one_is_refused(api: Api) -> None:
    for accept in ("", "application/json;as=Table;v=v1;g=meta.k8s.io"):
        event = await api.ok("GET", f"{PODS}?watch=true&resourceVersion=5", accept=accept)
        assert event["type"] == "ERROR"
        assert (event["object"]["kind"], event["object"]["reason"], event["object"]["code"]) == (
            "Status",
            "Expired",
            410,
        )
        assert event["object"]["message"].startswith("too old resource version: 5 (")
    assert (await api.refused("GET", f"{PODS}?watch=true&resourceVersion=x"))["reason"] == "BadRequest"


async def test_twenty_watchers_see_every_write_once_and_in_order(api: Api) -> None:
    version = (await api.ok("GET", CONFIGMAPS))["metadata"]["resourceVersion"]
    path = f"{CONFIGMAPS}?watch=true&resourceVersion={version}"
    started = asyncio.Semaphore(0)

    async def follow() -> list[int]:
        async with watching(api, path) as events:
            started.release()
            return [int(event["object"]["metadata"]["resourceVersion"]) async for event in _first(events, 200)]

    async def write(writer: int) -> None:
        for number in range(20):
            await api.ok("POST", CONFIGMAPS, configmap(f"c-{writer}-{number}"))

    async with asyncio.TaskGroup() as group:
        followers = [group.create_task(follow()) for _ in range(20)]
        for _ in followers:
            await started.acquire()
        for writer in range(10):
            group.create_task(write(writer))
    seen = [task.result() for task in followers]
    assert seen[0] == sorted(set(seen[0]))
    assert all(each == seen[0] for each in seen)


def record(number: int) -> Record:
    return Record.of({"metadata": {"name": f"r{number}"}}, number)


async def test_the_ring_forgets_and_says_so() -> None:
    cache = WatchCache(known_version=0, first_version=1, size=3)
    for number in range(1, 6):
        cache.publish(Change("ADDED", record(number), None))
    assert [change.resource_version for change in cache.since(2)] == [3, 4, 5]
    with pytest.raises(ExpiredError, match=r"^too old resource version: 1 \(2\)$"):
        cache.since(1)


async def test_versions_lost_at_a_power_cut_are_not_taken_for_known_ones() -> None:
    cache = WatchCache(known_version=10, first_version=1010)
    assert list(cache.since(10)) == []
    assert list(cache.since(1010)) == []
    with pytest.raises(ExpiredError):
        cache.since(11)


async def test_a_watcher_that_does_not_read_is_closed_and_the_others_go_on() -> None:
    cache = WatchCache(known_version=0, first_version=1)
    slow, quick = cache.watch(None, None), cache.watch(None, None)
    seen = 0
    for number in range(1, QUEUE_SIZE + 2):
        cache.publish(Change("ADDED", record(number), None))
        if number % 1000 == 0:
            await quick.wait()
            seen += len(quick.take())
    assert slow.is_closed
    assert not quick.is_closed
    assert seen == QUEUE_SIZE


async def test_a_restart_keeps_objects_and_never_gives_a_version_twice(tmp_path: Path, threads: WorkerThreads) -> None:
    given: list[int] = []
    for _ in range(3):
        storage = await threads.run(Storage.open, tmp_path / "objects.sqlite")
        for _ in range(3):
            async with storage.transaction() as transaction:
                given.append(transaction.put("/things", {"metadata": {"name": f"n{len(given)}"}}).resource_version)
        assert len(storage.list("/things")) == len(given)
        await threads.run(storage.close)
    assert given == sorted(set(given))


async def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path, threads: WorkerThreads) -> None:
    storage = await threads.run(Storage.open, tmp_path / "objects.sqlite")
    before = storage.resource_version

    async def fail() -> None:
        async with storage.transaction() as transaction:
            transaction.put("/things", {"metadata": {"name": "x"}})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert storage.list("/things") == ()
    assert storage.resource_version == before
    async with storage.transaction() as transaction:
        made = transaction.put("/things", {"metadata": {"name": "x"}})
        transaction.remove("/things", made)
    assert storage.list("/things") == ()
    await threads.run(storage.close)

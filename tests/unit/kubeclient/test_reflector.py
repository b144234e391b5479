"""The reflector keeps its copy through cuts, expiry and absence of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.scheme import PODS
from pullet.kube.status import ApiError, ExpiredError
from pullet.kubeclient.client import ApiClient, ObjectList, WatchEvent
from pullet.kubeclient.errors import ApiUnreachableError
from pullet.kubeclient.reflector import Reflector
from pullet.testing.clock import FakeClock


def pod(name: str, version: int) -> JsonObject:
    return {"metadata": {"namespace": "ns", "name": name, "uid": name, "resourceVersion": str(version)}}


@dataclass
class ScriptedApi(ApiClient):
    """Lists and watches as scripted; a watch whose script ran out stays silent."""

    lists: list[list[JsonObject] | ApiError]
    watches: list[list[WatchEvent | ApiError]]
    version: int = 10
    asked: list[str] = field(default_factory=list)

    async def list(self, *args: Any, **kwargs: Any) -> ObjectList:
        self.asked.append("list")
        answer = self.lists.pop(0)
        if isinstance(answer, ApiError):
            raise answer
        self.version += 10
        return ObjectList(answer, str(self.version))

    async def watch(self, *args: Any, resource_version: str = "", **kwargs: Any) -> AsyncGenerator[WatchEvent, None]:
        self.asked.append(f"watch {resource_version}")
        if not self.watches:
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, ApiError):
                raise event
            yield event


@asynccontextmanager
async def reflecting(api: ScriptedApi) -> AsyncIterator[tuple[Reflector, FakeClock]]:
    clock = FakeClock()
    reflector = Reflector(client=api, resource=PODS, clock=clock)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(reflector.run())
        await clock.advance(0)
        yield reflector, clock
        running.cancel()


def names(reflector: Reflector) -> set[str]:
    return {obj["metadata"]["name"] for obj in reflector.list()}


async def test_the_copy_follows_list_and_watch() -> None:
    events: list[WatchEvent | ApiError] = [
        WatchEvent("ADDED", pod("b", 21)),
        WatchEvent("DELETED", pod("a", 22)),
        WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "30"}}),
    ]
    api = ScriptedApi([[pod("a", 5)]], [events])
    async with reflecting(api) as (reflector, _):
        await reflector.wait_synced()
        assert names(reflector) == {"b"}
        assert api.asked == ["list", "watch 20", "watch 30"]
        found = reflector.get("ns", "b")
        assert found is not None


async def test_items_of_a_list_know_their_kind() -> None:
    async with reflecting(ScriptedApi([[pod("a", 5)]], [])) as (reflector, _):
        found = reflector.get("ns", "a")
        assert found is not None
        assert (found["apiVersion"], found["kind"]) == ("v1", "Pod")


async def test_an_expired_watch_lists_again_and_tells_the_difference() -> None:
    api = ScriptedApi([[pod("a", 5)], [pod("b", 25)]], [[ExpiredError.watch(20, 25)]])
    async with reflecting(api) as (reflector, _):
        assert names(reflector) == {"b"}
        assert api.asked == ["list", "watch 20", "list", "watch 30"]


async def test_a_cut_watch_goes_on_where_it_was() -> None:
    cut: list[WatchEvent | ApiError] = [WatchEvent("ADDED", pod("b", 21)), ApiUnreachableError("cut")]
    api = ScriptedApi([[pod("a", 5)]], [cut])
    async with reflecting(api) as (reflector, clock):
        assert api.asked == ["list", "watch 20"]
        await clock.advance(1.3)
        assert api.asked == ["list", "watch 20", "watch 21"]
        assert names(reflector) == {"a", "b"}


async def test_an_absent_server_is_asked_ever_less_often() -> None:
    api = ScriptedApi([*([ApiUnreachableError("down")] * 20), [pod("a", 5)]], [])
    async with reflecting(api) as (reflector, clock):
        await clock.advance(3.0)
        assert 2 <= len(api.asked) <= 3
        await clock.advance(60.0)
        assert len(api.asked) <= 8
        assert not reflector.has_synced
        await clock.advance(900.0)
        assert names(reflector) == {"a"}


async def test_watches_that_end_at_once_are_not_repeated_in_a_tight_loop() -> None:
    api = ScriptedApi([[]], [[]] * 1000)
    async with reflecting(api) as (_, clock):
        await clock.advance(10.0)
        assert len(api.asked) < 10


async def test_an_own_write_is_seen_at_once_and_old_news_do_not_undo_it() -> None:
    late: list[WatchEvent | ApiError] = [WatchEvent("MODIFIED", pod("a", 21)), WatchEvent("DELETED", pod("b", 26))]
    api = ScriptedApi([[pod("a", 5)]], [[], late])
    async with reflecting(api) as (reflector, clock):
        reflector.observe(pod("a", 25))
        reflector.observe(pod("b", 24))
        assert names(reflector) == {"a", "b"}
        await clock.advance(2.0)
        known = reflector.get("ns", "a")
        assert known is not None
        assert known["metadata"]["resourceVersion"] == "25"
        assert names(reflector) == {"a"}
        reflector.observe(pod("b", 24))  # the answer came after the news of the deletion
        assert names(reflector) == {"a"}

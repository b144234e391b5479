"""The cache, its indexes, and what each reader is told."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pullet.base.jsonvalue import JsonObject
from pullet.kubeclient.object_cache import Change, ObjectCache, Subscription


def pod(name: str, version: int, *, uid: str = "", node: str = "") -> JsonObject:
    meta = {"namespace": "ns", "name": name, "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {"nodeName": node}}


async def drain(subscription: Subscription) -> list[Change]:
    changes = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                changes.append(await anext(subscription))
        except TimeoutError:
            return changes


async def test_a_reader_starts_with_what_is_known() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1))
    assert await drain(cache.subscribe()) == [Change("ADDED", pod("a", 1))]


async def test_changes_of_one_object_merge_until_they_are_read() -> None:
    cache = ObjectCache()
    reader = cache.subscribe()
    cache.put(pod("a", 1))
    cache.put(pod("a", 2))
    assert await drain(reader) == [Change("ADDED", pod("a", 2))]
    cache.put(pod("a", 3))
    cache.put(pod("a", 4))
    assert await drain(reader) == [Change("MODIFIED", pod("a", 4), pod("a", 2))]
    cache.put(pod("a", 5))
    cache.remove(("ns", "a"), pod("a", 6))
    assert await drain(reader) == [Change("DELETED", pod("a", 6), pod("a", 4))]


async def test_the_same_version_again_is_no_change() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1))
    reader = cache.subscribe()
    await drain(reader)
    cache.put(pod("a", 1))
    assert await drain(reader) == []


async def test_a_name_used_again_is_two_objects() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1, uid="first"))
    reader = cache.subscribe()
    await drain(reader)
    cache.put(pod("a", 2, uid="second"))
    changes = await drain(reader)
    assert [(change.type, change.object["metadata"]["uid"]) for change in changes] == [
        ("DELETED", "first"),
        ("ADDED", "second"),
    ]


async def test_one_that_leaves_a_selection_and_returns_is_modified() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1))
    reader = cache.subscribe()
    await drain(reader)
    cache.remove(("ns", "a"))
    cache.put(pod("a", 3))
    assert await drain(reader) == [Change("MODIFIED", pod("a", 3), pod("a", 1))]


async def test_replacing_all_tells_what_is_gone_new_and_changed() -> None:
    cache = ObjectCache()
    for item in (pod("gone", 1), pod("same", 1), pod("changed", 1)):
        cache.put(item)
    reader = cache.subscribe()
    await drain(reader)
    cache.replace([pod("same", 1), pod("changed", 2), pod("new", 3)])
    assert {(change.type, change.key[1]) for change in await drain(reader)} == {
        ("DELETED", "gone"),
        ("MODIFIED", "changed"),
        ("ADDED", "new"),
    }


async def test_a_closed_reader_gets_what_was_pending_and_then_ends() -> None:
    cache = ObjectCache()
    cache.put(pod("a", 1))
    reader = cache.subscribe()
    reader.close()
    cache.put(pod("b", 2))
    assert [change.key[1] async for change in reader] == ["a"]


_nodes = st.sampled_from(["", "n1", "n2"])
_steps = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["put", "remove"]), _nodes), max_size=30)


@given(_steps)
def test_an_index_is_what_a_scan_would_find(steps: list[tuple[str, str, str]]) -> None:
    cache = ObjectCache({"node": lambda obj: (obj["spec"]["nodeName"],)})
    for version, (name, verb, node) in enumerate(steps):
        if verb == "put":
            cache.put(pod(name, version, node=node))
        else:
            cache.remove(("ns", name))
        for value in ("", "n1", "n2"):
            scan = [obj for obj in cache.list("ns") if obj["spec"]["nodeName"] == value]
            found = list(cache.by_index("node", value))
            assert sorted(map(str, found)) == sorted(map(str, scan))

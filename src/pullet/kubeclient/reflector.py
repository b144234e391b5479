"""Keeps an ObjectCache equal to a collection on the server: list once, then watch, list again when told to.

                 list ──► watch ──┬─ ended by the server ──► watch from the last version seen
                  ▲               ├─ cut, or server away ──► back off, watch from the last version seen
                  └── too old ────┘
Source: client-go tools/cache/reflector.go.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube.meta import resource_version_of
from pullet.kube.scheme import Resource
from pullet.kube.status import ApiError, ExpiredError, GoneError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Indexer, ObjectCache, Subscription, key_of

log = logging.getLogger(__name__)

_BACK_OFF_START_SECONDS = 0.8
_BACK_OFF_LIMIT_SECONDS = 30.0
_PAGE = 500
_WATCH_SECONDS = (300, 600)  # spread, so that a restarted server does not see all watches end at once


class Reflector:
    """A local copy of one collection. `run()` keeps it; reading needs no await.

    Selectors are the server's: objects that stop matching are DELETED here. `transform` may shrink an object to what
    the readers need before it is kept.
    """

    def __init__(
        self,
        *,
        client: ApiClient,
        resource: Resource,
        clock: Clock,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        indexers: Mapping[str, Indexer] | None = None,
        transform: Callable[[JsonObject], JsonObject] = lambda obj: obj,
    ) -> None:
        self.resource = resource
        self._transform = transform
        self.cache = ObjectCache(indexers)
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._synced = asyncio.Event()
        self._version = ""

    @property
    def has_synced(self) -> bool:
        """Whether the first list is in the cache."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for the first list."""
        await self._synced.wait()

    def get(self, namespace: str, name: str) -> JsonObject | None:
        """The object, if known. Shared: copy before changing."""
        return self.cache.get(namespace, name)

    def list(self, namespace: str | None = None) -> Sequence[JsonObject]:
        """All known objects, or those of one namespace."""
        return self.cache.list(namespace)

    def by_index(self, index: str, value: str) -> Sequence[JsonObject]:
        """The objects that the indexer `index` filed under `value`."""
        return self.cache.by_index(index, value)

    def changes(self) -> Subscription:
        """Changes from now on, beginning with what is known; `async for` over it, then `close()`."""
        return self.cache.subscribe()

    def observe(self, obj: JsonObject) -> None:
        """Take in the answer to a write of our own before the watch tells of it, so that the next decision sees it.

        Ignored when the watch is past that version already: a later deletion must not be undone.
        """
        version = resource_version_of(obj)
        if version.isdigit() and self._version.isdigit() and int(version) > int(self._version):
            self.cache.put(self._transform(obj))

    async def run(self) -> None:
        """Keep the cache until cancelled. Errors of the API are logged and retried with growing distance."""
        delay = 0.0
        must_list = True
        while True:
            try:
                if must_list:
                    await self._list()
                    must_list = False
                seen = await self._watch()
                # a server that ends watches at once without a word must not be asked in a tight loop
                delay = 0.0 if seen else _longer(delay)
            except (ExpiredError, GoneError):
                must_list = True
                delay = _longer(delay) if not self._version else 0.0
                self._version = ""
            except ApiError as error:
                delay = _longer(delay)
                log.log(
                    logging.WARNING if delay > _BACK_OFF_START_SECONDS else logging.DEBUG,
                    "watch interrupted",
                    extra={"resource": str(self.resource), "error": str(error), "retry_seconds": round(delay, 1)},
                )
            if delay:
                await self._clock.sleep(delay * random.uniform(1.0, 1.5))

    async def _list(self) -> None:
        items, version = await self._client.list(
            self.resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            limit=_PAGE,
        )
        for obj in items:  # items of a list do not say what they are
            obj.setdefault("apiVersion", self.resource.group_version)
            obj.setdefault("kind", self.resource.kind)
        self.cache.replace([self._transform(obj) for obj in items])
        self._version = version
        self._synced.set()

    async def _watch(self) -> bool:
        seen = False
        events = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_seconds=random.randint(*_WATCH_SECONDS),
        )
        async with aclosing(events):
            async for event in events:
                seen = True
                match event.type:
                    case "ADDED" | "MODIFIED":
                        self._put(event.object)
                    case "DELETED":
                        self.cache.remove(key_of(event.object), self._transform(event.object))
                    case _:
                        pass
                self._version = resource_version_of(event.object) or self._version
        return seen

    def _put(self, obj: JsonObject) -> None:
        known = self.cache.get(*key_of(obj))
        if known is not None and _is_newer(known, obj):
            return  # our own write, observed already, is ahead of this event
        self.cache.put(self._transform(obj))


def _is_newer(known: JsonObject, obj: JsonObject) -> bool:
    ours, theirs = resource_version_of(known), resource_version_of(obj)
    return ours.isdigit() and theirs.isdigit() and int(ours) > int(theirs)


def _longer(delay: float) -> float:
    return min(max(_BACK_OFF_START_SECONDS, delay * 2), _BACK_OFF_LIMIT_SECONDS)

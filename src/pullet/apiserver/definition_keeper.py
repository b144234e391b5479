"""Keeps the promises of CustomResourceDefinitions: accepts their names, establishes them, ends their objects with them.

    created ─▶ names accepted or in conflict ─▶ established: served
    deleted ─▶ Terminating: nothing new is created ─▶ every object is deleted ─▶ finalizer off: gone, watches end

What to write is decided in `policy.definition_naming`. Source: apiextensions-apiserver pkg/controller.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import suppress

from pullet.apiserver.records import Record
from pullet.apiserver.request_context import SYSTEM, RequestContext
from pullet.apiserver.storage import Storage
from pullet.apiserver.watch_cache import Watcher
from pullet.apiserver.writing import Writer
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube.custom_rows import ESTABLISHED, custom_rows, is_condition_true
from pullet.kube.meta import format_time, is_deleting
from pullet.kube.scheme import CUSTOMRESOURCEDEFINITIONS, Resource
from pullet.kube.status import ApiError, ConflictError, NotFoundError
from pullet.policy.definition_naming import (
    CLEANUP_FINALIZER,
    DELETED,
    DELETING,
    NEVER_ESTABLISHED,
    OVERLAPPING,
    ending_status,
    named_status,
)
from pullet.policy.deletion import DeleteOptions

log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_MANAGER = "kube-apiserver"


class DefinitionKeeper:
    """Runs beside the server, over its storage."""

    def __init__(self, *, storage: Storage, writer: Writer, clock: Clock) -> None:
        self._storage = storage
        self._writer = writer
        self._clock = clock
        self._wake = asyncio.Event()
        self._followed: set[str] = set()  # storage keys of what it is woken by

    async def run(self) -> None:
        """Keep until cancelled."""
        self._followed.clear()
        async with asyncio.TaskGroup() as group:
            self._follow(CUSTOMRESOURCEDEFINITIONS.storage_key, group)
            while True:
                self._wake.clear()
                is_done = await self._pass(group)
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if is_done else _RETRY_SECONDS):
                        await self._wake.wait()

    def _follow(self, storage_key: str, group: asyncio.TaskGroup) -> None:
        """From now on, be woken by every change of a kind."""
        if storage_key not in self._followed:
            self._followed.add(storage_key)
            watcher = self._storage.cache(storage_key).watch(None, None)
            group.create_task(self._listen(storage_key, watcher), name=f"definitions/{storage_key}")

    async def _listen(self, storage_key: str, watcher: Watcher) -> None:
        """Wake the keeper at every change that a watcher tells of, until the watch ends."""
        try:
            while await watcher.wait():
                watcher.take()
                self._wake.set()
        finally:
            self._storage.cache(storage_key).forget(watcher)
            self._followed.discard(storage_key)

    async def _pass(self, group: asyncio.TaskGroup) -> bool:
        """Look at every definition; False: come back without being woken."""
        is_done = True
        by_age = sorted(
            self._storage.list(CUSTOMRESOURCEDEFINITIONS.storage_key),
            key=lambda record: (record.obj["metadata"]["creationTimestamp"], record.resource_version),
        )
        for known in by_age:
            record = self._storage.get(CUSTOMRESOURCEDEFINITIONS.storage_key, "", known.name)
            if record is None:
                continue
            try:
                if is_deleting(record.obj):
                    await self._end(record, group)
                else:
                    await self._name(record)
            except (ConflictError, NotFoundError):
                is_done = False  # somebody wrote first
            except (ApiError, sqlite3.Error) as error:  # a full disk, above all
                is_done = False
                log.warning("definition kept waiting", extra={"definition": known.name, "error": str(error)})
        return is_done

    async def _name(self, record: Record) -> None:
        others = [each.obj for each in self._storage.list(CUSTOMRESOURCEDEFINITIONS.storage_key)]
        status = named_status(record.obj, others, self._now())
        if status != record.obj.get("status"):
            await self._write(record, status)

    async def _end(self, record: Record, group: asyncio.TaskGroup) -> None:
        if CLEANUP_FINALIZER not in (record.obj["metadata"].get("finalizers") or ()):
            return
        if not is_condition_true(record.obj, ESTABLISHED):
            await self._write(record, ending_status(record.obj, NEVER_ESTABLISHED, self._now()), is_last=True)
            return
        row = _any_row(record.obj)
        if row is None:
            await self._write(record, ending_status(record.obj, OVERLAPPING, self._now()), is_last=True)
            return
        status = ending_status(record.obj, DELETING, self._now())
        if status != record.obj.get("status"):
            record = await self._write(record, status)
        key = row.storage_key
        self._follow(key, group)
        for each in self._storage.list(key):
            if not is_deleting(each.obj):
                options = DeleteOptions()
                await self._writer.delete(row, _context(), each.namespace, each.name, options, is_admitted=True)
        if not self._storage.list(key):
            await self._write(record, ending_status(record.obj, DELETED, self._now()), is_last=True)
            if self._storage.get(CUSTOMRESOURCEDEFINITIONS.storage_key, "", record.name) is None:
                self._storage.cache(key).close()

    async def _write(self, record: Record, status: JsonObject, *, is_last: bool = False) -> Record:
        """Store a status decided on `record`; `is_last`: nothing here holds the definition any more.

        Raises:
            ConflictError, NotFoundError: it is no longer as it was.
        """

        def change(definition: JsonObject) -> JsonObject:
            definition["metadata"]["resourceVersion"] = str(record.resource_version)
            definition["status"] = status
            if is_last:
                left = [name for name in definition["metadata"]["finalizers"] if name != CLEANUP_FINALIZER]
                definition["metadata"]["finalizers"] = left
            return definition

        kind = CUSTOMRESOURCEDEFINITIONS
        return await self._writer.update(kind, _context(), "", record.name, change, subresource="status")

    def _now(self) -> str:
        return format_time(self._clock.now())


def _any_row(definition: JsonObject) -> Resource | None:
    """A row under which the objects can be deleted, served or not; None: they are a built-in kind's."""
    versions = [{**version, "served": True} for version in definition["spec"]["versions"]]
    rows = custom_rows({**definition, "spec": {**definition["spec"], "versions": versions}})
    return rows[0] if rows else None


def _context() -> RequestContext:
    return RequestContext(user=SYSTEM, field_manager=_MANAGER)

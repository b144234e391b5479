"""The pull: resolve → plan → fetch ∥ unpack → record.

    pull_image ─► one flight per (reference, credential) ─► plan (thread) ─► layers (threads, a few at a time, biggest
    first) ─► the image is recorded with its names: from now on it can be looked up

Everything fetched is held by a lease until the record stands. A layer that is here is not requested; one that another
pull is fetching is waited for; one whose blob is in the content store (it was pushed here) crosses no network.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

import msgspec

from pullet.base.quote import go_quote
from pullet.base.values import State, Value
from pullet.cri.errors import CriError
from pullet.cri.extensions import EndpointAttempt, LayerPhase, LayerProgress, PullReport
from pullet.engine.errors import PullStep, storage_failed, worded
from pullet.engine.pull_plan import LocalSource, PlannedLayer, PullPlan, PullPlanner
from pullet.engine.pull_progress import PullBoard, PullTicket
from pullet.kit import faults
from pullet.kit.locks import KeyedLock
from pullet.kit.tasks import SingleFlight, one_error
from pullet.kit.worker_threads import StopFlag, WorkerThreads
from pullet.oci.platform import Platform
from pullet.oci.reference import Reference
from pullet.registry.auth import Credential
from pullet.registry.client import RegistryClient
from pullet.registry.response import RateLimit
from pullet.registry.transport import Caller, Exchange
from pullet.store.errors import DigestMismatchError, SizeMismatchError, disk_full_named
from pullet.store.images import ImageLayer
from pullet.store.leases import LeaseKind
from pullet.store.store import Store
from pullet.store.unpack import Readable

MAX_SOURCES: Final = 3  # hosts whose bytes may turn out wrong before a layer is given up


class PullLimits(Value, kw_only=True):
    """How much at once."""

    layers_per_pull: int = 3  # Source: containerd max_concurrent_downloads
    layers_in_all: int = 6
    plans_in_all: int = 8


class _Traffic(State, kw_only=True):
    """What one pull asked and got, gathered from its threads."""

    attempts: list[EndpointAttempt] = msgspec.field(default_factory=list)
    downloaded_bytes: int = 0
    reused_bytes: int = 0
    unpacked_bytes: int = 0  # of layers whose blobs were here
    rate_limit: RateLimit | None = None  # as told last
    layers: tuple[LayerProgress, ...] = ()  # at the end
    logins: dict[str, str] = msgspec.field(default_factory=dict)  # host of a mirror → the login last shown to it

    def note(self, exchange: Exchange) -> None:
        if exchange.credential_origin:
            self.logins[urlsplit(exchange.url).netloc] = exchange.credential_origin
        self.rate_limit = exchange.rate_limit or self.rate_limit
        self.attempts.append(
            EndpointAttempt(
                method=exchange.method,
                url=exchange.url,
                status=exchange.status,
                elapsed_seconds=exchange.elapsed_seconds,
                error=exchange.error,
            )
        )


class PullOutcome(Value):
    """How a pull ended: always a report, and the error if it failed."""

    report: PullReport
    error: CriError | None = None


class ImagePuller:
    """Pulls images into one store. Work belongs to `group`; callers may come and go."""

    def __init__(
        self,
        *,
        store: Store,
        registry: RegistryClient,
        group: asyncio.TaskGroup,
        board: PullBoard,
        platform: Platform,
        local_source: LocalSource | None,
        limits: PullLimits,
    ) -> None:
        self._store, self._registry, self._board = store, registry, board
        self._platform, self._local_source, self._limits = platform, local_source, limits
        self._layer_locks = KeyedLock()
        self._flights: SingleFlight[tuple[str, str], PullOutcome] = SingleFlight(group)
        self._plan_threads = WorkerThreads("pull-plan", limits.plans_in_all)
        self._layer_threads = WorkerThreads("pull-layer", limits.layers_in_all)

    def close(self) -> None:
        """End the threads; pulls under way must have been cancelled. Blocking."""
        self._plan_threads.close()
        self._layer_threads.close()

    async def pull(
        self,
        reference: Reference,
        credential: Credential | None,
        *,
        mirror_credentials: Mapping[str, Sequence[Credential]] | None = None,
        source: LocalSource | None = None,
    ) -> PullOutcome:
        """Pull `reference`, together with whoever pulls the same with the same credential right now.

        `source` (an archive) is asked instead of this puller's own local source.
        """
        key = str(reference), credential.fingerprint if credential is not None else "" if source is None else "archive"
        asker = Caller(credential=credential, mirror_credentials=mirror_credentials or {})
        return await self._flights.run(key, lambda: self._pull(reference, asker, source or self._local_source))

    async def _pull(self, reference: Reference, asker: Caller, source: LocalSource | None) -> PullOutcome:
        traffic = _Traffic()
        try:
            return await self._pull_leased(reference, asker, source, traffic)
        except (OSError, sqlite3.Error) as error:
            what = f"failed to pull and unpack image {go_quote(str(reference))}"
            return PullOutcome(_report(None, traffic, ""), storage_failed(error, what))

    async def _pull_leased(
        self, reference: Reference, asker: Caller, source: LocalSource | None, traffic: _Traffic
    ) -> PullOutcome:
        owner = self._store.leases.make_held_owner()
        plan: PullPlan | None = None
        try:
            with self._board.pulling(str(reference)) as ticket:
                caller = partial(msgspec.structs.replace, asker, on_exchange=traffic.note)
                plan = await self._plan_threads.run_stoppable(
                    lambda stop: self._plan(reference, caller(stop=stop), owner, source)
                )
                await self._fetch_layers(plan, ticket, caller, traffic, owner)
                await self._plan_threads.run(self._record, plan)
                traffic.layers = ticket.snapshot().layers
        except CriError as error:
            return PullOutcome(_report(plan, traffic, ""), error)
        finally:
            await self._plan_threads.run(self._store.leases.release, owner)
        return PullOutcome(_report(plan, traffic, plan.image_id))

    def _plan(self, reference: Reference, caller: Caller, owner: str, source: LocalSource | None) -> PullPlan:
        return PullPlanner(
            registry=self._registry,
            content=self._store.content,
            leases=self._store.leases,
            platform=self._platform,
            local_source=source,
            reference=reference,
            caller=caller,
            lease_owner=owner,
        ).plan()

    async def _fetch_layers(
        self, plan: PullPlan, ticket: PullTicket, caller: Callable[..., Caller], traffic: _Traffic, owner: str
    ) -> None:
        missing = await self._plan_threads.run(self._missing, plan, ticket, traffic, owner)
        slots = asyncio.Semaphore(self._limits.layers_per_pull)

        async def fetch(layer: PlannedLayer) -> None:
            # a layer that another pull fetches is waited for here, where waiting costs no thread and can be cancelled
            async with self._layer_locks.hold(layer.diff_id), slots:
                await self._layer_threads.run_stoppable(
                    lambda stop: self._fetch_layer(plan, layer, ticket, caller(stop=stop), traffic)
                )

        with one_error():
            async with asyncio.TaskGroup() as group:
                if plan.fetched_bytes:
                    group.create_task(self._plan_threads.run(self._sync_documents, plan), name="sync/documents")
                for layer in sorted(missing, key=lambda layer: layer.blob.size, reverse=True):
                    group.create_task(fetch(layer), name=f"layer/{layer.blob.digest}")

    def _sync_documents(self, plan: PullPlan) -> None:
        with worded(PullStep(reference=str(plan.reference), content=plan.target)), disk_full_named(self._store.root):
            self._store.content.sync(plan.documents)

    def _missing(self, plan: PullPlan, ticket: PullTicket, traffic: _Traffic, owner: str) -> tuple[PlannedLayer, ...]:
        """The layers to fetch, each once; what is here is held so that it stays."""
        self._store.leases.acquire(owner, LeaseKind.LAYER, [layer.diff_id for layer in plan.layers])
        layers = {layer.diff_id: layer for layer in plan.layers}
        missing = tuple(layer for layer in layers.values() if self._store.layers.get(layer.diff_id) is None)
        ticket.plan([(layer.blob.digest, layer.blob.size, layer not in missing) for layer in layers.values()])
        traffic.reused_bytes += sum(layer.blob.size for layer in layers.values() if layer not in missing)
        return missing

    def _fetch_layer(
        self, plan: PullPlan, layer: PlannedLayer, ticket: PullTicket, caller: Caller, traffic: _Traffic
    ) -> None:
        step = PullStep(reference=str(plan.reference), content=layer.blob)
        ticket.set_phase(layer.blob.digest, LayerPhase.DOWNLOADING)
        with worded(step):
            if self._store.content.has(layer.blob.digest):
                with self._store.content.open(layer.blob.digest) as file:
                    self._unpack(file, layer, ticket, caller.stop)
                traffic.reused_bytes += layer.blob.size
                traffic.unpacked_bytes += layer.blob.size
            else:
                self._download(plan, layer, ticket, caller, traffic)
        ticket.set_phase(layer.blob.digest, LayerPhase.COMPLETE)

    def _download(
        self, plan: PullPlan, layer: PlannedLayer, ticket: PullTicket, caller: Caller, traffic: _Traffic
    ) -> None:
        avoid: set[str] = set()  # hosts that sent wrong bytes
        while True:
            with self._registry.open_blob(plan.reference, layer.blob, caller, avoid_hosts=avoid) as stream:
                try:
                    self._unpack(stream, layer, ticket, caller.stop)
                except (DigestMismatchError, SizeMismatchError):
                    # of several that had a part in it, the last may be honest: it is asked for all of it
                    avoid |= stream.hosts - {stream.host} or stream.hosts
                    others = set(self._registry.hosts(plan.reference)) - avoid
                    if not others or len(avoid) >= MAX_SOURCES:
                        raise
                    ticket.restart(layer.blob.digest)
                else:
                    return
                finally:
                    traffic.downloaded_bytes += stream.received_bytes

    def _unpack(self, source: Readable, layer: PlannedLayer, ticket: PullTicket, stop: StopFlag) -> None:
        self._store.layers.unpack(
            source,
            descriptor=layer.blob,
            diff_id=layer.diff_id,
            stop=stop,
            on_bytes=partial(ticket.add_bytes, layer.blob.digest),
        )

    def _record(self, plan: PullPlan) -> None:
        faults.hit("pull.before_record")
        self._store.images.put(
            plan.image_id,
            manifest=plan.manifest_digest,
            layers=[
                ImageLayer(
                    diff_id=layer.diff_id,
                    digest=layer.blob.digest,
                    media_type=layer.blob.media_type,
                    size_bytes=layer.blob.size,
                )
                for layer in plan.layers
            ],
            content=plan.documents,
            size_bytes=plan.manifest.size_bytes,
            names=plan.names,
        )
        faults.hit("pull.recorded")


def _details(traffic: _Traffic, *, is_local: bool) -> dict[str, str]:
    details = {"source": "content store" if is_local else "registry"}
    if traffic.logins:
        details["mirror_logins"] = "; ".join(f"{host}: {origin}" for host, origin in traffic.logins.items())
    if traffic.unpacked_bytes:
        details["unpacked_bytes"] = str(traffic.unpacked_bytes)
    if (limit := traffic.rate_limit) is not None:
        total = f" of {limit.limit}" if limit.limit is not None else ""
        window = f" per {limit.window_seconds:.0f} s" if limit.window_seconds is not None else ""
        details["rate_limit_remaining"] = f"{limit.remaining}{total}{window}"
    return details


def _report(plan: PullPlan | None, traffic: _Traffic, image_ref: str) -> PullReport:
    if plan is None:
        details = _details(traffic, is_local=False)
        return PullReport(image_ref=image_ref, attempts=tuple(traffic.attempts), details=details)
    is_index = plan.target.digest != plan.manifest_digest
    return PullReport(
        image_ref=image_ref,
        index_digest=str(plan.target.digest) if is_index else "",
        manifest_digest=str(plan.manifest_digest),
        endpoint=plan.host,
        downloaded_bytes=plan.fetched_bytes + traffic.downloaded_bytes,
        reused_bytes=traffic.reused_bytes,
        attempts=tuple(traffic.attempts),
        details=_details(traffic, is_local=plan.is_local),
        layers=traffic.layers,
    )

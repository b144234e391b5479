"""Who may use which present image: pull intents, proofs of access, and the judgement over them.

An image that a pod pulled with a secret is not free for every pod of the node. The manager records each pull's
credential and asks `policy.pull_verification` whether a pod's own credentials match. A started pull is an `async
with`: leaving it without `pulled()` is a failure, and exactly one of the two is recorded.
Source: kubelet-images spec 11 (KEP-2535; pkg/kubelet/images/pullmanager).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeAlias

from pullet.base.values import Value
from pullet.cri.types import Image
from pullet.kit import faults
from pullet.kit.clock import Clock
from pullet.kit.locks import KeyedLock
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.meta import format_time, parse_time
from pullet.node.pull_records import PullRecords
from pullet.policy.credential_match import TrackedCredential
from pullet.policy.pull_record import ImageAccess, PullRecordInvalidError, access_of, merge_access
from pullet.policy.pull_verification import (
    AccessFacts,
    AccessReport,
    MustProve,
    MustPullResult,
    NeedsCredentials,
    VerificationRule,
    check_access,
    check_credentials,
    trimmed_name,
)

log = logging.getLogger(__name__)

CredentialLookup: TypeAlias = Callable[[str], Awaitable[Sequence[TrackedCredential]]]


class AccessVerdict(Value):
    """Whether the pod must prove its access, and why or why not, as a sentence."""

    must_verify: bool
    reason: str


class PullIntent:
    """A pull under way. Leave it with `pulled()` done, or it counts as failed."""

    def __init__(self, manager: PullManager, image: str) -> None:
        self._manager, self._image = manager, image
        self._is_done = False

    async def pulled(self, image_ref: str, credential: TrackedCredential | None) -> None:
        """The image came with that credential (None: anonymous). An error leaves the intent for the next start."""
        self._is_done = True
        await self._manager.record_pulled(self._image, image_ref, access_of(credential))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_done:
            await self._manager.record_failed(self._image)


class PullManager:
    """The records of one node. File work happens on `threads`, one caller per key at a time."""

    def __init__(
        self,
        *,
        records: PullRecords,
        rule: VerificationRule,
        threads: WorkerThreads,
        clock: Clock,
        on_check: Callable[[MustPullResult], None] = lambda _result: None,
    ) -> None:
        self._records, self._rule, self._threads, self._clock = records, rule, threads, clock
        self._on_check = on_check
        self._in_flight: Counter[str] = Counter()
        self._locks = KeyedLock()

    async def start(self, images: Sequence[Image]) -> None:
        """Recover: an intent whose image is on the machine was pulled by us, by a credential nobody remembers.

        Its record is ensured without a proof, so that every pod has to verify. Source: spec 11.3.
        """
        await self._threads.run(self._records.open)
        intents = set(await self._threads.run(self._records.intents))
        for image in images:
            for name in (*image.repo_digests, *image.repo_tags):
                if name in intents:
                    await self._merge(name, image.id, None)
                    await self._threads.run(self._records.delete_intent, name)

    async def judge_access(
        self,
        *,
        image: str,
        image_ref: str,
        lookup: Callable[[], Awaitable[Sequence[TrackedCredential]]],
    ) -> AccessVerdict:
        """Whether a pod may use the present image; `lookup` is called only when the answer hangs on it.

        Raises:
            whatever `lookup` raises: credentials could not be had.
        """
        answer = check_access(self._rule, await self._gather(image, image_ref))
        if isinstance(answer, NeedsCredentials):
            answer = check_credentials(answer.access, await lookup())
        self._on_check(answer.result)
        if isinstance(answer, MustProve):
            return AccessVerdict(must_verify=True, reason=answer.reason)
        if answer.learned is not None:
            await self._learn(image, image_ref, answer.learned)
        return AccessVerdict(must_verify=False, reason=answer.reason)

    async def describe_access(self, *, image: str, image_ref: str) -> AccessReport:
        """Who may use the present image, under which name, and why; changes nothing and looks up no credentials."""
        facts = await self._gather(image, image_ref)
        return AccessReport(answer=check_access(self._rule, facts), record=facts.record)

    async def record_intent(self, image: str) -> PullIntent:
        """Record that a pull of `image` begins; use the result as `async with`.

        Raises:
            PullRecordInvalidError: the intent could not be written, so no pull may begin.
        """
        async with self._locks.hold(("intent", image)):
            await self._threads.run(self._records.write_intent, image)
            faults.hit("intent.recorded")
            self._in_flight[image] += 1
        return PullIntent(self, image)

    async def record_pulled(self, image: str, image_ref: str, access: ImageAccess) -> None:
        """Merge the proof and end the intent; if the proof cannot be written, the intent stays on disk."""
        try:
            await self._merge(image, image_ref, access)
        except OSError as error:
            log.warning("pull record was not written", extra={"image": image, "error": str(error)})
            self._in_flight[image] -= 1
            return
        faults.hit("access.recorded")
        await self._end_intent(image)

    async def record_failed(self, image: str) -> None:
        """End the intent of a pull that brought nothing."""
        await self._end_intent(image)

    async def prune(self, remaining: Collection[str], *, before: datetime) -> None:
        """Forget records of images that are gone and were not written since `before`.

        `remaining` must name every image ref still present: what is kept out of it would count as preloaded.
        """
        for record in await self._threads.run(self._records.records):
            updated_at = parse_time(record.last_updated_at)
            if record.image_ref not in remaining and (updated_at is None or updated_at < before):
                async with self._locks.hold(("record", record.image_ref)):
                    await self._threads.run(self._records.delete_record, record.image_ref)

    async def _gather(self, image: str, image_ref: str) -> AccessFacts:
        def read() -> AccessFacts:
            try:
                record = self._records.read_record(image_ref)
                has_intent = self._in_flight[image] > 0 or self._records.has_intent(image)
            except PullRecordInvalidError as error:
                return AccessFacts(image=image, image_ref=image_ref, read_error=str(error))
            return AccessFacts(image=image, image_ref=image_ref, record=record, has_intent=has_intent)

        return await self._threads.run(read)

    async def _learn(self, image: str, image_ref: str, learned: ImageAccess) -> None:
        try:
            await self._merge(image, image_ref, learned)
        except OSError as error:
            log.warning("pull record was not updated", extra={"image": image, "error": str(error)})

    async def _merge(self, image: str, image_ref: str, access: ImageAccess | None) -> None:
        def merge() -> None:
            try:
                known = self._records.read_record(image_ref)
            except PullRecordInvalidError:
                known = None  # a fresh record replaces an unreadable one
            now = format_time(self._clock.now())
            merged = merge_access(known, image_ref=image_ref, name=trimmed_name(image), access=access, now=now)
            if merged is not known:
                self._records.write_record(merged)

        async with self._locks.hold(("record", image_ref)):
            await self._threads.run(merge)

    async def _end_intent(self, image: str) -> None:
        async with self._locks.hold(("intent", image)):
            if self._in_flight[image] <= 1:
                await self._threads.run(self._records.delete_intent, image)
                del self._in_flight[image]
            else:
                self._in_flight[image] -= 1

"""Pulls, one at a time or several: the queue between ensure_image and the runtime, with its rate limit.

Serial (the default): first come, first served, one pull at a time on the whole node. Parallel: at most
`max_parallel` at once (None: unlimited), waiters in no order. The clock of a pull starts when its turn comes.
Source: kubelet-images spec 5 and 7 (pkg/kubelet/images/puller.go, kuberuntime/kuberuntime_image.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from pullet.base.errors import PulletError
from pullet.base.values import State
from pullet.cri.errors import CriError
from pullet.cri.extensions import PullReport, ReportingPull
from pullet.cri.services import ImageService
from pullet.cri.types import ImageSpec, PodSandboxConfig
from pullet.kit.clock import Clock
from pullet.policy.credential_match import TrackedCredential
from pullet.policy.wording import aggregate_errors


class PullFailedError(PulletError):
    """The runtime did not pull. `text` is what events show; `errors` are the causes, one per credential tried."""

    reason = "ErrImagePull"

    def __init__(self, text: str, *, errors: Sequence[CriError] = (), outcome: PullOutcome | None = None) -> None:
        super().__init__(text)
        self.text, self.errors = text, tuple(errors)
        self.outcome = outcome or PullOutcome()


class PullOutcome(State):
    """What a pull did; `elapsed_seconds` is from its turn on, with the size look-up."""

    image_ref: str = ""
    size_bytes: int = 0
    elapsed_seconds: float = 0.0
    credential: TrackedCredential | None = None  # None: anonymous
    reports: list[PullReport] = msgspec.field(default_factory=list)


class TokenBucket:
    """`rate` tokens per second, at most `burst`; taking never waits. Rate 0 never refuses."""

    def __init__(self, *, rate: float, burst: int, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens = float(burst)
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Take a token if there is one."""
        if self._rate <= 0:
            return True
        now = self._clock.monotonic()
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class ImagePuller:
    """Takes a pull through queue, rate limit and credentials to the runtime."""

    def __init__(
        self,
        *,
        images: ImageService,
        clock: Clock,
        is_serial: bool = True,
        max_parallel: int | None = None,
        qps: float = 5,
        burst: int = 10,
    ) -> None:
        self._images, self._clock = images, clock
        slots = 1 if is_serial else max_parallel if max_parallel is not None and max_parallel >= 1 else None
        self._slots = asyncio.Semaphore(slots) if slots is not None else None
        self._bucket = TokenBucket(rate=qps, burst=burst, clock=clock)

    async def pull(
        self, image: ImageSpec, credentials: Sequence[TrackedCredential], sandbox: PodSandboxConfig | None
    ) -> PullOutcome:
        """Pull when it is this call's turn; every credential is tried in order, none means one anonymous pull.

        Raises:
            PullFailedError: no credential led to success, or the rate limit refused.
        """
        async with self._turn():
            outcome = PullOutcome()
            started = self._clock.monotonic()
            try:
                if not self._bucket.take():
                    raise PullFailedError("pull QPS exceeded", outcome=outcome)
                await self._try_each(image, credentials, sandbox, outcome)
                outcome.size_bytes = await self._size(outcome.image_ref)
            finally:
                outcome.elapsed_seconds = self._clock.monotonic() - started
            return outcome

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._slots is None:
            yield
        else:
            async with self._slots:
                yield

    async def _try_each(
        self,
        image: ImageSpec,
        credentials: Sequence[TrackedCredential],
        sandbox: PodSandboxConfig | None,
        outcome: PullOutcome,
    ) -> None:
        errors: list[CriError] = []
        for credential in credentials or (None,):
            auth = credential.auth if credential is not None else None
            try:
                if isinstance(self._images, ReportingPull):
                    outcome.image_ref = await self._images.pull_image_reporting(
                        image, auth, sandbox, outcome.reports.append
                    )
                else:
                    outcome.image_ref = await self._images.pull_image(image, auth, sandbox)
            except CriError as error:
                errors.append(error)
                continue
            outcome.credential = credential
            return
        raise PullFailedError(aggregate_errors(str(error) for error in errors), errors=errors, outcome=outcome)

    async def _size(self, image_ref: str) -> int:
        if not image_ref:
            return 0
        try:
            image = await self._images.image_status(ImageSpec(image_ref))
        except CriError:
            return 0
        return image.size_bytes if image is not None else 0

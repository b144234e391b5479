"""ensure_image: the image of one container is there to be used, or the reason why it is not.

    default tag ─► presence ─► may this pod use it? ─► decide ─┬─ use the local copy
                                                              ├─ refuse (Never)
                                                              └─ credentials ─► intent ─► back-off? ─► pull

Facts are gathered, `policy.image_pull.decide_pull` decides, the effect is carried out, every pass goes into the
journal. Source: kubelet-images spec 4.3 (pkg/kubelet/images/image_manager.go EnsureImageExists).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from pullet.base.errors import PulletError
from pullet.credentials.access_advice import is_refusal
from pullet.cri.errors import CriError
from pullet.cri.services import ImageService
from pullet.cri.types import Image, ImageSpec
from pullet.journal.pass_record import PassRecord
from pullet.kit.clock import Clock
from pullet.kube import reasons
from pullet.kube.reasons import NORMAL, WARNING
from pullet.node.container_errors import ImageError
from pullet.node.ensure_image_pass import EnsureImagePass, ImageRequest
from pullet.node.events import EventSink
from pullet.node.image_puller import ImagePuller, PullFailedError
from pullet.node.journal_entry import journal_entry
from pullet.node.metrics import NodeMetrics
from pullet.node.pod_credentials import Explanation, Explanations, PodCredentials
from pullet.node.pull_manager import AccessVerdict, CredentialLookup, PullManager
from pullet.oci.reference import ReferenceInvalidError, apply_default_tag, parse_image_name
from pullet.policy.credential_match import TrackedCredential
from pullet.policy.image_pull import (
    Pull,
    PullFacts,
    PullPolicy,
    Refuse,
    UseLocal,
    Wait,
    decide_pull,
    effective_pull_policy,
)
from pullet.policy.pull_backoff import PullBackoff, pull_backoff_key
from pullet.policy.wording import Wording

log = logging.getLogger(__name__)


class PassJournal(Protocol):
    """Where every pass is written down; see journal.journal.Journal."""

    async def append(self, record: PassRecord) -> None:
        """Keep the record; never raises for a disk that is full."""
        ...


class ImageManager:
    """Ensures images for the containers and image volumes of all pods of a node."""

    def __init__(
        self,
        *,
        images: ImageService,
        puller: ImagePuller,
        pull_manager: PullManager | None,
        backoff: PullBackoff,
        events: EventSink,
        wording: Wording,
        journal: PassJournal,
        node_name: str,
        metrics: NodeMetrics,
        clock: Clock,
    ) -> None:
        """`pull_manager` None: the gate KubeletEnsureSecretPulledImages is off."""
        self._images, self._puller, self._pull_manager, self._backoff = images, puller, pull_manager, backoff
        self._events, self._wording, self._journal, self._clock = events, wording, journal, clock
        self._node_name, self._metrics = node_name, metrics
        self._explanations = Explanations()

    async def ensure_image(self, request: ImageRequest, lookup: CredentialLookup) -> str:
        """The image ref to make the container from. `lookup` gives the pod's credentials, at most once per pass.

        Raises:
            ImageError: the container waits; reason and message as the API shows them.
        """
        entry = EnsureImagePass(request.pod, request.container, request.image)
        started = self._clock.monotonic()
        try:
            entry.image_ref = await self._ensure(request, _Memo(lookup), entry)
        except ImageError as error:
            entry.reason, entry.message = error.waiting_reason, error.message
            self._explain(request, entry, lookup)
            raise
        except asyncio.CancelledError:
            entry.is_stopped = True
            raise
        finally:
            entry.total_seconds = self._clock.monotonic() - started
            self._count(request, entry)
            await self._journal.append(journal_entry(entry, node=self._node_name, at=self._clock.now()))
        return entry.image_ref

    def _explain(self, request: ImageRequest, entry: EnsureImagePass, lookup: CredentialLookup) -> None:
        """Put the failure in plain words; a pass that waits has those of the failure it waits for."""
        key = pull_backoff_key(request.pod.uid, request.image)
        if entry.errors:
            failure = entry.errors[-1]
            steps = [failure.next_step]
            if is_refusal(failure.message) and isinstance(lookup, PodCredentials):
                steps.append(lookup.explain(parse_image_name(request.image)[0]))
            self._explanations.remember(key, Explanation(failure.cause, "; ".join(filter(None, steps))))
        if entry.errors or isinstance(entry.decision, Wait):
            explanation = self._explanations.of(key)
            entry.cause, entry.next_step = explanation.cause, explanation.next_step

    async def _ensure(self, request: ImageRequest, lookup: CredentialLookup, entry: EnsureImagePass) -> str:
        spec = self._image_spec(request)
        entry.facts = await self._gather(request, spec, lookup)
        entry.decision = decide_pull(entry.facts)
        match entry.decision:
            case UseLocal(image_ref):
                self._event(request, NORMAL, reasons.PULLED, self._wording.already_present(request.image))
                return image_ref
            case Refuse(reason):
                text = self._wording.never_pull(request.image)
                self._event(request, WARNING, reason, text)
                raise ImageError(waiting_reason=reason, message=text)
            case Pull() | Wait():
                return await self._pull_or_wait(request, spec, await _credentials(lookup, spec), entry)

    def _image_spec(self, request: ImageRequest) -> ImageSpec:
        try:
            tagged = apply_default_tag(request.image)
        except ReferenceInvalidError as error:
            text = self._wording.invalid_image_name(request.image, str(error))
            self._event(request, WARNING, reasons.INSPECT_FAILED, text)
            raise ImageError(waiting_reason=reasons.INVALID_IMAGE_NAME, message=text) from error
        return ImageSpec(tagged, annotations=request.pod.metadata.annotations, user_specified_image=request.image)

    async def _gather(self, request: ImageRequest, spec: ImageSpec, lookup: CredentialLookup) -> PullFacts:
        policy = effective_pull_policy(request.policy, request.image)
        image_ref: str | None = None
        verdict = AccessVerdict(must_verify=False, reason="")
        if policy is not PullPolicy.ALWAYS:
            image_ref = await self._present(request, spec)
            if image_ref and self._pull_manager is not None:
                verdict = await self._pull_manager.judge_access(
                    image=request.image, image_ref=image_ref, lookup=lambda: _credentials(lookup, spec)
                )
        key = pull_backoff_key(request.pod.uid, request.image)
        return PullFacts(
            image=request.image,
            policy=policy,
            image_ref=image_ref,
            must_verify=verdict.must_verify,
            access_reason=verdict.reason,
            backoff_remaining_seconds=self._backoff.remaining_seconds(key, self._clock.monotonic()),
            last_failure=self._backoff.last_failure(key),
        )

    async def _present(self, request: ImageRequest, spec: ImageSpec) -> str | None:
        try:
            image = await self._images.image_status(spec)
            if image is not None:
                check_image(image, spec)
        except CriError as error:
            text = self._wording.inspect_failed(request.image, str(error))
            self._event(request, WARNING, reasons.INSPECT_FAILED, text)
            raise ImageError(waiting_reason=reasons.IMAGE_INSPECT_ERROR, message=text) from error
        return image.id if image is not None else None

    async def _pull_or_wait(
        self,
        request: ImageRequest,
        spec: ImageSpec,
        credentials: Sequence[TrackedCredential],
        entry: EnsureImagePass,
    ) -> str:
        if self._pull_manager is None:
            return await self._attempt(request, spec, credentials, entry)
        try:
            intent = await self._pull_manager.record_intent(request.image)
        except PulletError as error:
            text = self._wording.pull_intent_failed(request.image, str(error))
            raise ImageError(waiting_reason=str(error), message=text) from error
        async with intent:
            image_ref = await self._attempt(request, spec, credentials, entry)
            assert entry.outcome is not None
            await intent.pulled(image_ref, entry.outcome.credential)
            return image_ref

    async def _attempt(
        self,
        request: ImageRequest,
        spec: ImageSpec,
        credentials: Sequence[TrackedCredential],
        entry: EnsureImagePass,
    ) -> str:
        image, key = request.image, pull_backoff_key(request.pod.uid, request.image)
        if isinstance(entry.decision, Wait):
            self._event(request, NORMAL, reasons.BACK_OFF, self._wording.image_back_off(image))
            text = self._wording.image_back_off_waiting(image, self._backoff.last_failure(key))
            raise ImageError(waiting_reason=reasons.IMAGE_PULL_BACK_OFF, message=text)
        self._backoff.record_attempt(key)
        self._event(request, NORMAL, reasons.PULLING, self._wording.pulling(image))
        started = self._clock.monotonic()
        try:
            outcome = await self._puller.pull(spec, credentials, request.sandbox)
        except PullFailedError as error:
            entry.outcome = error.outcome
            entry.errors += error.errors
            self._event(request, WARNING, reasons.FAILED, self._wording.pull_failed(image, error.text))
            reason, text = self._wording.pull_error(image, error.text)
            self._backoff.record_failure(key, self._clock.monotonic(), reason=reason, message=text)
            raise ImageError(waiting_reason=reason, message=text) from error
        entry.outcome = outcome
        total = self._clock.monotonic() - started
        text = self._wording.pulled(
            image, pull_seconds=outcome.elapsed_seconds, total_seconds=total, size_bytes=outcome.size_bytes
        )
        self._event(request, NORMAL, reasons.PULLED, text)
        self._backoff.record_success(self._clock.monotonic())
        self._explanations.forget(key)
        self._metrics.observe_pull(size_bytes=outcome.size_bytes, seconds=total)
        return outcome.image_ref

    def _count(self, request: ImageRequest, entry: EnsureImagePass) -> None:
        facts, decision = entry.facts, entry.decision
        present = required = "unknown"
        if facts is not None and facts.policy is PullPolicy.ALWAYS:
            required = "true"
        elif facts is not None:
            present = "true" if facts.image_ref else "false"
            is_absent_and_never = isinstance(decision, Refuse) and not facts.image_ref
            required = "unknown" if is_absent_and_never else "false" if isinstance(decision, UseLocal) else "true"
        policy = effective_pull_policy(request.policy, request.image)
        self._metrics.count(
            "kubelet_image_manager_ensure_image_requests_total",
            pull_policy=str(policy).lower(),
            present_locally=present,
            pull_required=required,
        )

    def _event(self, request: ImageRequest, event_type: str, reason: str, message: str) -> None:
        self._events.event(request.reference, event_type, reason, message)


class _Memo:
    """A lookup that asks once."""

    def __init__(self, lookup: CredentialLookup) -> None:
        self._lookup = lookup
        self._found: Sequence[TrackedCredential] | None = None

    async def __call__(self, repository: str) -> Sequence[TrackedCredential]:
        if self._found is None:
            self._found = await self._lookup(repository)
        return self._found


async def _credentials(lookup: CredentialLookup, spec: ImageSpec) -> Sequence[TrackedCredential]:
    """The credentials for the image's repository; a failed lookup becomes reason and message alike."""
    repository, _, _ = parse_image_name(spec.image)
    try:
        return await lookup(repository)
    except PulletError as error:
        raise ImageError(waiting_reason=str(error), message=str(error)) from error


def check_image(image: Image, spec: ImageSpec) -> None:
    """Raise CriError for an image that the runtime cannot describe. Source: spec 7."""
    if not image.id or image.size_bytes == 0:
        raise CriError(f'Id or size of image "{spec.image}" is not set')

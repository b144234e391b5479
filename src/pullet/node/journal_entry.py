"""A pass of ensure_image as a journal entry."""

from __future__ import annotations

from datetime import datetime

from pullet.journal.pass_record import PassOutcome, PassRecord
from pullet.node.ensure_image_pass import EnsureImagePass
from pullet.policy.image_pull import Pull, PullPolicy, Refuse, UseLocal, Wait


def journal_entry(entry: EnsureImagePass, *, node: str, at: datetime) -> PassRecord:
    """The entry; credentials appear by origin and fingerprint alone."""
    facts, outcome = entry.facts, entry.outcome
    report = outcome.reports[-1] if outcome is not None and outcome.reports else None
    credential = outcome.credential if outcome is not None else None
    attempts = tuple(attempt for each in (outcome.reports if outcome else ()) for attempt in each.attempts)
    return PassRecord(
        at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        node=node,
        namespace=entry.pod.namespace,
        pod=entry.pod.name,
        pod_uid=entry.pod.uid,
        container=entry.container,
        image=entry.image,
        policy=str(facts.policy) if facts is not None else "",
        is_present=_is_present(entry),
        must_verify=facts.must_verify if facts is not None else False,
        backoff_remaining_seconds=facts.backoff_remaining_seconds if facts is not None else 0.0,
        decision=type(entry.decision).__name__ if entry.decision is not None else "",
        trace=entry.decision.trace if entry.decision is not None else (),
        outcome=_outcome(entry),
        image_ref=entry.image_ref,
        credential=credential.origin if credential is not None else "",
        credential_fingerprint=credential.fingerprint if credential is not None else "",
        endpoint=report.endpoint if report is not None else "",
        endpoints=attempts,
        index_digest=report.index_digest if report is not None else "",
        manifest_digest=report.manifest_digest if report is not None else "",
        size_bytes=outcome.size_bytes if outcome is not None else 0,
        downloaded_bytes=report.downloaded_bytes if report is not None else 0,
        reused_bytes=report.reused_bytes if report is not None else 0,
        details=dict(report.details) if report is not None else {},
        pull_seconds=outcome.elapsed_seconds if outcome is not None else 0.0,
        total_seconds=entry.total_seconds,
        reason=entry.reason,
        error=entry.message,
        cause=entry.cause,
        next_step=entry.next_step,
    )


def _is_present(entry: EnsureImagePass) -> bool | None:
    if entry.facts is None or entry.facts.policy is PullPolicy.ALWAYS:
        return None
    return entry.facts.image_ref is not None


def _outcome(entry: EnsureImagePass) -> PassOutcome:
    if entry.is_stopped:
        return PassOutcome.STOPPED
    match entry.decision:
        case UseLocal():
            return PassOutcome.USED_LOCAL
        case Refuse():
            return PassOutcome.REFUSED
        case Wait():
            return PassOutcome.WAITING
        case Pull() if not entry.reason:
            return PassOutcome.PULLED
        case _:
            return PassOutcome.FAILED

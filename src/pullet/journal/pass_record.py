"""One pass of ensure_image, as the journal keeps it and `pullet why` prints it. No secret is ever in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from pullet.cri.extensions import EndpointAttempt
from pullet.policy.wording import go_duration, human_size


class PassOutcome(StrEnum):
    """How a pass ended."""

    USED_LOCAL = "used-local"  # the copy on the machine
    PULLED = "pulled"
    WAITING = "waiting"  # back-off: nothing was tried
    REFUSED = "refused"  # policy Never
    FAILED = "failed"  # the pull, or a step before it
    STOPPED = "stopped"  # before its end: the pod was deleted, or the node ended


class PassRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Facts, decision, effect. Times are RFC 3339 in UTC, durations seconds, sizes bytes; empty text: not known.

    `container` is empty for an image volume. `credential` names its source (`secret shop/login (key r.example.com)`),
    `credential_fingerprint` tells equal from different. `error` is the text the container waits with; `cause` and
    `next_step` say it in plain words.
    """

    at: str
    node: str
    namespace: str
    pod: str
    pod_uid: str
    container: str
    image: str
    policy: str = ""
    is_present: bool | None = None  # None: the runtime was not asked
    must_verify: bool = False
    backoff_remaining_seconds: float = 0.0
    decision: str = ""  # UseLocal, Pull, Wait, Refuse; empty: it did not come to one
    trace: tuple[str, ...] = ()
    outcome: PassOutcome
    image_ref: str = ""
    credential: str = ""
    credential_fingerprint: str = ""
    endpoint: str = ""
    endpoints: tuple[EndpointAttempt, ...] = ()
    index_digest: str = ""
    manifest_digest: str = ""
    size_bytes: int = 0
    downloaded_bytes: int = 0
    reused_bytes: int = 0
    details: dict[str, str] = {}  # what else the runtime tells of the pull, as in PullReport
    pull_seconds: float = 0.0
    total_seconds: float = 0.0
    reason: str = ""
    error: str = ""
    cause: str = ""
    next_step: str = ""

    @property
    def summary(self) -> str:
        """What happened, in one line."""
        match self.outcome:
            case PassOutcome.USED_LOCAL:
                return "used the image on this machine, no registry was asked"
            case PassOutcome.PULLED:
                return f"pulled in {go_duration(self.pull_seconds, truncate_to_ms=True)}: {self._source}"
            case PassOutcome.WAITING:
                return f"waits {self.backoff_remaining_seconds:.0f} s before the next pull ({self.reason})"
            case PassOutcome.REFUSED:
                return f"not used and not pulled ({self.reason})"
            case PassOutcome.STOPPED:
                return "stopped before it was done: the pod was deleted, or the node ended"
            case PassOutcome.FAILED:
                return f"failed ({self.reason})" if self.reason else "failed"

    @property
    def _source(self) -> str:
        """Where a pulled image came from."""
        if self.downloaded_bytes:
            return f"downloaded {human_size(self.downloaded_bytes)}"
        unpacked = int(self.details.get("unpacked_bytes", "0"))
        is_own = self.details.get("source") == "content store"
        asked = "taken from this node's own registry without network" if is_own else "the registry was asked"
        if unpacked:
            return f"{asked}, {human_size(unpacked)} unpacked"
        return f"{asked}, nothing had to be {'unpacked' if is_own else 'downloaded'}"

    def to_json(self) -> dict[str, Any]:
        """The record with its summary, as plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {**plain, "summary": self.summary}

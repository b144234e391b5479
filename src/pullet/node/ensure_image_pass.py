"""What one pass of ensure_image asked for, learned and did."""

from __future__ import annotations

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State, Value
from pullet.cri.errors import CriError
from pullet.cri.types import PodSandboxConfig
from pullet.kube.pod import PodView
from pullet.node.image_puller import PullOutcome
from pullet.policy.image_pull import PullDecision, PullFacts


class ImageRequest(Value, kw_only=True):
    """One image that a pod needs. `reference` is the events' object: the container, or the pod for image volumes."""

    pod: PodView
    image: str
    policy: str
    reference: JsonObject
    container: str = ""
    sandbox: PodSandboxConfig | None = None


class EnsureImagePass(State):
    """One pass, filled on the way. No secret is ever shown of it."""

    pod: PodView
    container: str  # empty for an image volume
    image: str
    facts: PullFacts | None = None
    decision: PullDecision | None = None
    outcome: PullOutcome | None = None
    image_ref: str = ""
    reason: str = ""  # empty: the image can be used, if the pass was not stopped
    message: str = ""
    total_seconds: float = 0.0
    is_stopped: bool = False  # before it came to an end: the pod was deleted, or the node ended
    errors: list[CriError] = msgspec.field(default_factory=list)
    cause: str = ""  # of the failure (while waiting: of the last one), in plain words
    next_step: str = ""

"""Whether a container's image is pulled, taken from the machine, waited for or refused, and why.

`decide_pull` is the decision table of the kubelet's image manager (kubelet-images spec 4.4) over facts that were
gathered before; the decision carries the reasons that led to it, as sentences that `pullet why` prints.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias, assert_never

from pullet.base.values import Value
from pullet.kube.reasons import ERR_IMAGE_NEVER_PULL
from pullet.oci.reference import ReferenceInvalidError, parse_image_name

LATEST = "latest"


class PullPolicy(StrEnum):
    """When a container's image is pulled."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


def default_pull_policy(image: str) -> PullPolicy:
    """The policy of a container that names none: Always for the tag `latest` (given or implied), else IfNotPresent.

    An image that does not parse gets IfNotPresent; a digest does not outweigh an explicit `latest`.
    Source: kubernetes pkg/apis/core/v1/defaults.go; kubelet-images spec 2.1.
    """
    try:
        _, tag, _ = parse_image_name(image)
    except ReferenceInvalidError:
        return PullPolicy.IF_NOT_PRESENT
    return PullPolicy.ALWAYS if tag == LATEST else PullPolicy.IF_NOT_PRESENT


def effective_pull_policy(policy: str, image: str) -> PullPolicy:
    """The policy as written, or its default when empty. An unknown word pulls, like Always (spec 4.3 step 3)."""
    if not policy:
        return default_pull_policy(image)
    try:
        return PullPolicy(policy)
    except ValueError:
        return PullPolicy.ALWAYS


class PullFacts(Value, kw_only=True):
    """What is known when the decision is taken.

    `image_ref` is what the runtime answered; it is not asked when the policy is Always (None then says nothing).
    `must_verify`: the image is there, and this pod has not yet proved that it may use it; `access_reason` says why
    or why not, as a sentence. `backoff_remaining_seconds` 0.0 means a pull may be tried now; `last_failure` is the
    remembered text of the failed pull that the window stands for.
    """

    image: str
    policy: PullPolicy
    image_ref: str | None = None
    must_verify: bool = False
    access_reason: str = ""
    backoff_remaining_seconds: float = 0.0
    last_failure: str = ""


class UseLocal(Value):
    """Use the image that is on the machine; no registry is asked."""

    image_ref: str
    trace: tuple[str, ...]


class Pull(Value):
    """Ask the registry now."""

    trace: tuple[str, ...]


class Wait(Value):
    """A pull is needed, and the last one failed too recently: ImagePullBackOff."""

    remaining_seconds: float
    trace: tuple[str, ...]


class Refuse(Value):
    """The image cannot be used and must not be pulled; `reason` is the container's waiting reason."""

    reason: str
    trace: tuple[str, ...]


PullDecision: TypeAlias = UseLocal | Pull | Wait | Refuse


def decide_pull(facts: PullFacts) -> PullDecision:
    """What to do about the image of one container now. Presence is judged before the back-off, as in the kubelet.

    Source: kubernetes pkg/kubelet/images/image_manager.go EnsureImageExists; kubelet-images spec 4.3, 4.4.
    """
    trace = [f"imagePullPolicy is {facts.policy}"]
    match facts.policy:
        case PullPolicy.ALWAYS:
            trace.append("the registry is asked each time, whatever is on this machine")
            return _pull_or_wait(facts, trace)
        case PullPolicy.IF_NOT_PRESENT | PullPolicy.NEVER:
            usable = _usable_ref(facts, trace)
            if usable is not None:
                trace.append("used from this machine: no registry is asked")
                return UseLocal(usable, tuple(trace))
            if facts.policy is PullPolicy.NEVER:
                trace.append("policy Never forbids pulling it")
                return Refuse(ERR_IMAGE_NEVER_PULL, tuple(trace))
            return _pull_or_wait(facts, trace)
        case _:
            assert_never(facts.policy)


def _usable_ref(facts: PullFacts, trace: list[str]) -> str | None:
    if not facts.image_ref:
        trace.append(f"{facts.image} is not on this machine")
        return None
    trace.append(f"{facts.image} is on this machine as {facts.image_ref}")
    if facts.access_reason:
        trace.append(facts.access_reason)
    if facts.must_verify:
        trace.append("this pod has not proved that it may use the copy on this machine")
        return None
    return facts.image_ref


def _pull_or_wait(facts: PullFacts, trace: list[str]) -> Pull | Wait:
    if facts.backoff_remaining_seconds > 0:
        trace.append(f"the last pull failed: {facts.last_failure}" if facts.last_failure else "the last pull failed")
        trace.append(f"the next one is allowed in {facts.backoff_remaining_seconds:.0f} s")
        return Wait(facts.backoff_remaining_seconds, tuple(trace))
    if facts.last_failure:
        trace.append(f"the last pull failed: {facts.last_failure}")
        trace.append("its back-off is over")
    trace.append("pulled now")
    return Pull(tuple(trace))

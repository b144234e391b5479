"""When probe results flip what is said about a container. Source: kubernetes pkg/kubelet/prober/worker.go.

    result ──► run of equal results ──► threshold reached? ──► Ready / Unready / restart

A liveness or startup failure that reached its threshold asks for a restart and holds the worker until the container
has a new id, so that a dying container is not probed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from pullet.base.values import Value
from pullet.kube.container import ProbeView


class ProbeType(StrEnum):
    """What a probe decides about."""

    LIVENESS = "Liveness"
    READINESS = "Readiness"
    STARTUP = "Startup"


class ProbeResult(StrEnum):
    """The standing verdict about a container."""

    SUCCESS = "Success"
    FAILURE = "Failure"
    UNKNOWN = "Unknown"


class ProbeVerdicts(Value, kw_only=True):
    """Standing verdicts by container id; absent means not probed yet."""

    liveness: Mapping[str, ProbeResult] = msgspec.field(default_factory=dict)
    readiness: Mapping[str, ProbeResult] = msgspec.field(default_factory=dict)
    startup: Mapping[str, ProbeResult] = msgspec.field(default_factory=dict)


INITIAL_RESULT = {
    ProbeType.LIVENESS: ProbeResult.SUCCESS,
    ProbeType.READINESS: ProbeResult.FAILURE,
    ProbeType.STARTUP: ProbeResult.UNKNOWN,
}


class ProbeState(Value):
    """The verdict in force and the run of equal results that leads to the next one."""

    type: ProbeType
    verdict: ProbeResult
    last_result: ProbeResult | None = None
    run_length: int = 0
    is_on_hold: bool = False

    @classmethod
    def initial(cls, probe_type: ProbeType) -> ProbeState:
        """Before the first probe: alive, not ready, start unknown."""
        return cls(type=probe_type, verdict=INITIAL_RESULT[probe_type])

    def observe(self, result: ProbeResult, probe: ProbeView) -> ProbeState:
        """The state after one probe. UNKNOWN (the probe itself went wrong) changes nothing."""
        if self.is_on_hold or result is ProbeResult.UNKNOWN:
            return self
        run_length = self.run_length + 1 if result is self.last_result else 1
        counted = msgspec.structs.replace(self, last_result=result, run_length=run_length)
        threshold = probe.failure_threshold if result is ProbeResult.FAILURE else probe.success_threshold
        if run_length < threshold:
            return counted
        restarts = result is ProbeResult.FAILURE and self.type is not ProbeType.READINESS
        return msgspec.structs.replace(
            counted, verdict=result, is_on_hold=restarts, run_length=0 if restarts else run_length
        )

    @property
    def must_restart(self) -> bool:
        """Whether the container has to be killed for it."""
        return self.type is not ProbeType.READINESS and self.verdict is ProbeResult.FAILURE


def should_probe(
    probe_type: ProbeType, probe: ProbeView, *, seconds_since_start: float, is_started: bool | None
) -> bool:
    """Whether a probe runs now: after its initial delay; startup until started, the others only from then on."""
    if seconds_since_start < probe.initial_delay_seconds:
        return False
    if is_started:
        return probe_type is not ProbeType.STARTUP
    return probe_type is ProbeType.STARTUP

"""pods/eviction: a delete that first asks the pod's PodDisruptionBudget.

Source: kubernetes pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pullet.apiserver.admission_chain import AdmissionChain
from pullet.apiserver.admission_request import AdmissionRequest, Operation
from pullet.apiserver.authorization import node_of
from pullet.apiserver.reading import Reader
from pullet.apiserver.request_context import RequestContext
from pullet.apiserver.storage import Storage
from pullet.apiserver.writing import Writer
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import scheme
from pullet.kube.meta import name_of
from pullet.kube.status import ApiError, BadRequestError, ForbiddenError, InternalApiError, TooManyRequestsError
from pullet.policy.deletion import DeleteOptions
from pullet.policy.disruption import (
    SEVERAL_TEXT,
    TOO_MANY_TEXT,
    Verdict,
    budgets_of,
    decide_eviction,
    needs_no_budget,
    take_one,
)

_NOT_YET_SEEN_SECONDS = 10


class Evictions:
    """Evicts pods."""

    def __init__(
        self, *, storage: Storage, reader: Reader, writer: Writer, admission: AdmissionChain, clock: Clock
    ) -> None:
        self._storage = storage
        self._reader = reader
        self._writer = writer
        self._admission = admission
        self._clock = clock

    async def evict(self, context: RequestContext, namespace: str, name: str, eviction: JsonObject) -> None:
        """Delete the pod as `eviction` (policy/v1) asks, if its budget lets it go.

        Raises:
            NotFoundError: no such pod. TooManyRequestsError: the budget is used up. ApiError: admission refused.
        """
        named = name_of(eviction)
        if named and named != name:
            raise BadRequestError("name in URL does not match name in Eviction object")
        body = eviction.get("deleteOptions") or {}
        if body.get("dryRun"):
            context.dry_run = True
        pod = self._reader.get(scheme.PODS, namespace, name).obj
        eviction["metadata"] = {**(eviction.get("metadata") or {}), "name": name, "namespace": namespace}
        await self._admission.connect(
            AdmissionRequest(Operation.CREATE, scheme.PODS, eviction, None, context, "eviction")
        )
        node = node_of(context.user)
        if node and (pod.get("spec") or {}).get("nodeName") != node:
            why = f"node {node} can only evict pods with spec.nodeName set to itself"
            raise ForbiddenError.on(scheme.PODS, name, why)
        if not needs_no_budget(pod):
            await self._ask_budget(context, namespace, pod)
        options = DeleteOptions.from_body(body)
        await self._writer.delete(scheme.PODS, context, namespace, name, options, is_admitted=True)

    async def _ask_budget(self, context: RequestContext, namespace: str, pod: JsonObject) -> None:
        key = scheme.PODDISRUPTIONBUDGETS.storage_key
        found = budgets_of(pod, [record.obj for record in self._storage.list(key, namespace)])
        if not found:
            return
        if len(found) > 1:
            raise InternalApiError(SEVERAL_TEXT)
        if decide_eviction(pod, found[0]) is Verdict.FREE:
            return

        def change(budget: JsonObject) -> JsonObject:
            verdict = decide_eviction(pod, budget)
            if verdict is Verdict.TAKE:
                return take_one(budget, name_of(pod), self._clock.now())
            if verdict is Verdict.FREE:
                return budget
            raise _refusal(verdict, budget)

        await self._writer.update(
            scheme.PODDISRUPTIONBUDGETS, context, namespace, name_of(found[0]), change, subresource="status"
        )


def _refusal(verdict: Verdict, budget: Mapping[str, Any]) -> ApiError:
    name, status = name_of(budget), budget.get("status") or {}
    match verdict:
        case Verdict.NEGATIVE:
            return ForbiddenError.on(scheme.PODDISRUPTIONBUDGETS, name, "pdb disruptions allowed is negative")
        case Verdict.TOO_MANY_UNDER_WAY:
            text = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
            return ForbiddenError.on(scheme.PODDISRUPTIONBUDGETS, name, text)
        case Verdict.NOT_YET_SEEN:
            why = f"The disruption budget {name} is still being processed by the server."
            facts: JsonObject = {"retryAfterSeconds": _NOT_YET_SEEN_SECONDS}
        case _:
            why = (
                f"The disruption budget {name} needs {status.get('desiredHealthy') or 0} healthy pods and has "
                f"{status.get('currentHealthy') or 0} currently"
            )
            facts = {}
    facts["causes"] = [{"reason": "DisruptionBudget", "message": why}]
    return TooManyRequestsError(TOO_MANY_TEXT, details=facts)

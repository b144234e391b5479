"""Jobs: run pods until enough of them succeeded, too many failed, or time is up.

Source: kubernetes pkg/controller/job/job_controller.go, pkg/controller/ttlafterfinished.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import timedelta

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.controllers.conditions import find_condition, set_condition
from pullet.controllers.informers import BY_CONTROLLER, Informers
from pullet.controllers.job_counts import TRACKING_FINALIZER, JobCounts, count_pods
from pullet.controllers.job_indexes import (
    COMPLETION_INDEX,
    INDEX_FAILURES,
    INDEX_IGNORED_FAILURES,
    failures_before,
    format_indexes,
    has_limit_per_index,
    is_indexed,
)
from pullet.controllers.job_plan import Verdict, decide_end, is_finished, plan_pods, seconds_to_deadline
from pullet.controllers.job_policies import match_failure
from pullet.controllers.pod_control import PodControl
from pullet.controllers.pods import pod_from_template
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import (
    controller_of,
    format_time,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    object_reference,
    parse_time,
    resource_version_of,
    uid_of,
)
from pullet.kube.scheme import JOBS, PODS
from pullet.kube.status import ConflictError, NotFoundError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Change, Key
from pullet.policy.object_defaulting import JOB_NAME, JOB_UID

_OURSELVES = "kubernetes.io/job-controller"


class JobController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._jobs = informers.of(JOBS)
        self._pods = informers.of(PODS)
        self._control = PodControl(client=client, pods=self._pods, recorder=recorder)
        self._reconciler = Reconciler(
            name="job",
            clock=clock,
            reconcile=self.reconcile,
            sources=(Source(self._jobs, same_key), Source(self._pods, _job_of_pod)),
            workers=2,
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one Job."""
        job = self._jobs.get(*key)
        await self._release(self._left_behind(key, job))
        if job is None or job["spec"].get("managedBy", _OURSELVES) != _OURSELVES:
            return None
        pods = self._pods.by_index(BY_CONTROLLER, uid_of(job))
        if is_deleting(job):
            await self._release([pod for pod in pods if TRACKING_FINALIZER in (metadata(pod).get("finalizers") or ())])
            return None
        counts = count_pods(job, pods)
        if is_finished(job):
            await self._release([*counts.to_release, *counts.to_replace.values()])
            return await self._expire(job)
        status, verdict = self._next_status(job, counts)
        before = job
        if status != (job.get("status") or {}):
            job = await self._client.update(JOBS, key[0], job | {"status": status}, subresource="status")
            self._jobs.observe(job)
            self._report(job, before, verdict)
        over = verdict is not None
        await self._release([*counts.to_release, *(counts.to_replace.values() if over else ())])
        if over:
            await self._control.delete_many(job, counts.active)
            return None
        if job["spec"].get("suspend"):
            await self._withdraw(job, counts.active)
            return None
        return await self._run_pods(job, counts)

    async def _run_pods(self, job: JsonObject, counts: JobCounts) -> float | None:
        now = self._clock.now()
        plan = plan_pods(job, counts, now)
        await self._withdraw(job, plan.delete)
        made = [
            _make_pod(job, index, counts.to_replace.get(index) if index is not None else None) for index in plan.create
        ]
        await self._control.create_many(job, made)
        waits = [seconds_to_deadline(job, now), plan.again_in_seconds]
        return min((wait for wait in waits if wait is not None), default=None)

    def _next_status(self, job: JsonObject, counts: JobCounts) -> tuple[JsonObject, Verdict | None]:
        now = self._clock.now()
        before: JsonObject = job.get("status") or {}
        conditions = list(before.get("conditions") or ())
        is_suspended = bool(job["spec"].get("suspend"))
        started_at = before.get("startTime")
        if is_suspended:
            conditions = set_condition(conditions, "Suspended", "True", "JobSuspended", "Job suspended", now)
            started_at = None
        else:
            suspended = find_condition(conditions, "Suspended")
            if suspended is not None and suspended.get("status") == "True":
                conditions = set_condition(conditions, "Suspended", "False", "JobResumed", "Job resumed", now)
            started_at = started_at or format_time(now)
        timed = job | {"status": before | {"startTime": started_at}}
        verdict = decide_end(timed, counts, now)
        is_settled = verdict is not None and not counts.active and not counts.terminating
        status: JsonObject = {
            "startTime": started_at,
            "active": 0 if verdict is not None and is_settled else len(counts.active),
            "ready": counts.ready,
            "terminating": counts.terminating,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "completedIndexes": format_indexes(counts.completed_indexes) if is_indexed(job) else "",
        }
        if has_limit_per_index(job):
            status["failedIndexes"] = format_indexes(counts.failed_indexes)
        uncounted = {"succeeded": counts.uncounted_succeeded, "failed": counts.uncounted_failed}
        status["uncountedTerminatedPods"] = {name: uids for name, uids in uncounted.items() if uids}
        if verdict is not None:
            target = "SuccessCriteriaMet" if verdict.type == "Complete" else "FailureTarget"
            conditions = set_condition(conditions, target, "True", verdict.reason, verdict.message, now)
            if is_settled:
                # the last pods' uids need no bookkeeping once nothing more can happen
                status |= {"succeeded": counts.all_succeeded, "failed": counts.all_failed}
                status["uncountedTerminatedPods"] = {}
                conditions = set_condition(conditions, verdict.type, "True", verdict.reason, verdict.message, now)
                if verdict.type == "Complete":
                    status["completionTime"] = format_time(now)
        kept = {"ready", "terminating", "uncountedTerminatedPods", "failedIndexes"}
        status = {name: value for name, value in status.items() if value or name in kept}
        return status | ({"conditions": conditions} if conditions else {}), verdict

    def _report(self, job: JsonObject, before: JsonObject, verdict: Verdict | None) -> None:
        was, now = (_suspension(item) for item in (before, job))
        if was != now and "True" in (was, now):
            reason, message = ("Suspended", "Job suspended") if now == "True" else ("Resumed", "Job resumed")
            self._recorder.event(object_reference(job), "Normal", reason, message)
        if verdict is None or not is_finished(job):
            return
        if verdict.type == "Complete":
            self._recorder.event(object_reference(job), "Normal", "Completed", "Job completed")
        else:
            self._recorder.event(object_reference(job), "Warning", verdict.reason, verdict.message)

    async def _withdraw(self, job: JsonObject, pods: Sequence[JsonObject]) -> None:
        """Delete pods that are too many; without their finalizer they do not count as failed."""
        await self._release(pods)
        await self._control.delete_many(job, pods)

    def _left_behind(self, key: Key, job: JsonObject | None) -> list[JsonObject]:
        """Pods of a Job of this name that is gone or goes without them: they are nobody's to count."""
        uid = uid_of(job) if job is not None else ""
        return [
            pod
            for pod in self._pods.list(key[0])
            if TRACKING_FINALIZER in (metadata(pod).get("finalizers") or ())
            and (its := _job_behind(pod)) is not None
            and its.name == key[1]
            and (its.uid != uid or (its.is_orphan and job is not None and is_deleting(job)))
        ]

    async def _release(self, pods: Sequence[JsonObject]) -> None:
        for pod in pods:
            left = [name for name in metadata(pod).get("finalizers") or () if name != TRACKING_FINALIZER]
            meta: JsonObject = {"finalizers": left or None, "uid": uid_of(pod)}
            meta["resourceVersion"] = resource_version_of(pod)
            with suppress(NotFoundError):
                self._pods.observe(await self._client.patch(PODS, namespace_of(pod), name_of(pod), {"metadata": meta}))

    async def _expire(self, job: JsonObject) -> float | None:
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        conditions = (job.get("status") or {}).get("conditions") or ()
        ended = find_condition(conditions, "Complete") or find_condition(conditions, "Failed") or {}
        ended_at = parse_time(ended.get("lastTransitionTime"))
        if ttl is None or ended_at is None:
            return None
        left = (ended_at + timedelta(seconds=int(ttl)) - self._clock.now()).total_seconds()
        if left > 0:
            return left
        with suppress(NotFoundError, ConflictError):
            await self._client.delete(
                JOBS, namespace_of(job), name_of(job), uid=uid_of(job), propagation_policy="Foreground"
            )
        return None


def _suspension(job: JsonObject) -> str:
    condition = find_condition((job.get("status") or {}).get("conditions") or (), "Suspended")
    return str(condition.get("status")) if condition is not None else ""


def _job_of_pod(change: Change) -> Iterable[Key]:
    behind = _job_behind(change.object)
    return () if behind is None else ((namespace_of(change.object), behind.name),)


class _Behind(Value):
    """The Job that a pod comes from, also when it left the pod behind."""

    name: str
    uid: str
    is_orphan: bool


def _job_behind(pod: JsonObject) -> _Behind | None:
    controller, labels = controller_of(pod), metadata(pod).get("labels") or {}
    if controller is not None:
        return _Behind(controller["name"], controller["uid"], False) if controller.get("kind") == "Job" else None
    if TRACKING_FINALIZER in (metadata(pod).get("finalizers") or ()) and JOB_NAME in labels:
        return _Behind(labels[JOB_NAME], labels.get(JOB_UID) or "", True)
    return None


def _make_pod(job: JsonObject, index: int | None, before: JsonObject | None) -> JsonObject:
    """`before` is the failed pod of the same index whose count of failures this one carries on."""
    template = copy.deepcopy(job["spec"].get("template") or {})
    name = name_of(job)
    prefix = f"{name}-" if index is None else f"{name}-{index}-"
    pod = pod_from_template(job, template, generate_name=prefix)
    meta, spec = pod["metadata"], pod["spec"]
    meta["finalizers"] = [*meta.get("finalizers", ()), TRACKING_FINALIZER]
    if index is not None:
        meta["annotations"] = dict(meta.get("annotations") or {}) | {COMPLETION_INDEX: str(index)}
        meta["labels"] = dict(meta.get("labels") or {}) | {COMPLETION_INDEX: str(index)}
        if has_limit_per_index(job):
            meta["annotations"] |= _failures_of_index(job, before)
        spec.setdefault("hostname", f"{name}-{index}")
        for container in (*spec.get("containers", ()), *(spec.get("initContainers") or ())):
            env = container.setdefault("env", [])
            if not any(item.get("name") == "JOB_COMPLETION_INDEX" for item in env):
                path = {"fieldPath": f"metadata.annotations['{COMPLETION_INDEX}']"}
                env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": path}})
    return pod


def _failures_of_index(job: JsonObject, before: JsonObject | None) -> dict[str, str]:
    if before is None:
        return {INDEX_FAILURES: "0"}
    counted, ignored = failures_before(before)
    if match_failure(job, before).action == "Ignore":
        ignored += 1
    else:
        counted += 1
    return {INDEX_FAILURES: str(counted)} | ({INDEX_IGNORED_FAILURES: str(ignored)} if ignored else {})

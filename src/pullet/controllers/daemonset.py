"""DaemonSets: one pod on every node that will have it, replaced node by node when the template changes.

What to do is daemon_plan's. Source: kubernetes pkg/controller/daemon/{daemon_controller,update}.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.daemon_plan import (
    DaemonFacts,
    age,
    daemon_pod,
    node_eligibility,
    plan_daemons,
    plan_update,
    target_node,
)
from pullet.controllers.history import RevisionHistory, hash_of_pod, hashes_in_use
from pullet.controllers.informers import BY_CONTROLLER, Informers
from pullet.controllers.pod_control import PodControl, carry_out_claims
from pullet.controllers.pods import decide_claims, is_ready, phase_of
from pullet.controllers.reconciler import Reconciler, Source, same_key
from pullet.kit.clock import Clock
from pullet.kube.meta import controller_of, is_deleting, metadata, name_of, namespace_of, object_reference, uid_of
from pullet.kube.scheme import CONTROLLERREVISIONS, DAEMONSETS, NODES, PODS
from pullet.kube.selector import label_selector_from
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.kubeclient.object_cache import Change, Key
from pullet.policy.backoff import ExponentialBackoff
from pullet.policy.scheduling_facts import node_facts

_BACK_OFF_SECONDS, _BACK_OFF_LIMIT_SECONDS = 1.0, 900.0


class DaemonSetController:
    """Runs until cancelled."""

    def __init__(self, *, client: ApiClient, informers: Informers, recorder: EventRecorder, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._recorder = recorder
        self._daemonsets = informers.of(DAEMONSETS)
        self._pods = informers.of(PODS)
        self._nodes = informers.of(NODES)
        revisions = informers.of(CONTROLLERREVISIONS)
        self._history = RevisionHistory(client=client, revisions=revisions)
        self._control = PodControl(client=client, pods=self._pods, recorder=recorder)
        self._backoff = ExponentialBackoff(initial_seconds=_BACK_OFF_SECONDS, max_seconds=_BACK_OFF_LIMIT_SECONDS)
        self._reconciler = Reconciler(
            name="daemonset",
            clock=clock,
            reconcile=self.reconcile,
            sources=(
                Source(self._daemonsets, same_key),
                Source(self._pods, _daemonset_of_pod),
                Source(self._nodes, self._keys_of_node),
            ),
            needs=(revisions,),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    def _keys_of_node(self, change: Change) -> Iterable[Key]:
        if change.old is not None and _node_offer(change.old) == _node_offer(change.object):
            return ()
        return [(namespace_of(item), name_of(item)) for item in self._daemonsets.list()]

    async def reconcile(self, key: Key) -> float | None:
        """One pass over one DaemonSet."""
        daemonset = self._daemonsets.get(*key)
        if daemonset is None or is_deleting(daemonset):
            return None
        selector = label_selector_from(daemonset["spec"].get("selector"))
        claims = decide_claims(daemonset, selector, self._pods.list(key[0]))
        await carry_out_claims(self._client, self._pods, daemonset, claims)
        history = await self._history.ensure(daemonset)
        revision_hash = history.current_hash
        facts = self._facts(daemonset, revision_hash)
        patient, patience = self._still_in_back_off(facts)
        plan = plan_daemons(msgspec.structs.replace(facts, patient=patient))
        self._report_ended(daemonset, plan.ended)
        if not plan.create_on and not plan.delete:
            plan = plan_update(facts)
        await self._control.delete_many(daemonset, plan.delete)
        made = [daemon_pod(daemonset, name, revision_hash) for name in plan.create_on]
        await self._control.create_many(daemonset, made)
        facts = self._facts(daemonset, revision_hash)
        everything = [pod for pods in facts.pods.values() for pod in pods]
        await self._history.truncate(daemonset, history, hashes_in_use(everything))
        waits = (patience, await self._write_status(facts))
        return min((wait for wait in waits if wait is not None), default=None)

    def _facts(self, daemonset: JsonObject, revision_hash: str) -> DaemonFacts:
        found: dict[str, list[JsonObject]] = {}
        for pod in self._pods.by_index(BY_CONTROLLER, uid_of(daemonset)):
            if not (is_deleting(pod) and phase_of(pod) in ("Failed", "Succeeded")):
                found.setdefault(target_node(pod), []).append(pod)
        return DaemonFacts(
            daemonset=daemonset,
            nodes={name_of(node): node_eligibility(daemonset, node_facts(node, ())) for node in self._nodes.list()},
            pods=found,
            revision_hash=revision_hash,
            now=self._clock.now(),
        )

    def _still_in_back_off(self, facts: DaemonFacts) -> tuple[set[str], float | None]:
        """Nodes whose failed pod stays for now, so that a pod the node refuses is not made over and over."""
        now, waits = self._clock.monotonic(), dict[str, float]()
        for name, pods in facts.pods.items():
            if any(phase_of(pod) == "Failed" and not is_deleting(pod) for pod in pods):
                key = f"{uid_of(facts.daemonset)}/{metadata(facts.daemonset).get('generation')}/{name}"
                waits[name] = self._backoff.remaining_since_update(key, now)
                if not waits[name]:
                    self._backoff.advance(key, now, now)
        patient = {name: wait for name, wait in waits.items() if wait}
        return set(patient), min(patient.values(), default=None)

    def _report_ended(self, daemonset: JsonObject, pods: Sequence[JsonObject]) -> None:
        for pod in pods:
            where = f"daemon pod {namespace_of(pod)}/{name_of(pod)} on node {target_node(pod)}"
            if phase_of(pod) == "Failed":
                event = ("Warning", "FailedDaemonPod", f"Found failed {where}, will try to kill it")
            else:
                event = ("Normal", "SucceededDaemonPod", f"Found succeeded {where}, will try to delete it")
            self._recorder.event(object_reference(daemonset), *event)

    async def _write_status(self, facts: DaemonFacts) -> float | None:
        daemonset = facts.daemonset
        desired = [name for name, (should_run, _) in facts.nodes.items() if should_run]
        chosen = [sorted(facts.pods[name], key=age)[0] for name in desired if facts.pods.get(name)]
        available = sum(1 for pod in chosen if facts.is_available(pod))
        status: JsonObject = {
            "currentNumberScheduled": len(chosen),
            "numberMisscheduled": sum(
                1 for name, pods in facts.pods.items() if name in facts.nodes and name not in desired and pods
            ),
            "desiredNumberScheduled": len(desired),
            "numberReady": sum(1 for pod in chosen if is_ready(pod)),
        }
        optional = {
            "observedGeneration": int(metadata(daemonset).get("generation") or 0),
            "updatedNumberScheduled": sum(1 for pod in chosen if hash_of_pod(pod) == facts.revision_hash),
            "numberAvailable": available,
            "numberUnavailable": len(desired) - available,
        }
        status |= {name: count for name, count in optional.items() if count}
        if status != (daemonset.get("status") or {}):
            written = await self._client.update(
                DAEMONSETS, namespace_of(daemonset), daemonset | {"status": status}, subresource="status"
            )
            self._daemonsets.observe(written)
        min_ready = int(daemonset["spec"].get("minReadySeconds") or 0)
        everything = [pod for pods in facts.pods.values() for pod in pods]
        waiting = any(is_ready(pod) and not facts.is_available(pod) for pod in everything)
        return float(min_ready) if waiting else None


def _daemonset_of_pod(change: Change) -> Iterable[Key]:
    controller = controller_of(change.object)
    if controller is None or controller.get("kind") != "DaemonSet":
        return ()
    return ((namespace_of(change.object), controller["name"]),)


def _node_offer(node: JsonObject) -> tuple[object, ...]:
    spec = node.get("spec") or {}
    return spec.get("taints"), spec.get("unschedulable"), metadata(node).get("labels")

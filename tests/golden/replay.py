"""Carries out the steps of one scenario on a stage and gathers what was observed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import yaml
from tests.golden.images import ImageSpec
from tests.golden.normalise import described, digests_in, normalise
from tests.golden.observation import Observation, RequestSeen, containers_of
from tests.golden.request_log import LoggedRequest
from tests.golden.stage import Stage

DATA = Path(__file__).parent / "data"
WAIT_SECONDS = 40.0


class Replay:
    """One scenario under way, in a namespace called as in the recording."""

    def __init__(self, stage: Stage, scenario: str, images: tuple[str, ...]) -> None:
        self._stage = stage
        self._images = images
        self.namespace = f"s{scenario}"
        self.documents = (DATA / scenario / "manifest.yaml").read_text().split("\n---\n")
        self._recorded = Observation.from_json(json.loads((DATA / scenario / "expected.json").read_text()))
        self._outputs: list[str] = []
        self._applied: set[str] = set()
        self._started = time.monotonic()

    # steps

    def begin(self, given: tuple[str, ...]) -> None:
        """Make the namespace, bring what must be on the node before, and start looking."""
        self._stage.pullet.kubectl("create", "namespace", self.namespace).ok()
        for image in given:
            self.preload(image)
        self._started = time.monotonic()

    def apply(self, number: int) -> None:
        """`kubectl apply` of the manifest's document `number`; a refusal is part of what is compared."""
        text = digests_in(self.documents[number], self._names())
        ran = self._stage.pullet.kubectl("apply", "-f", "-", stdin=text, namespace=self.namespace)
        if ran.code != 0:
            self._outputs.append(ran.stderr.strip())
        elif ran.stdout.startswith("pod/"):
            self._applied.add(ran.stdout.split()[0].removeprefix("pod/"))

    def follow(self, first: int, last: int) -> None:
        """Apply documents one after the other; for a pod, wait until its third STATUS row is as recorded."""
        for number in range(first, last):
            self.apply(number)
            document = yaml.safe_load(self.documents[number])
            rows = self._recorded.statuses.get(document["metadata"]["name"], [])
            if document["kind"] == "Pod" and len(rows) > 2:
                self.wait_rows(document["metadata"]["name"], [rows[2]])

    def kubectl(self, *arguments: str) -> None:
        """Any other kubectl command, which must succeed."""
        self._stage.pullet.kubectl(*arguments, namespace=self.namespace).ok()

    def logs(self, pod: str) -> None:
        """`kubectl logs`, whose output is compared."""
        self._outputs.append(self._stage.pullet.kubectl("logs", pod, namespace=self.namespace).ok().strip())

    def preload(self, image: str) -> None:
        """Pull straight into the node's store, past the kubelet."""
        self._stage.pullet.pullet("images", "pull", digests_in(image, self._names())).ok()

    def push(self, spec: ImageSpec) -> None:
        """Push to the open registry; an existing tag moves."""
        self._stage.registries.push(spec)

    # waits

    def wait_running(self) -> None:
        """Until every pod applied so far is Running and each container ready or done."""
        self._wait(
            lambda: all(_has_settled(self._pods().get(name, {})) for name in self._applied),
            f"all pods Running: {self._shown()}",
        )

    def wait_status(self, pod: str, status: str) -> None:
        """Until `get pods` shows `status` for the pod."""
        self._wait(lambda: self._rows(pod)[-1:] == [status], f"{pod} shows {status}")

    def wait_rows(self, pod: str, rows: list[str], *, seconds: float = WAIT_SECONDS) -> None:
        """Until `get pods -w` has shown `rows` for the pod, in this order."""
        self._wait(
            lambda: [row for row in self._rows(pod) if row in rows][: len(rows)] == rows,
            f"{pod} showed {rows}",
            seconds,
        )

    def wait_count(self, pod: str, reason: str, count: int) -> None:
        """Until an event of the pod with this reason was counted `count` times."""
        events = self._stage.watched.events.setdefault(self.namespace, {})
        self._wait(
            lambda: any(event.reason == reason and event.count >= count for event in events.get(pod, [])),
            f"{pod} has {reason} x{count}",
            70,
        )

    def wait_restarts(self, pod: str, count: int) -> None:
        """Until the pod's container runs for the time after its `count`th restart."""

        def is_so() -> bool:
            statuses = self._pods().get(pod, {}).get("status", {}).get("containerStatuses", [])
            return any(one["restartCount"] >= count and "running" in one["state"] for one in statuses)

        self._wait(is_so, f"{pod} was restarted {count} times", 75)

    def wait_gone(self) -> None:
        """Until no pod is left in the namespace."""
        self._wait(lambda: not self._pods(), "no pods left")
        self._applied.clear()

    def _wait(self, is_so: Any, what: str, seconds: float = WAIT_SECONDS) -> None:
        self._stage.watched.wait_for(is_so, seconds=seconds, what=f"{self.namespace}: {what}")

    def _pods(self) -> dict[str, dict[str, Any]]:
        pods = list(self._stage.watched.pods.items())
        return {name: pod for (namespace, name), pod in pods if namespace == self.namespace}

    def _rows(self, pod: str) -> list[str]:
        return self._stage.watched.statuses.get(self.namespace, {}).get(pod, [])

    def _shown(self) -> dict[str, list[str]]:
        return self._stage.watched.statuses.get(self.namespace, {})

    def pod_names(self) -> list[str]:
        """The names of the pods in the manifest."""
        return [yaml.safe_load(document)["metadata"]["name"] for document in self.documents]

    # what was seen

    def observation(self) -> Observation:
        """Everything seen since `begin`, in the words of the recording."""
        self._stage.watched.wait_quiet()
        names = self._names()
        seen = Observation(outputs=list(self._outputs))
        text = self._stage.pullet.kubectl("describe", "pods", "--show-events=false", namespace=self.namespace).ok()
        seen.description = described(text, names)
        with self._stage.watched.changed:
            seen.statuses = {pod: list(rows) for pod, rows in self._shown().items()}
            for pod, events in self._stage.watched.events.get(self.namespace, {}).items():
                for event in events:
                    copy = type(event)(**{**vars(event), "message": normalise(event.message, names)})
                    seen.events.setdefault(pod, []).append(copy)
            for name, pod_object in sorted(self._pods().items()):
                seen.phases[name] = pod_object["status"]["phase"]
                seen.containers[name] = containers_of(pod_object)
        for rows in seen.containers.values():
            for row in rows:
                row.message, row.image = normalise(row.message, names), normalise(row.image, names)
                row.image_id = normalise(row.image_id, names)
        logs = (self._stage.public_log, self._stage.private_log)
        requests = [request for log in logs for request in log.requests(since=self._started)]
        for request in sorted(requests, key=lambda one: one.at):
            reference = names.get(request.reference, request.reference)
            if self._is_ours(request, reference):
                seen.requests.append(
                    RequestSeen(
                        method=request.method,
                        repository=request.repository,
                        kind=request.kind,
                        reference=reference,
                        status=request.status,
                        user=request.user,
                    )
                )
        return seen

    def _is_ours(self, request: LoggedRequest, reference: str) -> bool:
        repository = request.repository.removeprefix("library/")
        image = reference.split()[1].rstrip(">") if reference.startswith("<") else f"{repository}:{reference}"
        return image.partition("#")[0] in self._images or reference in self._images

    def _names(self) -> dict[str, str]:
        return self._stage.registries.pushed.names


def _has_settled(pod: dict[str, Any]) -> bool:
    status = pod.get("status", {})
    statuses = status.get("containerStatuses", [])
    return status.get("phase") == "Running" and bool(statuses) and all(one["ready"] for one in statuses)

"""Carries out the steps of one scenario on a stage and gathers what was observed."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.kubectls import kubectl_at, on_path
from tests.golden.compare import rows_to_see
from tests.golden.differences import expected_of, without_chance
from tests.golden.generated_names import generated_names, renamed
from tests.golden.images import ImageSpec
from tests.golden.normalise import described, digests_in, normalise, printed
from tests.golden.observation import EventSeen, Observation, RequestSeen, containers_of
from tests.golden.request_log import LoggedRequest
from tests.golden.stage import Stage
from tests.golden.story import is_told

DATA = Path(__file__).parent / "data"
WAIT_SECONDS = 60.0
TOLD_SECONDS = 150.0  # three attempts take 50 s at most where nothing else runs


class Replay:
    """One scenario under way, in a namespace called as in the recording."""

    def __init__(self, stage: Stage, scenario: str, images: tuple[str, ...]) -> None:
        self._stage = stage
        self._images = images
        self._scenario = scenario
        self.namespace = f"s{scenario}"
        self.documents = (DATA / scenario / "manifest.yaml").read_text().split("\n---\n")
        recorded = Observation.from_json(json.loads((DATA / scenario / "expected.json").read_text()))
        self._recorded = expected_of(scenario, recorded)
        self._outputs: list[str] = []
        self._applied: set[str] = set()
        self._started = time.monotonic()

    # steps

    def begin(self, given: tuple[str, ...]) -> None:
        """Make the namespace, bring what must be on the node before, and start looking."""
        self._stage.pullet.kubectl("create", "namespace", self.namespace).ok()
        self._wait_service_account()
        for image in given:
            self.preload(image)
        self._started = time.monotonic()

    def _wait_service_account(self) -> None:
        """Until pods can be made: in the recording the namespace was there long before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self._stage.pullet.kubectl("get", "serviceaccount", "default", namespace=self.namespace).code != 0:
            assert time.monotonic() < deadline, f"{self.namespace} has no ServiceAccount"
            time.sleep(0.1)

    def apply(self, number: int) -> None:
        """`kubectl apply` of the manifest's document `number`; a refusal is part of what is compared."""
        text = digests_in(self.documents[number], self._names())
        ran = self._stage.pullet.kubectl("apply", "-f", "-", stdin=text, namespace=self.namespace)
        if ran.code != 0:
            self._outputs.append(printed(ran.stderr, self._names()))
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
        self._stage.pullet.kubectl(*arguments, namespace=self.namespace, timeout_seconds=120).ok()

    def ask(self, *arguments: str) -> None:
        """A kubectl command whose output is compared."""
        text = self._stage.pullet.kubectl(*arguments, namespace=self.namespace).ok()
        self._outputs.append(printed(text, self._names()))

    def refused(self, *arguments: str) -> None:
        """A kubectl command that must fail, and why is compared."""
        ran = self._stage.pullet.kubectl(*arguments, namespace=self.namespace)
        assert ran.code != 0, ran.stdout
        self._outputs.append(printed(ran.stderr, self._names()))

    def logs(self, pod: str) -> None:
        """`kubectl logs`, whose output is compared."""
        self.ask("logs", pod)

    def describes(self, pod: str, pattern: str) -> None:
        """`kubectl describe pod` shows a line like `pattern`, alignment aside."""
        text = self._stage.pullet.kubectl("describe", "pod", pod, namespace=self.namespace).ok()
        assert re.search(pattern, re.sub(r" {2,}", "  ", text)), f"no {pattern!r} in\n{text}"

    def columns(self, **columns: str) -> None:
        """`kubectl get pods` with columns made from JSON paths."""
        words = ",".join(f"{name}:{path}" for name, path in columns.items())
        self.ask("get", "pods", "-o", f"custom-columns={words}")

    def debug(self, pod: str, image: str, policy: str) -> None:
        """`kubectl debug` with the profile that is kubectl's default since 1.36; by hand where it has no profiles."""
        if kubectl_at(on_path()).version >= (1, 27):
            self.kubectl("debug", pod, f"--image={image}", f"--image-pull-policy={policy}", "--profile=general")
            return
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}"
        found = json.loads(self._stage.pullet.kubectl("get", "--raw", path).ok())
        found["spec"]["ephemeralContainers"] = [
            {
                "name": "debugger-older",
                "image": image,
                "imagePullPolicy": policy,
                "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}},
            }
        ]
        replace = ("replace", "--raw", f"{path}/ephemeralcontainers", "-f", "-")
        self._stage.pullet.kubectl(*replace, stdin=json.dumps(found)).ok()

    def rolled_out(self, deployment: str) -> None:
        """`kubectl rollout status`, until it ends."""
        self.kubectl("rollout", "status", f"deploy/{deployment}", "--timeout=100s")

    def preload(self, image: str) -> None:
        """Pull straight into the node's store, past the kubelet."""
        self._stage.pullet.pullet("images", "pull", digests_in(image, self._names())).ok()

    def preload_as(self, image: str, *, user: str, password: str) -> None:
        """As `preload`, with a login that the node has only meanwhile."""
        registry = image.partition("/")[0]
        node = self._stage.pullet
        login = ("login", registry, "--username", user, "--password-stdin", "--config", str(node.config_path))
        node.pullet(*login, stdin=password).ok()
        self.preload(image)
        node.pullet("logout", registry).ok()

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
            lambda: [row for row in self._rows(self._own_names().get(pod, pod)) if row in rows][: len(rows)] == rows,
            f"{pod} showed {rows}",
            seconds,
        )

    def wait_count(self, pod: str, message: str, count: int) -> None:
        """Until an event of the pod whose message ends so was counted `count` times."""
        self._wait(
            lambda: any(
                event.message.endswith(message) and event.count >= count
                for event in self._events().get(self._own_names().get(pod, pod), [])
            ),
            f"{pod} has {message!r} x{count}",
            TOLD_SECONDS,
        )

    def wait_told(self) -> None:
        """Until every event and STATUS row was seen that the recording has and that is compared."""
        left = {*self._recorded.events, *self._recorded.statuses}
        looked_at: dict[str, tuple[int, int]] = {}

        def is_told_of(name: str, own: str) -> bool:
            rows, events = self._rows(own), self._events().get(own, [])
            if looked_at.get(name) == (len(rows), len(events)):
                return False
            looked_at[name] = (len(rows), len(events))
            wanted = rows_to_see(self._recorded.statuses.get(name, []))
            seen = without_chance(self._scenario, Observation(events={name: events}, statuses={name: rows}))
            return len(seen.statuses[name]) >= len(wanted) and is_told(
                self._recorded.events.get(name, []), seen.events[name]
            )

        def is_all_told() -> bool:
            own = self._own_names()
            left.difference_update([name for name in left if is_told_of(name, own.get(name, name))])
            return not left

        try:
            self._wait(is_all_told, "all that is compared was seen", TOLD_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}, but of {', '.join(sorted(left))}") from None

    def wait_restarts(self, pod: str, count: int) -> None:
        """Until the pod's container runs for the time after its `count`th restart."""

        def is_so() -> bool:
            statuses = self._pods().get(pod, {}).get("status", {}).get("containerStatuses", [])
            return any(one["restartCount"] >= count and "running" in one["state"] for one in statuses)

        self._wait(is_so, f"{pod} was restarted {count} times", TOLD_SECONDS)

    def wait_gone(self) -> None:
        """Until no pod is left in the namespace."""
        self._wait(lambda: not self._pods(), "no pods left")
        self._applied.clear()

    def _wait(self, is_so: Any, what: str, seconds: float = WAIT_SECONDS) -> None:
        self._stage.watched.wait_for(is_so, seconds=seconds, what=f"{self.namespace}: {what}")

    def _pods(self) -> dict[str, dict[str, Any]]:
        pods = list(self._stage.watched.pods.items())
        return {name: pod for (namespace, name), pod in pods if namespace == self.namespace}

    def _events(self) -> dict[str, list[EventSeen]]:
        return self._stage.watched.events.get(self.namespace, {})

    def _own_names(self) -> dict[str, str]:
        """By the recording's names of what has a generated one: that name."""
        return {short: own for own, short in generated_names(self._events()).items()}

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
            for name, events in self._events().items():
                seen.events[name] = [
                    EventSeen(
                        **{
                            **vars(event),
                            "message": normalise(event.message, names),
                            "where": normalise(event.where, {}),
                        }
                    )
                    for event in events
                ]
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
        return without_chance(self._scenario, renamed(seen))

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

"""Follows a node through kubectl's own watches: STATUS rows, pods and events, in the order in which they arrive."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.harness import Pullet
from tests.golden.observation import EventSeen, add_status

Key = tuple[str, str]  # namespace, pod


class Watched:
    """What kubectl has shown so far. Waiting is by `wait_for`; reading under `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.statuses: dict[str, dict[str, list[str]]] = {}  # namespace -> pod -> STATUS rows
        self.pods: dict[Key, dict[str, Any]] = {}  # the last version of each that is not deleted
        self.events: dict[str, dict[str, list[EventSeen]]] = {}  # namespace -> object -> every version of each event
        self._number_of_events = 0

    def wait_for(self, is_so: Callable[[], bool], *, seconds: float, what: str) -> None:
        """Wait until `is_so()`; fails with `what` after `seconds`."""
        with self.changed:
            if not self.changed.wait_for(is_so, seconds):
                raise AssertionError(f"not within {seconds:g} s: {what}")

    def wait_quiet(self, *, seconds: float = 3.0) -> None:
        """Wait until no event arrived for half a second, `seconds` at most: events come after what they tell of."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while time.monotonic() < deadline:
                before = self._number_of_events
                self.changed.wait(0.5)
                if self._number_of_events == before:
                    return

    def add_row(self, line: str) -> None:
        """One row of `kubectl get pods -A -w`."""
        words = line.split()
        if len(words) < 5 or words[0] == "NAMESPACE":
            return
        with self.changed:
            add_status(self.statuses.setdefault(words[0], {}), words[1], words[3])
            self.changed.notify_all()

    def add_pod(self, change: dict[str, Any]) -> None:
        """One change of `kubectl get pods -A -w -o json --output-watch-events`."""
        pod = change["object"]
        if pod.get("kind") != "Pod":
            return
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        with self.changed:
            if change["type"] == "DELETED":
                self.pods.pop(key, None)
            else:
                self.pods[key] = pod
            self.changed.notify_all()

    def add_event(self, change: dict[str, Any]) -> None:
        """One change of `kubectl get events -A -w -o json --output-watch-events`."""
        event = change["object"]
        subject = event.get("involvedObject", {})
        if change["type"] == "DELETED" or "namespace" not in subject:
            return
        seen = EventSeen(
            type=event["type"],
            reason=event["reason"],
            where=subject.get("fieldPath", ""),
            message=event["message"],
            count=event.get("count") or 1,
        )
        with self.changed:
            self._number_of_events += 1
            self.events.setdefault(subject["namespace"], {}).setdefault(subject["name"], []).append(seen)
            self.changed.notify_all()


@contextmanager
def watching(pullet: Pullet) -> Iterator[Watched]:
    """Run the three watches until the block ends."""
    watched = Watched()
    json_flags = ("-o", "json", "--output-watch-events")
    watches = [
        _Watch(pullet, ("get", "pods", "-A", "-w"), lambda text: read_lines(text, watched.add_row)),
        _Watch(pullet, ("get", "pods", "-A", "-w", *json_flags), lambda text: read_objects(text, watched.add_pod)),
        _Watch(pullet, ("get", "events", "-A", "-w", *json_flags), lambda text: read_objects(text, watched.add_event)),
    ]
    try:
        yield watched
    finally:
        for watch in watches:
            watch.stop()


class _Watch:
    """One kubectl process and the thread that reads it. `take` gets what is unread and gives back the rest."""

    def __init__(self, pullet: Pullet, arguments: tuple[str, ...], take: Callable[[str], str]) -> None:
        self._process = subprocess.Popen(
            [*pullet.kubectl_command(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=pullet.kubectl_environment(),
        )
        self._take = take
        self._thread = threading.Thread(target=self._read, name=" ".join(arguments), daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        unread = ""
        while chunk := self._process.stdout.read1(1 << 16):  # type: ignore[attr-defined]  # a BufferedReader
            unread = self._take(unread + chunk.decode())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def read_lines(text: str, add: Callable[[str], None]) -> str:
    """Give every whole line of `text` to `add`; the rest comes back."""
    *whole, rest = text.split("\n")
    for line in whole:
        add(line)
    return rest


def read_objects(text: str, add: Callable[[dict[str, Any]], None]) -> str:
    """Give every whole JSON object of `text` to `add`; the rest comes back."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        try:
            value, end = decoder.raw_decode(text)
        except json.JSONDecodeError:
            return text
        add(value)
        text = text[end:]
    return ""

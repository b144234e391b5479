"""Pods as they start: pull progress, events and states of one namespace, until every pod has started or cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from pullet.cli.progress import PullDisplay
from pullet.cli.verdict import Verdict, verdict_of
from pullet.control.client import ControlClient
from pullet.kit.clock import Clock
from pullet.kit.worker_threads import StopFlag, WorkerThreads
from pullet.kube.scheme import EVENTS, PODS
from pullet.kubeclient.client import ApiClient


class PodWatch:
    """Follows the pods of one namespace that `is_wanted` names, printing to `display` what happens to them."""

    def __init__(
        self,
        *,
        api: ApiClient,
        root: Path,
        namespace: str,
        is_wanted: Callable[[str], bool],
        display: PullDisplay,
        clock: Clock,
    ) -> None:
        self._api = api
        self._root = root
        self._namespace = namespace
        self._is_wanted = is_wanted
        self._display = display
        self._clock = clock
        self._started = clock.monotonic()
        self.verdicts: dict[str, Verdict] = {}

    async def until_settled(self, expected: Iterable[str], *, timeout_seconds: float) -> dict[str, Verdict]:
        """Wait until each pod of `expected` has a verdict, or the time is over; gives the verdicts there are."""
        missing = set(expected)
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._show_events()), group.create_task(self._show_pulls())]
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._judge(missing)
                await self._clock.sleep(0.3)  # the last events are written just after the status that settled it
            except TimeoutError:
                pass
            finally:
                for helper in helpers:
                    helper.cancel()
        return self.verdicts

    async def _judge(self, missing: set[str]) -> None:
        listed = await self._api.list(PODS, self._namespace)
        for pod in listed.items:
            self._take(pod, missing)
        version = listed.resource_version
        while missing:
            async with aclosing(self._api.watch(PODS, self._namespace, resource_version=version)) as changes:
                async for change in changes:
                    version = change.object["metadata"]["resourceVersion"]
                    if change.type in ("ADDED", "MODIFIED"):
                        self._take(change.object, missing)
                    if not missing:
                        return

    def _take(self, pod: dict[str, Any], missing: set[str]) -> None:
        name = pod["metadata"]["name"]
        verdict = verdict_of(pod)
        if self._is_wanted(name) and verdict is not None:
            self.verdicts[name] = verdict
            missing.discard(name)

    async def _show_events(self) -> None:
        seen: dict[str, int] = {}
        listed = await self._api.list(EVENTS, self._namespace)
        for event in sorted(listed.items, key=lambda event: str(event.get("lastTimestamp"))):
            self._show_event(event, seen)
        version = listed.resource_version
        while True:
            async with aclosing(self._api.watch(EVENTS, self._namespace, resource_version=version)) as changes:
                async for change in changes:
                    version = change.object["metadata"]["resourceVersion"]
                    if change.type in ("ADDED", "MODIFIED"):
                        self._show_event(change.object, seen)

    def _show_event(self, event: dict[str, Any], seen: dict[str, int]) -> None:
        about, count, uid = event["involvedObject"], event.get("count") or 1, event["metadata"]["uid"]
        if about.get("kind") != "Pod" or not self._is_wanted(about["name"]) or seen.get(uid) == count:
            return
        seen[uid] = count
        times = f" (x{count})" if count > 1 else ""
        at = self._clock.monotonic() - self._started
        self._display.say(
            f"{at:6.2f}s  {about['name']:26}  {event['type']:7}  {event['reason']:17} {event['message']}{times}"
        )

    async def _show_pulls(self) -> None:
        """Progress comes from the control socket, which is read blocking: a thread hands the messages over."""
        threads = WorkerThreads("pulls", 1)
        loop = asyncio.get_running_loop()
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        def read(stop: StopFlag) -> None:
            client = ControlClient(self._root)
            for message in client.stream("GET", "/v1/pulls", stop=stop):
                loop.call_soon_threadsafe(messages.put_nowait, message)

        async def show() -> None:
            while True:
                message = await messages.get()
                if message["kind"] == "progress":
                    self._display.update(message)
                else:
                    self._display.done(message["image"])

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(show())
                await threads.run_stoppable(read)
        finally:
            threads.close()

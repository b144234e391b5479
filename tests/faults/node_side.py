"""The node's part of a pull: image manager, queue, records of access, journal and events over a world's images.

Put together as in `node.Node`, on a clock that stands still unless told to move: what events, waiting states and
journal say is the same to the letter each time. The API that takes the events is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.pull_world import IMAGE, PULL_SECONDS

from pullet.cri.services import ImageService
from pullet.journal.journal import Journal
from pullet.journal.pass_record import PassRecord
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.pod import parse_pod
from pullet.kubeclient.event_recorder import EventRecorder
from pullet.node.container_errors import ImageError
from pullet.node.ensure_image_pass import ImageRequest
from pullet.node.image_manager import ImageManager
from pullet.node.image_puller import ImagePuller
from pullet.node.metrics import NodeMetrics
from pullet.node.pod_credentials import PodCredentials
from pullet.node.pull_manager import PullManager
from pullet.node.pull_records import PullRecords
from pullet.policy.credential_match import TrackedCredential
from pullet.policy.pull_backoff import PullBackoff
from pullet.policy.pull_verification import parse_verification_rule
from pullet.policy.wording import Wording
from pullet.testing.api_fakes import FakeApi
from pullet.testing.clock import FakeClock

POD = parse_pod(
    {
        "metadata": {"name": "web", "namespace": "shop", "uid": "uid-1"},
        "spec": {"containers": [{"name": "main", "image": IMAGE.image, "imagePullPolicy": "IfNotPresent"}]},
    }
)
FIRST_BACKOFF_SECONDS = 10.0


@dataclass(slots=True, kw_only=True)
class NodeSide:
    """One pod that wants IMAGE, and everything the node tells of that."""

    clock: FakeClock
    root: Path
    _images: ImageManager
    _journal: Journal
    _recorder: EventRecorder
    _api: FakeApi
    _told: int = 0

    async def ensure(self) -> ImageError | None:
        """One pass, within the bound; why the container has to wait."""
        main = POD.spec.containers[0]
        request = ImageRequest(
            pod=POD,
            image=main.image,
            policy=main.image_pull_policy,
            reference=POD.reference(main),
            container=main.name,
        )
        try:
            async with asyncio.timeout(PULL_SECONDS):
                await self._images.ensure_image(request, PodCredentials(lookup=_nobody, named=(), secrets=()))
        except ImageError as error:
            return error
        return None

    async def events(self) -> list[str]:
        """`TYPE REASON: MESSAGE` of what was reported since the last call, about the container."""
        await self._recorder.flush(PULL_SECONDS)
        written = [obj for _, _, plural, obj in self._api.history if plural == "events"]
        new, self._told = written[self._told :], len(written)
        for event in new:
            involved = event["involvedObject"]
            assert (involved["name"], involved["fieldPath"]) == (POD.name, "spec.containers{main}")
            assert event["source"] == {"component": "kubelet", "host": "node1"}
        return [f"{event['type']} {event['reason']}: {event['message']}" for event in new]

    async def entry(self) -> PassRecord:
        """What the journal says of the last pass."""
        (entry,) = await self._journal.passes(POD.namespace, POD.name, "main", limit=1)
        return entry

    def records(self, kind: str) -> list[str]:
        """Names of the files about pulls: `pulling` are begun and not ended, `pulled` proofs of access. Blocking."""
        return sorted(path.name for path in (self.root / "image_manager" / kind).iterdir())


async def _nobody(_repository: str) -> Sequence[TrackedCredential]:
    return ()


@asynccontextmanager
async def open_node_side(root: Path, service: ImageService) -> AsyncIterator[NodeSide]:
    """A node that (re)starts: intents of pulls that were cut short by its end are recovered."""
    clock, wording, threads = FakeClock(), Wording(), WorkerThreads("node", 2)
    api = FakeApi(clock)
    recorder = EventRecorder(client=api, component="kubelet", clock=clock, host="node1")
    rule = parse_verification_rule("NeverVerifyPreloadedImages")
    pull_manager = PullManager(records=PullRecords(root), rule=rule, threads=threads, clock=clock)
    journal = await threads.run(Journal.open, root / "journal.db")
    try:
        await pull_manager.start(await service.list_images())
        async with asyncio.TaskGroup() as group:
            delivery = group.create_task(recorder.run())
            yield NodeSide(
                clock=clock,
                root=root,
                _images=ImageManager(
                    images=service,
                    puller=ImagePuller(images=service, clock=clock),
                    pull_manager=pull_manager,
                    backoff=PullBackoff(),
                    events=recorder,
                    wording=wording,
                    journal=journal,
                    node_name="node1",
                    metrics=NodeMetrics(),
                    clock=clock,
                ),
                _journal=journal,
                _recorder=recorder,
                _api=api,
            )
            delivery.cancel()
    finally:
        await asyncio.to_thread(journal.close)
        await threads.aclose()

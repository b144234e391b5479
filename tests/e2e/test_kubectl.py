"""Stock kubectl of several releases against a real node: the transcripts of tests/e2e/kubectl, played side by side.

A transcript is played once per binary in a namespace of its own; all of them run at the same time, those marked
`# serial` one after the other at the end. Each is one test here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.e2e import kubectls, transcripts
from tests.e2e.harness import Pullet, run

pytestmark = [pytest.mark.root, pytest.mark.timeout(400)]
AT_ONCE = 6


@dataclass(frozen=True, slots=True)
class Played:
    """How a transcript went."""

    commands: int
    differences: tuple[str, ...]


class Stage:
    """Plays transcripts against a node in the background."""

    def __init__(self, pullet: Pullet, directory: Path) -> None:
        self._pullet = pullet
        self._directory = directory
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._serial_pool = ThreadPoolExecutor(1)
        self._played: dict[tuple[str, str], Future[Played]] = {}

    def start(self) -> None:
        """Begin with every transcript for every binary."""
        serial = []
        for choice in kubectls.choices():
            kubectls.resolve(choice)  # fetched once, before many want it
            for name in transcripts.names():
                if transcripts.read(name, (1, 0)).is_serial:
                    serial.append((choice, name))
                else:
                    self._played[choice, name] = self._pool.submit(self.play, choice, name)
        others = list(self._played.values())
        for choice, name in serial:
            self._played[choice, name] = self._serial_pool.submit(self._play_after, others, choice, name)

    def result(self, choice: str, name: str) -> Played:
        """How it went; waits for its end."""
        return self._played[choice, name].result()

    def close(self) -> None:
        """Wait for what runs, forget the rest."""
        self._pool.shutdown(cancel_futures=True)
        self._serial_pool.shutdown(cancel_futures=True)

    def _play_after(self, others: list[Future[Played]], choice: str, name: str) -> Played:
        for other in others:
            other.exception()
        return self.play(choice, name)

    def play(self, choice: str, name: str) -> Played:
        """Play one transcript in a new namespace."""
        kubectl = kubectls.resolve(choice)
        transcript = transcripts.read(name, kubectl.version)
        namespace = f"{name}-{kubectl.word}"
        environment = self._environment(kubectl, namespace)
        run(["kubectl", "create", "namespace", namespace], environment=environment).ok()
        run(["kubectl", "config", "set-context", "--current", f"--namespace={namespace}"], environment=environment).ok()
        differences = [one.text for one in transcripts.play(transcript, namespace=namespace, environment=environment)]
        run(["kubectl", "delete", "namespace", namespace, "--wait=false"], environment=environment).ok()
        return Played(len(transcript.steps), tuple(differences))

    def _environment(self, kubectl: kubectls.Kubectl, namespace: str) -> dict[str, str]:
        """This kubectl as `kubectl`, a home and a kubeconfig of its own."""
        home = self._directory / namespace
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "kubectl").symlink_to(kubectl.path)
        (home / "kubeconfig").write_text(self._pullet.kubeconfig.read_text())
        return {
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "KUBECONFIG": str(home / "kubeconfig"),
            "KUBECACHEDIR": str(self._directory / f"cache-{kubectl.word}"),
            "PYTHON": sys.executable,
            "SERVER": yaml.safe_load(self._pullet.kubeconfig.read_text())["clusters"][0]["cluster"]["server"],
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
        }


@pytest.fixture(scope="module")
def stage(shared_node: Pullet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(shared_node, tmp_path_factory.mktemp("kubectl"))
    stage.start()
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize("name", transcripts.names())
@pytest.mark.parametrize("choice", kubectls.choices())
def test_transcript(stage: Stage, choice: str, name: str) -> None:
    differences = stage.result(choice, name).differences
    assert not differences, "\n\n".join(("", *differences))


def test_the_table_is_long_enough() -> None:
    for version in ((1, 20), (1, 32), (1, 36)):
        commands = sum(len(transcripts.read(name, version).steps) for name in transcripts.names())
        assert commands >= 120

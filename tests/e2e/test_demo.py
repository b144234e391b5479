"""The main job as `make run` shows it, and `pullet run` on a node of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.root
COMMAND = [sys.executable, "-m", "pullet"]


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=110, check=False, env=environment
    )


@dataclass(frozen=True)
class Demos:
    """The demonstrations that the tests look at; they run side by side, as most of their time is waiting."""

    plain: Future[subprocess.CompletedProcess[str]]
    older: Future[subprocess.CompletedProcess[str]]
    without_runtime: Future[subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demos]:
    broken = tmp_path_factory.mktemp("broken")
    crun = broken / "crun"
    crun.write_text("#!/bin/sh\necho 'this kernel is too old' >&2\nexit 1\n")
    crun.chmod(0o755)
    environment = {**os.environ, "PATH": f"{broken}:{os.environ['PATH']}"}
    with ThreadPoolExecutor(3) as threads:
        yield Demos(
            threads.submit(run, "demo", "--quick"),
            threads.submit(run, "demo", "--quick", "--kubernetes-version", "1.23"),
            threads.submit(run, "demo", "--quick", environment=environment),
        )


def test_the_five_cases_tell_themselves(demos: Demos) -> None:
    ran = demos.plain.result()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    said = ran.stdout
    for line in (
        r"nginx-latest-absent +Normal +Pulling +Pulling image \"nginx:latest\"",
        r"nginx-latest-present +Normal +Pulling +Pulling image \"nginx:latest\"",
        r"nginx-tag-absent +Normal +Pulled +Successfully pulled image \"nginx:1\.17\.1\" in \S+ "
        r"\(\S+ including waiting\)\. Image size: \d+ bytes\.",
        r"nginx-tag-present +Normal +Pulled +Container image \"nginx:1\.17\.1\" already present on machine and can be"
        r" accessed by the pod",
        r"nginx-always-present +Normal +Pulling +Pulling image \"nginx:1\.17\.1\"",
        r"nginx-ifnotpresent-present +Normal +Pulled +Container image \"nginx:1\.17\.1\" already present",
        r"nginx-never-absent +Warning +ErrImageNeverPull +"
        r"Container image \"nginx:1\.17\.5\" is not present with pull policy of Never",
        r"nginx-never-absent +Warning +Failed +Error: ErrImageNeverPull",
    ):
        assert re.search(line, said), line
    pods = re.findall(r"^(nginx-\S+) +1/1 +Running +0 ", said, re.MULTILINE)
    assert len(pods) == 9, said
    why = dict(re.findall(r"^(nginx-\S+) +nginx:\S+ +(?:Always|IfNotPresent|Never) +(.+)$", said, re.MULTILINE))
    assert why["nginx-tag-present"] == "used the image on this machine, no registry was asked"
    assert why["nginx-always-present"].startswith("pulled in ")


def test_a_machine_where_nothing_starts_is_no_success(demos: Demos) -> None:
    ran = demos.without_runtime.result()
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert re.search(r"Warning +Failed +.*OCI runtime create failed: this kernel is too old: unknown", ran.stdout)
    assert "not every pod did what its policy promises" in ran.stderr
    assert re.search(r"pod/nginx-tag-present should be Running and is \w+: .*this kernel is too old", ran.stderr)


def test_older_releases_word_their_events_as_they_did(demos: Demos) -> None:
    said = demos.older.result().stdout
    assert re.search(r'Successfully pulled image "nginx:latest" in [0-9.]+m?s\n', said)
    assert 'Container image "nginx:1.17.1" already present on machine\n' in said
    assert "Created container nginx\n" in said
    assert "Started container nginx\n" in said


def test_run_on_a_node_of_its_own_says_why_a_pod_cannot_start(tmp_path: Path) -> None:
    manifest = tmp_path / "pod.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"
        "spec: {containers: [{name: web, image: 'nosuch:1', imagePullPolicy: IfNotPresent}]}\n"
    )
    ran = run("run", "--ephemeral", "-f", str(manifest), "--policy", "Never")
    assert ran.returncode == 1
    assert 'Container image "nosuch:1" is not present with pull policy of Never' in ran.stdout
    assert ran.stderr.startswith("pod/web cannot start: ErrImageNeverPull: ")

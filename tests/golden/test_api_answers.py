"""What the API server says, as a real one said it: refusals, defaults and `kubectl explain`, word for word."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.e2e.harness import Pullet, running, scratch_directory
from tests.e2e.kubectls import kubectl_at, on_path
from tests.golden.answers import Answer, without_chance

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

FOLDER = Path(__file__).parent / "api" / "21-api-errors"
ANSWERS = [Answer(**row) for row in json.loads((FOLDER / "answers.json").read_text())]
DOCUMENTS = (FOLDER / "manifest.yaml").read_text().split("\n---\n")
NAMESPACE = "s21-api-errors"
EXPLAINS = [one for one in ANSWERS if " explain " in one.command]
CREATES = [one for one in ANSWERS if one.document >= 0]
RUNS = [one for one in ANSWERS if " run " in one.command and "dry-run=server" in one.command]


@pytest.fixture(scope="module")
def pullet() -> Iterator[Pullet]:
    with scratch_directory("answers") as directory, running(Pullet(directory / "node")) as one:
        one.kubectl("create", "namespace", NAMESPACE).ok()
        yield one


@pytest.fixture(scope="module")
def minor() -> int:
    """The minor version of the kubectl on this machine: older ones check and explain by themselves."""
    return kubectl_at(on_path()).version[1]


def name_of(answer: Answer) -> str:
    return answer.title if answer.document >= 0 else answer.command.removeprefix("kubectl ")


def ask(pullet: Pullet, answer: Answer) -> tuple[int, str, str]:
    words = shlex.split(answer.command)[1:]
    stdin = DOCUMENTS[answer.document] if answer.document >= 0 else None
    ran = pullet.kubectl(*words, stdin=stdin, namespace=NAMESPACE)
    return ran.code, ran.stdout.strip("\n"), ran.stderr.strip("\n")


@pytest.mark.parametrize("answer", [one for one in CREATES if one.code != 0], ids=name_of)
def test_refusals(pullet: Pullet, minor: int, answer: Answer) -> None:
    code, _, stderr = ask(pullet, answer)
    assert code == 1
    # kubectl before 1.25 checks names of fields by itself, and types, but for numbers where words belong
    if minor < 25 and "is invalid" not in answer.stderr and "unmarshal number" not in answer.stderr:
        assert "error validating" in stderr
    else:
        assert stderr == answer.stderr


@pytest.mark.parametrize("answer", [one for one in CREATES if one.code == 0], ids=name_of)
def test_defaults(pullet: Pullet, answer: Answer) -> None:
    code, stdout, stderr = ask(pullet, answer)
    assert (code, stderr) == (0, answer.stderr)
    assert without_chance(yaml.safe_load(stdout)) == without_chance(yaml.safe_load(answer.stdout))


@pytest.mark.parametrize("answer", EXPLAINS, ids=name_of)
def test_explain(pullet: Pullet, minor: int, answer: Answer) -> None:
    code, stdout, _ = ask(pullet, answer)
    assert code == 0
    if minor >= 30:
        assert [line.rstrip() for line in stdout.splitlines()] == [line.rstrip() for line in answer.stdout.splitlines()]
    else:
        words = " ".join(stdout.split())
        assert " ".join(answer.stdout.partition("DESCRIPTION:")[2].split()[:12]) in words


@pytest.mark.parametrize("answer", RUNS, ids=name_of)
def test_kubectl_run(pullet: Pullet, answer: Answer) -> None:
    code, _, stderr = ask(pullet, answer)
    assert (code, stderr) == (answer.code, answer.stderr)


def test_default_policy_of_every_kind_of_image_name(pullet: Pullet) -> None:
    table: dict[str, str] = json.loads((FOLDER / "defaulting.json").read_text())
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"p{number}"},
            "spec": {"containers": [{"name": "c", "image": image}]},
        }
        for number, image in enumerate(table)
    ]
    made = pullet.kubectl(
        "create", "--dry-run=server", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump_all(pods), namespace=NAMESPACE
    ).ok()
    objects = [one for one in yaml.safe_load_all(made) if one]
    items = objects[0]["items"] if objects[0]["kind"] == "List" else objects
    containers = [item["spec"]["containers"][0] for item in items]
    assert {one["image"]: one["imagePullPolicy"] for one in containers} == table

"""kubectl commands with their answers, as a recording's commands.txt has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_COMMAND = re.compile(r"^\[t= *[\d.]+\] (?:\$ (?P<command>.*)|# (?P<comment>.*))$")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One command. `document` is the number of the manifest document it was given on stdin, -1 for none."""

    title: str
    command: str
    document: int
    code: int
    stdout: str
    stderr: str


def read_answers(text: str) -> list[Answer]:
    """Every command of a commands.txt, in order; `-f -` takes the manifest's documents one after the other."""
    answers: list[Answer] = []
    body: list[str] = []
    title, command, document = "", "", 0

    def finish() -> None:
        nonlocal document
        if not command:
            return
        code = int(body[0].removeprefix("(rc=").removesuffix(")"))
        stdout, _, stderr = "\n".join(body[1:]).partition("STDERR: ")
        takes = " -f -" in command
        answers.append(
            Answer(
                title=title,
                command=command,
                document=document if takes else -1,
                code=code,
                stdout=stdout.strip("\n"),
                stderr=stderr.strip("\n"),
            )
        )
        document += takes

    for line in text.splitlines():
        found = _COMMAND.match(line)
        if found is None:
            body.append(line)
            continue
        finish()
        command, body = found["command"] or "", []
        title = (found["comment"] or title).strip("=- ")
    finish()
    return answers


def without_chance(value: Any) -> Any:
    """A decoded API object without what differs between any two runs: uid, times, random suffixes."""
    if isinstance(value, dict):
        return {
            key: without_chance(item)
            for key, item in value.items()
            if key not in ("uid", "creationTimestamp", "resourceVersion", "managedFields", "selfLink")
        }
    if isinstance(value, list):
        return [without_chance(item) for item in value]
    return re.sub(r"^(kube-api-access-)\w{5}$", r"\1xxxxx", value) if isinstance(value, str) else value

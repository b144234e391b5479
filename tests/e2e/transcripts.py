"""Transcripts: command lines with what they print, one file per subject, run top to bottom in a namespace of their own.

    # what this is about, in the first lines alone
    $ kubectl get pod one          run by sh, standard error joins standard output
    NAME  READY  STATUS ...        what it prints; `...` stands for anything, alone on a line for any number of lines
    [1]                            its exit code, when it is not 0
    (>=1.24) $ kubectl ...         this line is for these kubectl versions alone; output lines can say so too

Both sides are normalised before they are compared: durations, times, addresses, uids and generated names become words,
column gaps become two blanks, blank lines go. NS stands for the namespace, in commands too.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness import run

DIRECTORY = Path(__file__).with_name("kubectl")
_CONDITION = re.compile(r"\((<|<=|>|>=|==)(\d+)\.(\d+)\) ")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
_DURATION = r"(?:\d+d)?(?:\d+h)?(?:\d+m)?\d+(?:\.\d+)?(?:ms|s|m|h|d)"
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "TIME"),
    (re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}"), "TIME"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"[a-z]+://[0-9a-f]{64}\b"), "CONTAINER"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "DIGEST"),
    (re.compile(r"https://127\.0\.0\.1:\d+"), "SERVER"),
    (re.compile(r"\b10\.\d+\.\d+\.\d+\b"), "IP"),
    (re.compile(r'(resourceVersion"?: ")\d+'), r"\1VERSION"),
    (re.compile(r"Image size: \d+ bytes"), "Image size: SIZE bytes"),
    (re.compile(rf"\b(kube-api-access|default-token)-{_RANDOM}{{5}}\b"), r"\1-RANDOM"),
    (re.compile(rf"-{_RANDOM}{{6,10}}-{_RANDOM}{{5}}\b"), "-HASH-RANDOM"),
    (re.compile(rf"(?<=[a-z])-{_RANDOM}{{7,10}}\b"), "-HASH"),
    (re.compile(rf"(?<=[a-z])-{_RANDOM}{{5}}\b"), "-RANDOM"),
    (re.compile(r"pod-template-hash=\w+"), "pod-template-hash=HASH"),
    (re.compile(rf"\b{_DURATION}\b"), "AGE"),
    (re.compile(r"(?<=\S) {2,}"), "  "),
    (re.compile(r"\t"), "  "),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One command line and what it shall print."""

    line_number: int
    command: str
    lines: tuple[str, ...]
    code: int


@dataclass(frozen=True, slots=True)
class Transcript:
    """A file, read for one version of kubectl."""

    name: str
    is_serial: bool  # touches what the others need
    steps: tuple[Step, ...]


def names() -> list[str]:
    """Every transcript there is."""
    return sorted(path.stem for path in DIRECTORY.glob("*.transcript"))


def read(name: str, version: tuple[int, int]) -> Transcript:
    """The transcript as it is for a kubectl of this version."""
    text = (DIRECTORY / f"{name}.transcript").read_text()
    steps: list[Step] = []
    is_skipped = False  # the command before is for other versions, and so is its output
    for number, line in enumerate(text.splitlines(), 1):
        condition = _CONDITION.match(line)
        holds = condition is None or _holds(condition, version)
        line = line[condition.end() :] if condition else line
        if line.startswith("$ "):
            is_skipped = not holds
            if holds:
                steps.append(Step(number, line[2:], (), 0))
        elif is_skipped or not holds or not steps:
            continue
        elif code := re.fullmatch(r"\[(\d+)\]", line):
            steps[-1] = Step(steps[-1].line_number, steps[-1].command, steps[-1].lines, int(code[1]))
        else:
            steps[-1] = Step(steps[-1].line_number, steps[-1].command, (*steps[-1].lines, line), steps[-1].code)
    return Transcript(name, "\n# serial" in f"\n{text}", tuple(steps))


def _holds(condition: re.Match[str], version: tuple[int, int]) -> bool:
    sign, major, minor = condition.groups()
    return bool(_COMPARE[sign](version, (int(major), int(minor))))


@dataclass(frozen=True, slots=True)
class Difference:
    """A step that did not print what it should."""

    step: Step
    code: int
    output: str
    text: str


def play(transcript: Transcript, *, namespace: str, environment: dict[str, str]) -> Iterator[Difference]:
    """Run every step; gives those that differ."""
    for step in transcript.steps:
        command = step.command.replace("NS", namespace)
        ran = run(["sh", "-c", f"exec 2>&1; cd '{DIRECTORY}'; {command}"], environment=environment, timeout_seconds=100)
        text = compare(step, ran.stdout, ran.code, namespace)
        if text:
            yield Difference(step, ran.code, ran.stdout, text)


def compare(step: Step, output: str, code: int, namespace: str) -> str:
    """What differs, as a diff; empty when nothing does."""
    wanted = [normalise(line, "") for line in step.lines if line.strip()]
    got = [normalise(line, namespace) for line in output.splitlines() if line.strip()]
    if code == step.code and _pattern(wanted).fullmatch("".join(f"{line}\n" for line in got)):
        return ""
    return "\n".join(
        [
            f"line {step.line_number}: $ {step.command}",
            f"exit code {code}, want {step.code}",
            *difflib.unified_diff(wanted, got, "want", "got", lineterm="", n=99),
        ]
    )


def normalise(line: str, namespace: str) -> str:
    """One line with everything that differs from run to run replaced by words."""
    if namespace:
        line = line.replace(namespace, "NS")
    for pattern, word in _WORDS:
        line = pattern.sub(word, line)
    return line.rstrip()


def _pattern(lines: list[str]) -> re.Pattern[str]:
    any_lines = r"(?:[^\n]*\n)*?"
    parts = [
        any_lines if line.strip() == "..." else ".*?".join(re.escape(part) for part in line.split("...")) + r"\n"
        for line in lines
    ]
    return re.compile("".join(parts))

"""Makes two runs comparable: durations, sizes, uids and addresses become words, digests become names.

A digest is named for what it is and whose it is, `<index nginx:1.17.1>`, `<manifest …>`, `<config …>`, `<layer …>`: the
recording and the replay have different bytes under the same names. Pod names, image names and everything else stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_DURATION = r"(?:\d+m)?\d+(?:\.\d+)?(?:ns|us|µs|ms|s)"
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"in {_DURATION} \({_DURATION} including waiting\)"), "in <duration> (<duration> including waiting)"),
    (re.compile(r"Image size: \d+ bytes"), "Image size: <size> bytes"),
    (re.compile(r"\([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\)"), "(<uid>)"),
    # containerd 1.x names the reference, 2.4 does not
    (re.compile(r'failed to resolve reference "[^"]*": '), "failed to resolve: "),
    (re.compile(r"failed to resolve image: "), "failed to resolve: "),
    (re.compile(r"http://127\.0\.0\.1:\d+/v2/"), "http://<registry>/v2/"),
    (re.compile(r"\bdebugger-(?:\w{5}|older)\b"), "debugger-<random>"),
    # what a resolver answers depends on the machine; the name it was asked for does not
    (re.compile(r"dial tcp: lookup (\S+?)(?: on \S+)?: .*"), r"dial tcp: lookup \1: <resolver error>"),
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def digest_names_in(text: str, names: Mapping[str, str]) -> str:
    """The text with every digest that has a name replaced by it; unknown digests stay."""
    return _DIGEST.sub(lambda found: names.get(found.group(), found.group()), text)


def digests_in(text: str, names: Mapping[str, str]) -> str:
    """The reverse of `digest_names_in`, for manifests written with names."""
    for digest, name in names.items():
        text = text.replace(name, digest)
    return text


def normalise(text: str, names: Mapping[str, str]) -> str:
    """The text with all that differs between two good runs replaced."""
    text = digest_names_in(text, names)
    for pattern, word in _WORDS:
        text = pattern.sub(word, text)
    return text


_DESCRIBED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\b(?:\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} [+-]\d{4})"), "<time>"),
    (re.compile(r"(Container ID: +)\w+://[0-9a-f]{64}"), r"\1<id>"),
    (re.compile(r"(\bIP: +|Node: +[\w.-]+/)\d+\.\d+\.\d+\.\d+"), r"\1<address>"),
    (re.compile(r"kube-api-access-\w{5}"), "kube-api-access-<random>"),
    (re.compile(r"ConfigMapOptional: +<nil>"), "Optional:  false"),  # as older kubectls say it
    (re.compile(r"(restartedAt: ).*"), r"\1<time>"),
    # which of both is shown is a matter of the moment
    (re.compile(r"(Reason: +)(?:ErrImagePull|ImagePullBackOff)"), r"\1<failed pull>"),
)


def described(text: str, names: Mapping[str, str]) -> list[str]:
    """The lines of `kubectl describe pods --show-events=false`, comparable.

    Alignment goes: it depends on the longest name. So does the Service Account, which older kubectls do not print.
    """
    for pattern, word in _DESCRIBED:
        text = pattern.sub(word, text)
    text = re.sub(r"^Events:.*?(?=^Name:|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"(?<=\S) {2,}|^ {8,}", "  ", line.rstrip()) for line in normalise(text, names).splitlines()]
    return [line for line in lines if line and not line.startswith("Service Account:")]


def printed(text: str, names: Mapping[str, str]) -> str:
    """What a command printed, comparable: without alignment, and of a refusal not the diff of Go's types."""
    lines = text.strip().partition("\n@@ ")[0].splitlines()
    return normalise("\n".join(re.sub(r" {2,}", "  ", line.rstrip()) for line in lines), names).strip()

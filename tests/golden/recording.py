"""Reads one recorded scenario: its folder's manifest, watches, status and registry log become an Observation."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from tests.golden.generated_names import renamed
from tests.golden.normalise import described, digest_names_in, normalise, printed
from tests.golden.observation import (
    EventSeen,
    Observation,
    RequestSeen,
    add_status,
    containers_of,
)

_EVENT = re.compile(
    r"^ *(?P<at>[\d.]+) (?P<change>ADDED|MODIFIED|DELETED) +count=(?P<count>\d+) (?P<type>\w+) +(?P<reason>\w+) +"
    r"(?P<pod>\S+) (?P<where>\S+) \| (?P<message>.*)$"
)
_POD_ROW = re.compile(r"^ *(?P<at>[\d.]+) (?P<change>ADDED|MODIFIED) +(?P<pod>\S+) +READY=\S+ +STATUS=(?P<status>\S+)")
_REQUEST = re.compile(
    r"^t= *(?P<at>[\d.]+) \[\w+\] \S+ (?P<method>\w+) /v2/(?P<repository>\S+)/(?P<kind>manifests|blobs)/"
    r"(?P<reference>[^?\s]+)\S* -> (?P<status>\d+) .*?auth=(?P<auth>\S+)(?:.* accept=\"(?P<accept>[^\",]*))?"
)
_ASKS = re.compile(r"logs |rollout history |get .*-o (?:custom-columns|jsonpath)=")
_CHANGES = re.compile(r"apply |patch ")
_ACCEPT_KIND = {
    "application/vnd.oci.image.index.v1+json": "index",
    "application/vnd.docker.distribution.manifest.list.v2+json": "index",
    "application/vnd.oci.image.manifest.v1+json": "manifest",
    "application/vnd.docker.distribution.manifest.v2+json": "manifest",
    "application/vnd.oci.image.config.v1+json": "config",
    "application/vnd.docker.container.image.v1+json": "config",
}


@dataclass(kw_only=True)
class DigestNames:
    """Names digests by watching a registry log: what a GET asked for, and the tag last resolved before it."""

    names: dict[str, str] = field(default_factory=dict)
    _last_tag: dict[str, str] = field(default_factory=dict)

    def learn(self, log: str) -> None:
        """Name every digest fetched in `log`."""
        for line in log.splitlines():
            found = _REQUEST.match(line)
            if found is None or found["status"] != "200":
                continue
            repository, reference = found["repository"].removeprefix("library/"), found["reference"]
            if not reference.startswith("sha256:"):
                self._last_tag[repository] = f"{repository}:{reference}"
                continue
            if found["method"] == "HEAD" or reference in self.names:
                if reference in self.names:
                    self._last_tag[repository] = self.names[reference].split()[1].rstrip(">")
                continue
            kind = _ACCEPT_KIND.get(found["accept"] or "", "layer")
            self.names[reference] = self._free_name(kind, self._last_tag[repository])
            if kind in ("index", "manifest"):
                self._last_tag[repository] = self.names[reference].split()[1].rstrip(">")

    def _free_name(self, kind: str, image: str) -> str:
        number, name = 1, f"<{kind} {image}>"
        while name in self.names.values():
            number += 1
            name = f"<{kind} {image}#{number}>"
        return name


def manifest_with_names(folder: Path, names: dict[str, str]) -> str:
    """The scenario's manifest with names for digests; a replay puts its own digests in."""
    return digest_names_in((folder / "manifest.yaml").read_text(), names)


def read_recording(folder: Path, names: dict[str, str], *, until_seconds: float = 1e9) -> Observation:
    """What happened in the scenario in its first `until_seconds`. Statuses of containers are those at its end."""
    seen = Observation()
    joined = re.sub(r"\n(?! *[\d.]+ |#)", r"\\n", (folder / "events.watch.txt").read_text())
    for line in joined.splitlines():
        found = _EVENT.match(line.removesuffix("\\n"))
        if found is None or float(found["at"]) > until_seconds or found["change"] == "DELETED":
            continue
        event = EventSeen(
            type=found["type"],
            reason=found["reason"],
            where=normalise(found["where"], {}) if found["where"] != "-" else "",
            message=normalise(found["message"].replace("\\n", "\n"), names),
            count=int(found["count"]),
        )
        seen.events.setdefault(found["pod"], []).append(event)
    for line in (folder / "get.txt").read_text().splitlines():
        found = _POD_ROW.match(line)
        if found and float(found["at"]) <= until_seconds:
            add_status(seen.statuses, found["pod"], found["status"])
    for pod in json.loads((folder / "status.json").read_text()):
        seen.phases[pod["name"]] = pod["status"]["phase"]
        seen.containers[pod["name"]] = containers_of(pod)
        for container in seen.containers[pod["name"]]:
            container.message = normalise(container.message, names)
            container.image = normalise(container.image, names)
            container.image_id = normalise(container.image_id, names)
    for line in (folder / "registry.log").read_text().splitlines():
        found = _REQUEST.match(line)
        if found and float(found["at"]) <= until_seconds:
            seen.requests.append(
                RequestSeen(
                    method=found["method"],
                    repository=found["repository"],
                    kind=found["kind"],
                    reference=names.get(found["reference"], found["reference"]),
                    status=int(found["status"]),
                    user=found["auth"].removeprefix("basic:") if found["auth"] != "-" else "",
                )
            )
    seen.description = described((folder / "describe.txt").read_text(), names)
    seen.outputs = _outputs((folder / "commands.txt").read_text(), names)
    return renamed(seen)


def _outputs(commands: str, names: dict[str, str]) -> list[str]:
    """What was printed by the commands that ask, and why others were refused, in order."""
    found = re.finditer(
        r"\$ kubectl ([^\n]*)\n\(rc=(\d+)\)\n(?:STDERR: )?(.*?)\n\n?(?=\n*\[t=|\n*\Z)", commands, re.DOTALL
    )
    return [
        printed(text, names)
        for command, code, text in (one.groups() for one in found)
        if _ASKS.match(command) or (_CHANGES.match(command) and code != "0")
    ]

"""Derives data/ from a folder of recordings of a real cluster: `python -m tests.golden.derive RECORDINGS`.

Each scenario becomes data/<scenario>/manifest.yaml and expected.json. After a new recording: run again, read the diff.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from tests.golden.answers import read_answers
from tests.golden.observation import Observation
from tests.golden.recording import DigestNames, manifest_with_names, read_recording

DATA = Path(__file__).parent / "data"
API_ERRORS = "21-api-errors"

# digests that no recorded request fetched by a tag: images that were on the recording's node before
KNOWN_BEFORE = {
    "sha256:4c0dd9ee3d808db82d2ecfeaebd7bf055b6924b92e2cba012436d6cdf77a4abe": "<index nginx:1.17.0>",
    "sha256:574c62712d3b7c527861366ed6e71d33ef763ec0a39da008c9d4b3a71ba7db07": "<manifest movealways:v1>",
    "sha256:cd19839493ef595fa963c592bba2f1fef00197f48c8482e7f604a0e428166cac": "<manifest movedigest:v1>",
    "sha256:1a0fdc659bd21f933b870c2aa9e580987a545f59dac275ffd6543e8385b63b24": "<config movedigest:v1>",
    "sha256:1267ebbcba3619c5443c58ae157f5439bd02c733c8057856967adfecda78e423": "<manifest busybox:1.36>",
    "sha256:80ae784fd8f937eac521db2b13a87dcfdc9465af4cfa51be44c6c6bf20accdd1": "<manifest busybox:1.35>",
    "sha256:0c192884a5dee54b3f2f2b615a27ed6e37875282455a22ef4f4fde46031f35a9": "<manifest busybox:latest>",
    "sha256:930a5537caa7ca0fcb2cd62809c0194228907f63184ab368bc219b7bcf60bf6b": "<manifest web:1.0>",
}

# the recording of the API's answers cut two long image names and kept no manifest of its two Deployments
CUT_NAMES = {"nginx:" + "t" * 84: "nginx:" + "t" * 129, "x" * 90: "x" * 300}
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: d
spec:
  selector: {{matchLabels: {{a: b}}}}
  template:
    metadata: {{labels: {{a: b}}}}
    spec:
      containers:
      - {line}"""
UNRECORDED = (
    DEPLOYMENT.format(line='{name: c, image: ""}'),
    DEPLOYMENT.format(line="{name: c, image: nginx, imagePullPolicy: always}"),
)

# scenario -> how much of it a replay follows, in seconds of the recording
SCENARIOS = {
    "01-latest-nopolicy": 1e9,
    "02-tag-nopolicy": 1e9,
    "03-always-tag-present": 1e9,
    "04-ifnotpresent": 1e9,
    "05-never": 1e9,
    "06-digest": 1e9,
    "07-missing-tag": 56.0,
    "08-private": 70.0,
    "09-invalid-name": 54.0,
    "10-registry-down": 60.0,
    "11-moved-tag": 1e9,
    "12-crashloop": 60.0,
    "13-alwayspullimages-off": 1e9,
    "13-alwayspullimages-on": 1e9,
    "14-deployment": 1e9,
    "15-init-shared": 1e9,
    "17-image-volume": 1e9,
    "18-kep2535": 80.0,
}


def derive(recordings: Path, scenario: str, names: dict[str, str]) -> tuple[str, Observation]:
    """The manifest with names for digests, and what was observed."""
    folder = recordings / scenario
    return manifest_with_names(folder, names), read_recording(folder, names, until_seconds=SCENARIOS[scenario])


def names_of(recordings: Path) -> dict[str, str]:
    """A name for every digest that occurs in the recordings' registry logs."""
    names = DigestNames(names=dict(KNOWN_BEFORE))
    for scenario in SCENARIOS:
        names.learn((recordings / scenario / "registry.log").read_text())
    return names.names


def derive_api_answers(recordings: Path) -> None:
    """Scenario 21: every kubectl command with its answer, and the table of default policies."""
    folder, target = recordings / API_ERRORS, DATA.parent / "api" / API_ERRORS
    target.mkdir(parents=True, exist_ok=True)
    answers = [asdict(answer) for answer in read_answers((folder / "commands.txt").read_text())]
    (target / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    documents = (folder / "manifest.yaml").read_text().rstrip("\n").split("\n---\n")
    (target / "manifest.yaml").write_text("\n---\n".join([*documents, *UNRECORDED]) + "\n")
    rows = [line.rpartition(" -> ") for line in (folder / "defaulting.txt").read_text().splitlines() if " -> " in line]
    table = {CUT_NAMES.get(image.rstrip(), image.rstrip()): policy for image, _, policy in rows}
    (target / "defaulting.json").write_text(json.dumps(table, indent=1) + "\n")


def main(recordings: Path) -> None:
    """Write data/."""
    derive_api_answers(recordings)
    names = names_of(recordings)
    for scenario in SCENARIOS:
        manifest, observation = derive(recordings, scenario, names)
        folder = DATA / scenario
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.yaml").write_text(manifest)
        text = json.dumps(observation.to_json(), indent=1, ensure_ascii=False)
        (folder / "expected.json").write_text(text + "\n")
        print(f"{scenario}: {len(observation.events)} pods, {len(observation.requests)} requests")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

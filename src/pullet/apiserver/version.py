"""/version: which Kubernetes the API speaks like."""

from __future__ import annotations

import platform

from pullet.base.jsonvalue import JsonObject

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def version_info(git_version: str) -> JsonObject:
    """version.Info; `git_version` is like v1.36.2."""
    major, minor, *_ = git_version.removeprefix("v").split(".")
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": git_version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "pullet",
        "platform": f"linux/{architecture}",
    }

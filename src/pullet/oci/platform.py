"""Platforms: what a machine can run, best first. Source: containerd/platforms compare.go, database.go."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
}
_DEFAULT_VARIANTS = {("amd64", "v1"): "", ("arm64", "v8"): "", ("arm64", "8"): "", ("arm", ""): "v7"}
_ARM_VARIANTS = {"5": "v5", "6": "v6", "7": "v7", "8": "v8"}


class Platform(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Operating system, architecture and CPU variant. Source: image-spec v1.1 image-index.md."""

    architecture: str
    os: str
    variant: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    os_features: tuple[str, ...] = msgspec.field(name="os.features", default=())

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def normalise(platform: Platform) -> Platform:
    """The canonical spelling: x86_64 → amd64, arm64/v8 → arm64, arm → arm/v7."""
    architecture = platform.architecture.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = platform.variant.lower() or implied
    if architecture == "arm":
        variant = _ARM_VARIANTS.get(variant, variant)
    variant = _DEFAULT_VARIANTS.get((architecture, variant), variant)
    return msgspec.structs.replace(platform, os=platform.os.lower(), architecture=architecture, variant=variant)


def parse_platform(text: str) -> Platform:
    """`linux/arm64`, `linux/arm/v7`, or a bare architecture (of linux)."""
    parts = text.split("/")
    if len(parts) == 1:
        return normalise(Platform(os="linux", architecture=parts[0]))
    return normalise(Platform(os=parts[0], architecture=parts[1], variant="".join(parts[2:3])))


def match_order(host: Platform) -> tuple[Platform, ...]:
    """Every platform that `host` can run, best first; itself is the first."""
    host = normalise(host)

    def of(architecture: str, variant: str = "") -> Platform:
        return normalise(Platform(os=host.os, architecture=architecture, variant=variant))

    match host.architecture:
        case "amd64":
            level = int(host.variant[1:]) if host.variant[1:].isdigit() else 1
            return (*(of("amd64", f"v{n}") for n in range(level, 0, -1)), of("386"))
        case "arm64":
            own = (host,) if not host.variant else (host, of("arm64"))
            return (*own, *(of("arm", f"v{n}") for n in range(8, 4, -1)))
        case "arm":
            level = int(host.variant[1:]) if host.variant[1:].isdigit() else 7
            return tuple(of("arm", f"v{n}") for n in range(level, 4, -1))
        case _:
            return (host,)


def rank(platform: Platform, host: Platform) -> int | None:
    """Position of `platform` in what `host` can run (0 is best), or None if it cannot run it."""
    wanted = normalise(platform)
    for position, candidate in enumerate(match_order(host)):
        if (wanted.os, wanted.architecture, wanted.variant) == (
            candidate.os,
            candidate.architecture,
            candidate.variant,
        ):
            return position
    return None


def describe(platforms: Sequence[Platform]) -> str:
    """A list for a message: `linux/arm64, linux/s390x`."""
    return ", ".join(sorted({str(platform) for platform in platforms}))

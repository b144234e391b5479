from __future__ import annotations

import pytest

from pullet.cri.errors import CriError
from pullet.engine.architecture import check_architecture
from pullet.engine.container_images import RunnableImage
from pullet.oci.image_config import ContainerDefaults
from pullet.oci.platform import Platform, parse_platform


def image(platform: Platform | None) -> RunnableImage:
    return RunnableImage(id="sha256:1", defaults=ContainerDefaults(), platform=platform)


@pytest.mark.parametrize(
    ("built_for", "machine"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64"),
        ("linux/386", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/v7", "linux/arm64"),
        ("linux/arm", "linux/arm/v6"),
        ("linux/riscv64", "linux/riscv64"),
    ],
)
def test_what_runs(built_for: str, machine: str) -> None:
    check_architecture(image(parse_platform(built_for)), parse_platform(machine))


@pytest.mark.parametrize(
    ("built_for", "machine"),
    [
        ("linux/arm64", "linux/amd64"),
        ("linux/amd64", "linux/386"),
        ("linux/amd64", "linux/arm64"),
        ("windows/amd64", "linux/amd64"),
        ("linux/riscv64", "linux/amd64"),
    ],
)
def test_what_does_not(built_for: str, machine: str) -> None:
    with pytest.raises(CriError, match=f"built for {built_for}, this node is {machine}"):
        check_architecture(image(parse_platform(built_for)), parse_platform(machine))


@pytest.mark.parametrize("platform", [None, Platform(os="", architecture=""), Platform(os="linux", architecture="")])
def test_images_that_do_not_say(platform: Platform | None) -> None:
    check_architecture(image(platform), parse_platform("linux/amd64"))

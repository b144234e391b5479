"""Whether this machine can run what an image holds.

A single-platform image is pulled whatever it was built for: only its config tells, and it may be meant as a volume. A
container of it would die with "exec format error", so it is refused where a container is made.
"""

from __future__ import annotations

from pullet.cri.errors import CriError
from pullet.engine.container_images import RunnableImage
from pullet.oci.platform import Platform, match_order, normalise


def check_architecture(image: RunnableImage, machine: Platform) -> None:
    """Let pass what `machine` can run, and images that do not say; variants are not looked at.

    Raises:
        CriError: the image is for another operating system or architecture; nothing was made.
    """
    if image.platform is None or not image.platform.architecture:
        return
    built_for = normalise(image.platform)
    runnable = {(one.os, one.architecture) for one in match_order(machine)}
    if (built_for.os or machine.os, built_for.architecture) in runnable:
        return
    name = next(iter(image.tags), next(iter(image.digests), image.id))
    cause = f"image {name} was built for {built_for}, this node is {machine}"
    raise CriError(
        f"failed to create container: {cause}",
        cause=cause,
        next_step=f"build the image for {machine}, or set allowOtherArchitectures on nodes that emulate others",
    )

"""One cold pull with a store setting that the command line has no flag for: `ROOT SNAPSHOTTER IMAGE`."""

from __future__ import annotations

import asyncio
import sys

from pullet.assembly.images_only import open_images
from pullet.config import load_settings
from pullet.kit.clock import SystemClock


async def pull(root: str, snapshotter: str, image: str) -> None:
    settings = load_settings(None, {"root": root, "store": {"snapshotter": snapshotter}})
    async with open_images(settings, settings.node_names[0], SystemClock()) as images:
        async for _ in images.pull(image):
            pass


if __name__ == "__main__":
    asyncio.run(pull(*sys.argv[1:]))

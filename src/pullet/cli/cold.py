"""A pull or a check without a running node: the store is opened for the occasion."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from pullet.assembly.images_only import open_images
from pullet.base.errors import PulletError
from pullet.cli.node_directory import choose_node
from pullet.cli.root_user import need_root_user
from pullet.config import load_settings
from pullet.kit.clock import SystemClock
from pullet.kit.secrecy import forbid_core_dumps
from pullet.kit.worker_threads import StopFlag

_Item = dict[str, Any] | BaseException | None


def pull_cold(root: Path, node: str, image: str) -> Iterator[dict[str, Any]]:
    """The messages of a pull into the store of `node` (the only one, or the default) at `root`. For the main thread.

    Closing the generator, or an interrupt, ends the pull; what it had not finished is gone from the store.

    Raises:
        UsageError, CriError: as the pull with a running node.
        KeyboardInterrupt: once the pull has ended; a second interrupt changes nothing.
    """
    need_root_user("pulling into a node's store")
    forbid_core_dumps()
    settings = load_settings(None, {"root": str(root)})
    name = choose_node(settings, node)
    messages: queue.SimpleQueue[_Item] = queue.SimpleQueue()
    stop = StopFlag()

    async def pull() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        forget = stop.on_stop(partial(loop.call_soon_threadsafe, task.cancel))
        try:
            async with open_images(settings, name, SystemClock()) as images:
                async for message in images.pull(image):
                    messages.put(dict(message))
        finally:
            forget()

    def run() -> None:
        try:
            with suppress(asyncio.CancelledError):
                asyncio.run(pull())
        except PulletError as error:
            messages.put(error)
        finally:
            messages.put(None)

    worker = threading.Thread(target=run, name="cold-pull")
    # as a message: an exception out of nowhere could come while the pull is being ended
    before = signal.signal(signal.SIGINT, lambda *_: messages.put(KeyboardInterrupt()))
    worker.start()
    try:
        while (item := messages.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.stop()
        worker.join()
        signal.signal(signal.SIGINT, before)


def check_cold(root: Path, node: str, *, repair: bool) -> dict[str, Any]:
    """`pullet store check` on the store of `node` (the only one, or the default) at `root`."""
    from pullet.control.maintenance import NodeMaintenance  # here: a pull should not pay for it

    need_root_user("checking a node's store")
    settings = load_settings(None, {"root": str(root)})

    async def check() -> dict[str, Any]:
        async with open_images(settings, choose_node(settings, node), SystemClock()) as images:
            return await NodeMaintenance(images=images).check_store(repair=repair)

    return asyncio.run(check())

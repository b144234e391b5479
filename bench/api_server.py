"""An API server as a process of its own: `python -m bench.api_server DIRECTORY`; prints its URL when it listens."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from pullet.apiserver.server import ApiServer
from pullet.apiserver.settings import ApiServerSettings


async def serve(root: Path) -> None:
    async with ApiServer(root=root, settings=ApiServerSettings(port=0)) as server:
        print(server.url, flush=True)
        await server.run()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1])))

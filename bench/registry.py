"""Debian's docker-registry on loopback with the image set pushed, and what each pull asked of it."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

ACCESS = re.compile(r'"(GET|HEAD|POST|PUT) (\S+) HTTP/[\d.]+" (\d+) (\d+)')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registry:
    """Use as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self._config, self._log = directory / "config.yml", directory / "access.log"
        storage = f"storage: {{filesystem: {{rootdirectory: {directory}/data}}, cache: {{blobdescriptor: inmemory}}}}"
        self._config.write_text(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: false}}}}\n{storage}\n"
            f"http: {{addr: '127.0.0.1:{self.port}', secret: bench}}\n"
        )

    def __enter__(self) -> Registry:
        program = shutil.which("docker-registry") or shutil.which("registry")
        if program is None:
            raise SystemExit("docker-registry is missing: apt-get install docker-registry")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([program, "serve", self._config], stdout=log, stderr=log)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        raise SystemExit(f"the registry did not start, see {self._log}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def reference(self, image: str) -> str:
        return f"127.0.0.1:{self.port}/bench/{image}:latest"

    def mark(self) -> int:
        return self._log.stat().st_size

    def since(self, mark: int) -> tuple[int, int]:
        """Requests, and body bytes of GETs, since `mark`."""
        time.sleep(0.05)
        with self._log.open("rb") as file:
            file.seek(mark)
            rows = ACCESS.findall(file.read().decode("utf-8", "replace"))
        return len(rows), sum(int(size) for method, _, _, size in rows if method == "GET")

    def push(self, layout: Path, images: set[str]) -> dict[str, list[dict[str, Any]]]:
        """Push from an OCI layout; gives each image's layers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        blobs = layout / "blobs" / "sha256"
        pushed = {}

        def ask(
            method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
        ) -> http.client.HTTPResponse:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            response.read()
            return response

        for entry in json.loads((layout / "index.json").read_text())["manifests"]:
            name = entry["annotations"]["org.opencontainers.image.ref.name"]
            if name not in images:
                continue
            raw = (blobs / entry["digest"][7:]).read_bytes()
            manifest = json.loads(raw)
            for blob in [manifest["config"], *manifest["layers"]]:
                if ask("HEAD", f"/v2/bench/{name}/blobs/{blob['digest']}").status == 200:
                    continue
                location = ask("POST", f"/v2/bench/{name}/blobs/uploads/").headers["Location"]
                target = location[location.index("/v2/") :]
                target += f"{'&' if '?' in target else '?'}digest={blob['digest']}"
                with (blobs / blob["digest"][7:]).open("rb") as file:
                    headers = {"Content-Length": str(blob["size"]), "Content-Type": "application/octet-stream"}
                    assert ask("PUT", target, file, headers).status == 201
            assert (
                ask("PUT", f"/v2/bench/{name}/manifests/latest", raw, {"Content-Type": manifest["mediaType"]}).status
                == 201
            )
            pushed[name] = manifest["layers"]
        connection.close()
        return pushed

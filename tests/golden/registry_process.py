"""Debian's docker-registry, started from a generated configuration in a directory of its own."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# alice with s3cret and bob with hunter2; bcrypt at its lowest cost, so that a login takes no time
HTPASSWD = """\
alice:$2b$05$N3C/lYwKTIWU9fjTyWYKI.1ewcNtDBBV2sH9.gTIy.COQzBegEoF6
bob:$2b$05$ZHxcs1c/5zYz3S66Amx50esg/pHJx16pCN8QBOYpy0TgA5OW1p7hy
"""

_CONFIG = """\
version: 0.1
log:
  level: error
  accesslog: {{disabled: true}}
storage:
  filesystem: {{rootdirectory: {directory}/content}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http:
  addr: 127.0.0.1:{port}
  secret: not-a-secret
"""
_AUTH = """\
auth:
  htpasswd: {{realm: golden, path: {directory}/htpasswd}}
"""


@dataclass(frozen=True, kw_only=True)
class RegistryProcess:
    """A running registry on loopback, without TLS. `login` is what it wants, if anything."""

    port: int
    login: tuple[str, str] | None


@contextmanager
def docker_registry(directory: Path, *, with_password: bool = False) -> Iterator[RegistryProcess]:
    """Run a registry until the block ends; everything it writes is under `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = _CONFIG.format(directory=directory, port=port) + (
        _AUTH.format(directory=directory) if with_password else ""
    )
    (directory / "config.yml").write_text(config)
    (directory / "htpasswd").write_text(HTPASSWD)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log, cwd=directory
        )
        try:
            _wait_until_it_answers(process, port, directory / "log")
            yield RegistryProcess(port=port, login=("alice", "s3cret") if with_password else None)
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    """A TCP port that nobody listened on a moment ago."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"docker-registry ended with {process.returncode}: {log.read_text()}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v2/")
            if connection.getresponse().status in (200, 401):
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError(f"docker-registry did not answer on port {port}: {log.read_text()}")

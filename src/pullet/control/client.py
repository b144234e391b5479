"""The command's side of the control socket: blocking, standard library only."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlencode

from pullet.base.errors import PulletError, UsageError
from pullet.control.protocol import socket_path

if TYPE_CHECKING:  # asyncio costs a short command 40 ms
    from pullet.kit.worker_threads import StopFlag


class NodeNotRunningError(UsageError):
    """No node answers at this root."""

    reason: ClassVar[str] = "NodeNotRunning"


class RemoteError(PulletError):
    """The node refused or failed: its reason, its words, and what it says of cause and next step."""

    reason: ClassVar[str] = "Remote"

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("message", body)))
        self.remote_reason = str(body.get("reason", ""))
        self.cause = str(body.get("cause", ""))
        self.next_step = str(body.get("next_step", ""))


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(str(self._path))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self.sock.close()
            raise NodeNotRunningError(
                f"no node is running at {self._path.parent}: start one with `pullet up`, or name another with --root"
            ) from error
        except PermissionError as error:
            self.sock.close()
            raise UsageError(f"{self._path}: permission denied; run as the user who started the node (root)") from error


class ControlClient:
    """Asks the node at `root`; `node` chooses one of several ("" = the first)."""

    def __init__(self, root: Path, *, node: str = "") -> None:
        self._path = socket_path(root)
        self._node = node

    def is_running(self) -> bool:
        """Whether a node answers."""
        try:
            self.call("GET", "/v1/version")
        except NodeNotRunningError:
            return False
        return True

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        """One request, one JSON answer.

        Raises:
            NodeNotRunningError, RemoteError.
        """
        with self._request(method, path, body, query) as response:
            return json.loads(response.read() or b"null")

    def stream(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        stop: StopFlag | None = None,
        **query: str,
    ) -> Iterator[Any]:
        """One request, one JSON value per line until the end or `stop`; an error line raises RemoteError."""
        with self._request(method, path, body, query) as response:
            if stop is not None:
                descriptor = response.fileno()
                stop.on_stop(lambda: _hang_up(descriptor))
            for line in response:
                message = json.loads(line)
                if isinstance(message, dict) and message.get("kind") == "error":
                    raise RemoteError(message)
                yield message

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, query: dict[str, str]
    ) -> http.client.HTTPResponse:
        if self._node:
            query = {**query, "node": self._node}
        connection = _UnixConnection(self._path)
        target = quote(path) + (f"?{urlencode(query)}" if query else "")
        data = json.dumps(body).encode() if body is not None else None
        connection.request(method, target, data, {"Content-Type": "application/json", "Connection": "close"})
        response = connection.getresponse()
        if response.status >= 400:
            raw = response.read(1 << 16)
            try:
                raise RemoteError(json.loads(raw))
            except ValueError as error:
                raise RemoteError({"message": raw.decode(errors="replace")}) from error
        return response


def _hang_up(descriptor: int) -> None:
    """End a connection that another thread reads from, without closing it under that thread's feet."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        connection.shutdown(socket.SHUT_RDWR)

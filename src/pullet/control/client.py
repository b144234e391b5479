"""The command's side of the control socket: blocking, standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pullet.base.errors import PulletError, UsageError
from pullet.control.exchange import Exchange
from pullet.control.protocol import socket_path

if TYPE_CHECKING:  # asyncio costs a short command 40 ms
    from pullet.kit.worker_threads import StopFlag


_PLAIN = frozenset("/-abcdefghijklmnopqrstuvwxyz0123456789")


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


class NodeGoneError(PulletError):
    """The node went away before its answer was complete."""

    reason: ClassVar[str] = "NodeGone"

    def __init__(self, error: ConnectionError) -> None:
        super().__init__(f"the node went away: {error}")


class ControlClient:
    """Asks the node at `root`; `node` chooses one of several ("" = the first)."""

    def __init__(self, root: Path, *, node: str = "") -> None:
        self._path = socket_path(root)
        self._node = node

    def is_running(self) -> bool:
        """Whether a node answers."""
        try:
            self.call("GET", "/v1/version")
        except (NodeNotRunningError, NodeGoneError):
            return False
        return True

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> Any:
        """One request, one JSON answer.

        Raises:
            NodeNotRunningError, NodeGoneError, RemoteError.
        """
        with self._ask(method, path, body, query) as answer:
            try:
                return json.loads(answer.read() or b"null")
            except ConnectionError as error:
                raise NodeGoneError(error) from error

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
        with self._ask(method, path, body, query) as answer:
            forget = stop.on_stop(answer.hang_up) if stop is not None else None
            try:
                for line in answer.lines():
                    message = json.loads(line)
                    if isinstance(message, dict) and message.get("kind") == "error":
                        raise RemoteError(message)
                    yield message
            except ConnectionError as error:
                if stop is None or not stop.is_set:
                    raise NodeGoneError(error) from error
            finally:
                if forget is not None:
                    forget()

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, query: dict[str, str]) -> Exchange:
        if self._node:
            query = {**query, "node": self._node}
        target = _target(path, query) if query or not _PLAIN.issuperset(path) else path
        try:
            answer = Exchange(self._path, method, target, json.dumps(body).encode() if body is not None else None)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise NodeNotRunningError(
                f"no node is running at {self._path.parent}: start one with `pullet up`, or name another with --root"
            ) from error
        except PermissionError as error:
            raise UsageError(f"{self._path}: permission denied; run as the user who started the node (root)") from error
        except ConnectionError as error:
            raise NodeGoneError(error) from error
        if answer.status < 400:
            return answer
        with answer:
            raw = answer.read()
        try:
            raise RemoteError(json.loads(raw))
        except ValueError as error:
            raise RemoteError({"message": raw.decode(errors="replace")}) from error


def _target(path: str, query: dict[str, str]) -> str:
    from urllib.parse import quote, urlencode  # costs a short command that needs no quoting 2 ms

    return quote(path) + (f"?{urlencode(query)}" if query else "")

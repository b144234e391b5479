"""The HTTP/1.1 protocol of the server: uvicorn's, which also tells the application whose certificate it saw.

Requests that ask for SPDY/3.1 are handed to the application with their connection (`upgrade`).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pullet.apiserver.authentication import PEER_CERTIFICATE, PeerCertificate
from pullet.apiserver.upgrade import SPDY, UpgradedConnection


class ApiHttpProtocol(HttpToolsProtocol):
    """One connection. Pinned to uvicorn's internals; the e2e tests notice when they move."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Remember the client certificate for every request of the connection."""
        super().connection_made(transport)
        certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
        if certificate:
            encoded = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            peer = PeerCertificate(certificate.get("subject", ()), hashlib.sha256(encoded).hexdigest())
            self.app_state = {**self.app_state, PEER_CERTIFICATE: peer}

    def _should_upgrade(self) -> bool:
        return self._is_spdy() or super()._should_upgrade()

    def _is_spdy(self) -> bool:
        return self._get_upgrade() == SPDY.lower().encode()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over: to uvicorn's WebSockets, or with the request to the application."""
        if not self._is_spdy():
            super().handle_websocket_upgrade()
            return
        self.connections.discard(self)
        url = httptools.parse_url(self.url)
        scope: dict[str, Any] = {
            **self.scope,
            "path": unquote(url.path.decode("ascii")),
            "raw_path": url.path,
            "query_string": url.query or b"",
        }
        connection = UpgradedConnection(self.transport, self.loop)
        # a task of the server, as every request is: its shutdown waits for it and then cancels it
        task = self.loop.create_task(connection.serve(self.app, scope))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

"""The HTTP/1.1 protocol of the server: uvicorn's, which also tells the application whose certificate it saw."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pullet.apiserver.authentication import PEER_CERTIFICATE


class ApiHttpProtocol(HttpToolsProtocol):
    """One connection. Pinned to uvicorn's internals; the e2e tests notice when they move."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Remember the client certificate's subject for every request of the connection."""
        super().connection_made(transport)
        certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
        if certificate:
            self.app_state = {**self.app_state, PEER_CERTIFICATE: certificate.get("subject", ())}

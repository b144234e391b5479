"""ASGI applications on sockets that are bound before anything else starts, so that a taken port is said at once."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp

from pullet.base.errors import UsageError


class PortTakenError(UsageError):
    """Somebody else listens there."""

    reason: ClassVar[str] = "PortTaken"


def bind_tcp(address: str, port: int, *, what: str, option: str) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        PortTakenError: the text names the option that chooses another port.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # with its protocol named, or asyncio leaves Nagle on and each answer waits for the acknowledgement of its head
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"port {port} on {address} is taken, so {what} cannot listen there: choose another with {option}"
            ) from error
        raise UsageError(f"{what} cannot listen on {address}:{port}: {error.strerror}") from error
    listener.listen(1024)
    return listener


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner may open; a stale file at `path` is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    listener.listen(64)
    return listener


class _Server(uvicorn.Server):
    """Signals belong to the process, not to one of its servers."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def client_certificate_context(certificate: Path, key: Path, client_authority: Path) -> ssl.SSLContext:
    """TLS that answers only to clients whose certificate `client_authority` signed. Blocking."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(client_authority)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def serve(app: ASGIApp, listener: socket.socket, *, tls: ssl.SSLContext | None = None) -> None:
    """Serve until cancelled; connections still open then are closed."""

    def context(_config: uvicorn.Config, _default: Any) -> ssl.SSLContext:
        assert tls is not None
        return tls

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="off",
        http="httptools",
        ws="wsproto",
        ssl_context_factory=context if tls is not None else None,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=60,
    )
    server = _Server(config)
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()

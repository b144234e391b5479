"""Asks a proxy for a connection to somewhere else: CONNECT, or SOCKS5. Afterwards the stream leads there.

Names are looked up by the proxy. Source: RFC 9110 9.3.6; RFC 1928, RFC 1929; Go net/http, which treats socks5 and
socks5h alike.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pullet.kit.worker_threads import StopFlag
from pullet.registry.dial_target import DialTarget, os_text
from pullet.registry.proxies import PROXY_FAILURE, SOCKS_FAILURE, Proxy
from pullet.registry.tls_handshake import shut_down

_MAX_ANSWER_BYTES: Final = 16 * 1024
_VERSION, _CONNECT, _NO_LOGIN, _WITH_LOGIN = 5, 1, 0, 2
_IPV4, _NAME, _IPV6 = 1, 3, 4
_REFUSALS: Final = {
    1: "general SOCKS server failure",
    2: "connection not allowed by ruleset",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


def open_tunnel(stream: socket.socket, proxy: Proxy, target: DialTarget, stop: StopFlag) -> None:
    """CONNECT. Raises RegistryUnavailableError, StoppedError."""
    name = f"[{target.name}]" if ":" in target.name else target.name
    lines = [f"CONNECT {name}:{target.port} HTTP/1.1", f"Host: {name}:{target.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization.reveal()}")
    answer = b""
    with _talking(stream, target, stop, f"{PROXY_FAILURE}{proxy.host}"):
        stream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        while not answer.endswith(b"\r\n\r\n"):  # one by one: what follows belongs to the tunnel
            data = stream.recv(1)
            if not data or len(answer) > _MAX_ANSWER_BYTES:
                raise target.unavailable(f"{PROXY_FAILURE}{proxy.host} ended the connection")
            answer += data
    version, _, status = answer.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    if not version.startswith("HTTP/1.") or not status.startswith("2"):
        raise target.unavailable(f"{PROXY_FAILURE}{proxy.host} answered {status[:100] or 'no HTTP'}")


def open_socks(stream: socket.socket, proxy: Proxy, target: DialTarget, stop: StopFlag) -> None:
    """SOCKS5, with user and password where the proxy's URL has them. Raises RegistryUnavailableError, StoppedError."""
    where = f"{SOCKS_FAILURE}{proxy.name}:{proxy.port}->{target.name}:{target.port}"

    def read(size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = stream.recv(size - len(data))
            if not more:
                raise target.unavailable(f"{where}: EOF")
            data += more
        return data

    with _talking(stream, target, stop, where):
        methods = bytes((_NO_LOGIN, _WITH_LOGIN) if proxy.has_login else (_NO_LOGIN,))
        stream.sendall(bytes((_VERSION, len(methods))) + methods)
        version, method = read(2)
        if version != _VERSION:
            raise target.unavailable(f"{where}: unexpected protocol version {version}")
        if method not in methods:
            raise target.unavailable(f"{where}: no acceptable authentication methods")
        if method == _WITH_LOGIN:
            user, password = proxy.user.reveal().encode(), proxy.password.reveal().encode()
            stream.sendall(bytes((1, len(user))) + user + bytes((len(password),)) + password)
            if read(2)[1] != 0:
                raise target.unavailable(f"{where}: username/password authentication failed")
        stream.sendall(bytes((_VERSION, _CONNECT, 0)) + _address(target.name) + struct.pack(">H", target.port))
        _, code, _, kind = read(4)
        if code != 0:
            raise target.unavailable(f"{where}: unknown error {_REFUSALS.get(code, f'code: {code}')}")
        # the address it connects from, which is of no use here
        read({_IPV4: 4, _IPV6: 16}.get(kind) or read(1)[0])
        read(2)


def _address(name: str) -> bytes:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        encoded = name.encode()
        return bytes((_NAME, len(encoded))) + encoded
    return bytes((_IPV4 if address.version == 4 else _IPV6,)) + address.packed


@contextmanager
def _talking(stream: socket.socket, target: DialTarget, stop: StopFlag, where: str) -> Iterator[None]:
    """Turns failures of the stream into the target's; a stop wakes whoever waits inside."""
    forget = stop.on_stop(lambda: shut_down(stream))
    try:
        yield
    except OSError as error:
        stop.check()
        detail = "i/o timeout" if isinstance(error, TimeoutError) else os_text(error)
        raise target.unavailable(f"{where}: {detail}") from error
    finally:
        forget()
    stop.check()

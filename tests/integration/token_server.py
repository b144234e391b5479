"""A token server as registries use it: RS256 JWTs for the scopes of an access list. Source: distribution token.md."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER, SERVICE = "pullet-tests", "registry"


@dataclass(frozen=True)
class TokenServer:
    """Running; `bundle` is the certificate the registry must trust."""

    url: str
    bundle: Path
    scopes: list[str]  # of every token asked for


@contextmanager
def token_server(directory: Path, users: dict[str, str]) -> Iterator[TokenServer]:
    """Every known user may do anything; nobody else gets access to anything."""
    certificate = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert("localhost", key_type=trustme.KeyType.RSA)
    bundle = directory / "token.pem"
    certificate.cert_chain_pems[0].write_to_path(str(bundle))
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("trustme gave no RSA key")
    sign_key = key
    lines = certificate.cert_chain_pems[0].bytes().decode().splitlines()
    der = "".join(line for line in lines if not line.startswith("-"))
    scopes: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            asked = query.get("scope", [])
            scopes.extend(asked)
            name, password = _user(self.headers.get("Authorization", ""))
            is_known = name in users and users[name] == password
            if name and not is_known:
                self._answer(401, {})
                return
            access = [_access(scope) for scope in asked] if is_known else []
            self._answer(200, {"token": _sign(sign_key, der, name, access), "expires_in": 60})

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield TokenServer(f"http://127.0.0.1:{server.server_address[1]}/token", bundle, scopes)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _user(header: str) -> tuple[str, str]:
    name, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    return name, password


def _access(scope: str) -> dict[str, Any]:
    kind, name, actions = scope.split(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _sign(key: rsa.RSAPrivateKey, der: str, subject: str, access: list[dict[str, Any]]) -> str:
    now = int(time.time())
    header = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
    claims = {
        "iss": ISSUER,
        "sub": subject,
        "aud": SERVICE,
        "exp": now + 60,
        "nbf": now - 10,
        "iat": now,
        "jti": str(now),
        "access": access,
    }
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    return b".".join((signed, _encoded(key.sign(signed, padding.PKCS1v15(), hashes.SHA256())))).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

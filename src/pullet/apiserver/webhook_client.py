"""One HTTPS POST to an admission webhook, within its time. Failures are told in the words of Go's client."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from pullet.apiserver.node_client import READ_BYTES, NodeResponse, NodeUnreachableError
from pullet.base.errors import PulletError
from pullet.kit.worker_threads import WorkerThreads
from pullet.kube.field_error import quote

_MAX_ANSWER_BYTES = 8 * 1024 * 1024
_UNTRUSTED = frozenset({18, 19, 20, 21})  # OpenSSL's codes for chains that end in no known authority


class WebhookCallError(PulletError):
    """No usable answer; the text says why. Becomes a refusal or is ignored, as the webhook's failurePolicy says."""

    reason = "WebhookCallFailed"


class WebhookClient:
    """Posts to webhooks; keeps the TLS contexts of the authorities seen."""

    def __init__(self, *, threads: WorkerThreads) -> None:
        self._threads = threads
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def post(self, url: str, body: bytes, *, authority_pem: str, seconds: int) -> bytes:
        """The body of the answer with status 200 to 299. An empty `authority_pem` trusts what the system trusts.

        Raises:
            WebhookCallError: not connected, not trusted, not in time, or another status.
        """
        target = f"{url}?timeout={seconds}s"
        try:
            context = await self._context(authority_pem)
            async with asyncio.timeout(seconds):
                status, answer = await _post(target, body, context)
        except TimeoutError as error:
            raise WebhookCallError(f"Post {quote(target)}: context deadline exceeded") from error
        except (OSError, NodeUnreachableError) as error:
            raise WebhookCallError(f"Post {quote(target)}: {_reason(error, url)}") from error
        if 200 <= status < 300:
            return answer
        if status == 404:
            raise WebhookCallError("the server could not find the requested resource")
        text = answer.decode(errors="replace").strip()[:2048]
        if status >= 500:
            raise WebhookCallError(f"an error on the server ({quote(text)}) has prevented the request from succeeding")
        raise WebhookCallError(
            f"the server responded with the status code {status} but did not return more information"
        )

    async def _context(self, authority_pem: str) -> ssl.SSLContext:
        found = self._contexts.get(authority_pem)
        if found is None:
            found = await self._threads.run(_tls, authority_pem)
            if len(self._contexts) >= 64:
                self._contexts.clear()
            self._contexts[authority_pem] = found
        return found


def _tls(authority_pem: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=authority_pem or None)
    except ssl.SSLError as error:
        raise WebhookCallError("unable to load root certificates: unable to parse bytes as PEM block") from error


async def _post(target: str, body: bytes, tls: ssl.SSLContext) -> tuple[int, bytes]:
    parts = urlsplit(target)
    host = parts.hostname or ""
    reader, writer = await asyncio.open_connection(host, parts.port or 443, ssl=tls, limit=READ_BYTES)
    response = NodeResponse(reader, writer)
    try:
        head = (
            f"POST {parts.path or '/'}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "User-Agent: kube-apiserver-admission\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode("latin-1"))
        writer.write(body)
        await writer.drain()
        await response.read_head()
        answer = bytearray()
        async for chunk in response.chunks():
            answer += chunk
            if len(answer) > _MAX_ANSWER_BYTES:
                raise WebhookCallError(f"the answer is larger than {_MAX_ANSWER_BYTES} bytes")
        return response.status, bytes(answer)
    finally:
        await response.close()


def _reason(error: Exception, url: str) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            is_untrusted = error.verify_code in _UNTRUSTED
            why = "certificate signed by unknown authority" if is_untrusted else error.verify_message
            return f"tls: failed to verify certificate: x509: {why}"
        case ssl.SSLError():
            return f"tls: {error.reason or error}"
        case NodeUnreachableError():
            return "EOF" if "closed the connection" in str(error) else str(error)
        case _:
            parts = urlsplit(url)
            where = f"{parts.hostname}:{parts.port or 443}"
            if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
                return f"dial tcp {where}: connect: connection refused"
            return f"dial tcp {where}: {(error.strerror if isinstance(error, OSError) else '') or error}"

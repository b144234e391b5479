"""TLS with a registry or with a proxy, and what its failures mean."""

from __future__ import annotations

import socket
import ssl
from typing import Final, TypeAlias

from pullet.kit.worker_threads import StopFlag
from pullet.registry.dial_target import DialTarget, os_text
from pullet.registry.endpoint import TlsSettings
from pullet.registry.errors import (
    CertificateError,
    CertificateExpiredError,
    CertificateNameError,
    HostsConfigError,
    PlainHttpError,
    RegistryUnavailableError,
)
from pullet.registry.nested_tls import NestedTls
from pullet.registry.proxies import PROXY_FAILURE, Proxy

Stream: TypeAlias = socket.socket | NestedTls
_PLAIN_HTTP_REASONS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
)


def wire_of(stream: Stream) -> socket.socket:
    """The kernel's socket below `stream`."""
    return stream.wire if isinstance(stream, NestedTls) else stream


def shut_down(stream: Stream) -> None:
    """Wake whoever reads or writes, from any thread: they see an error or the end. May raise OSError."""
    # the base class's shutdown: SSLSocket's would drop the TLS state under the feet of the reading thread
    socket.socket.shutdown(wire_of(stream), socket.SHUT_RDWR)


def make_context(tls: TlsSettings) -> ssl.SSLContext:
    """Raises HostsConfigError: a CA or client certificate file cannot be used."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for file in tls.ca_files:
        try:
            context.load_verify_locations(cafile=file)
        except OSError as error:  # SSLError is one
            raise HostsConfigError(f"CA file {file} cannot be used: {os_text(error)}") from error
    for certificate, key in tls.client_pairs:
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise HostsConfigError(
                f"client certificate {certificate} with key {key} cannot be used: {os_text(error)}"
            ) from error
    return context


def start_tls(
    stream: socket.socket,
    context: ssl.SSLContext,
    target: DialTarget,
    stop: StopFlag,
    *,
    timeout_seconds: float,
    proxy: Proxy | None = None,
) -> Stream:
    """TLS over `stream`, with the registry or, where one is given, with the proxy. Closes `stream` on failure.

    Raises:
        RegistryUnavailableError: with its leaves for TLS; those of a proxy are told as the proxy's.
        StoppedError: `stop` was set meanwhile.
    """
    name = proxy.name if proxy is not None else target.name
    stream.settimeout(timeout_seconds)
    wrapped: ssl.SSLSocket | NestedTls
    try:
        if isinstance(stream, ssl.SSLSocket):
            wrapped = NestedTls(stream, context, name)
        else:
            wrapped = context.wrap_socket(stream, server_hostname=name, do_handshake_on_connect=False)
    except (OSError, ValueError) as error:
        stream.close()
        raise target.unavailable(os_text(error)) from error
    forget = stop.on_stop(lambda: shut_down(wrapped))
    try:
        wrapped.do_handshake()
    except (OSError, ValueError) as error:
        wrapped.close()
        stop.check()
        raise _failure(error, target, name, is_proxy=proxy is not None) from error
    except BaseException:
        wrapped.close()
        raise
    finally:
        forget()
    return wrapped


def _failure(error: OSError | ValueError, target: DialTarget, name: str, *, is_proxy: bool) -> RegistryUnavailableError:
    kind: type[RegistryUnavailableError] = RegistryUnavailableError
    if isinstance(error, ssl.SSLCertVerificationError):
        kind, text = _certificate_failure(error, name)
        text = f"tls: failed to verify certificate: x509: {text}"
    elif isinstance(error, ssl.SSLError) and error.reason in _PLAIN_HTTP_REASONS:
        text = "http: server gave HTTP response to HTTPS client"
        kind = PlainHttpError
        if is_proxy:
            text = "tls: first record does not look like a TLS handshake"
    elif isinstance(error, TimeoutError):
        text = "net/http: TLS handshake timeout"
    else:
        text = f"remote error: tls: {error.reason}" if isinstance(error, ssl.SSLError) else os_text(error)
    if is_proxy:  # hosts.toml, to which the leaves point, is not about proxies
        return target.unavailable(f"{PROXY_FAILURE}{text}")
    return target.unavailable(text, kind)


def _certificate_failure(error: ssl.SSLCertVerificationError, name: str) -> tuple[type[CertificateError], str]:
    match error.verify_code:
        case 9 | 10:
            return CertificateExpiredError, "certificate has expired or is not yet valid"
        case 62 | 64:
            return CertificateNameError, f"certificate is not valid for {name}"
        case 18 | 19 | 20 | 21:
            return CertificateError, "certificate signed by unknown authority"
        case _:
            return CertificateError, error.verify_message

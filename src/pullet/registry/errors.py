"""What can go wrong with a registry.

RegistryError(host, method, url)
├ UnauthorizedError         401, or no credential for the challenge, or the token server refused
├ DeniedError               403
├ ManifestUnknownError      404 of a manifest at every endpoint
├ BlobUnknownError          404 of a blob at every endpoint
├ TooManyRequestsError      429                              (retryable)
├ UnexpectedStatusError     any other status                 (retryable from 500 on)
├ RegistryUnavailableError  no HTTP answer: DNS, refused, timeout, TLS, cut      (retryable)
│ ├ CertificateError        the server's certificate does not verify
│ │ ├ CertificateExpiredError  its time is over or not yet come
│ │ └ CertificateNameError     it is for other names
│ ├ PlainHttpError          TLS was spoken to a registry that speaks plain HTTP
│ └ TlsExpectedError        plain HTTP was spoken to a registry that speaks TLS
├ ContentMismatchError      what came is not what its descriptor says
└ HostsConfigError          a hosts.toml that cannot be used

Texts are one plain sentence; the wording that containerd has for the same facts is made by the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from pullet.base.errors import PulletError
from pullet.base.redact import redact_url
from pullet.oci.distribution import RegistryMessage

SHOWN_BODY_CHARACTERS = 256


class RegistryError(PulletError):
    """A failed exchange. `host` has its port; `url` is without secrets; `status` is 0 where there was no answer."""

    reason: ClassVar[str] = "RegistryError"

    def __init__(
        self,
        message: str,
        *,
        host: str = "",
        method: str = "",
        url: str = "",
        status: int = 0,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.host, self.method, self.url, self.status = host, method, redact_url(url), status
        self.retry_after_seconds = retry_after_seconds


class StatusError(RegistryError):
    """An answer with an error status, with the registry's own messages.

    `is_token_request`: the answer was the token server's; `was_anonymous` then says that no credential was sent to it.
    """

    is_token_request: bool = False
    was_anonymous: bool = False
    is_json: bool = True  # as registries answer, other servers in front of them often not

    def __init__(
        self,
        *,
        host: str,
        method: str,
        url: str,
        status: int,
        messages: Sequence[RegistryMessage] = (),
        body: str = "",
        retry_after_seconds: float | None = None,
        detail: str = "",
    ) -> None:
        self.messages = tuple(messages)
        said = "; ".join(map(str, messages)) or body.strip()[:SHOWN_BODY_CHARACTERS]
        self.said = said
        self.detail = detail
        text = f"{host} answered {status_text(status)} to {method} {redact_url(url)}"
        for extra in filter(None, (detail, said)):
            text = f"{text}: {extra}"
        super().__init__(
            text, host=host, method=method, url=url, status=status, retry_after_seconds=retry_after_seconds
        )


class UnauthorizedError(StatusError):
    """Who asks is not known to the registry, or may not pull this.

    `had_credential`: one was offered. `challenge`: what the registry wants, `basic` or `bearer`; `detail` is a token
    server's or registry's own word for it, such as insufficient_scope.
    """

    reason: ClassVar[str] = "Unauthorized"
    had_credential: bool = False
    challenge: str = ""


class DeniedError(StatusError):
    """Who asks is known and may not."""

    reason: ClassVar[str] = "Denied"


class TooManyRequestsError(StatusError):
    """Rate limited; `retry_after_seconds` as the registry wished."""

    reason: ClassVar[str] = "TooManyRequests"
    retryable: ClassVar[bool] = True


class UnexpectedStatusError(StatusError):
    """Any other status."""

    reason: ClassVar[str] = "UnexpectedStatus"


class ManifestUnknownError(RegistryError):
    """No endpoint has the manifest."""

    reason: ClassVar[str] = "ManifestUnknown"


class BlobUnknownError(RegistryError):
    """No endpoint has the blob."""

    reason: ClassVar[str] = "BlobUnknown"


class RegistryUnavailableError(RegistryError):
    """No HTTP answer. `detail` is the network's failure in Go's words, which every reader of pull errors knows.

    `next_step` is the setting that helps, "" for none: `advice` about a host that images are named by, or
    `advice_elsewhere` about one that serves another name's images (its requests say whose: `?ns=`).
    """

    reason: ClassVar[str] = "RegistryUnavailable"
    retryable: ClassVar[bool] = True
    advice: ClassVar[str] = ""
    advice_elsewhere: ClassVar[str] = ""

    def __init__(self, *, host: str, method: str, url: str, detail: str, was_cut: bool = False) -> None:
        domain = next(iter(parse_qs(urlsplit(url).query).get("ns", ())), "")
        template = self.advice_elsewhere if domain else self.advice
        self.next_step = template.format(host=host, domain=domain)
        advice = f"; {self.next_step}" if self.next_step else ""
        super().__init__(f"no answer from registry {host}: {detail}{advice}", host=host, method=method, url=url)
        self.detail = detail
        self.was_cut = was_cut  # the connection was made and then lost, so that trying again may help at once


class CertificateError(RegistryUnavailableError):
    """The certificate is not trusted."""

    reason: ClassVar[str] = "CertificateInvalid"
    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = 'trust its CA with `ca = "/path/ca.crt"` in certs.d/{host}/hosts.toml'
    advice_elsewhere: ClassVar[str] = (
        'trust the CA of {host} with `ca = "/path/ca.crt"` where certs.d/{domain}/hosts.toml names it'
    )


class CertificateExpiredError(CertificateError):
    """The certificate is trusted, but not now."""

    reason: ClassVar[str] = "CertificateExpired"
    advice: ClassVar[str] = "the certificate of {host} must be renewed, unless the clock of this node is wrong"
    advice_elsewhere: ClassVar[str] = advice


class CertificateNameError(CertificateError):
    """The certificate is for other names."""

    reason: ClassVar[str] = "CertificateNameMismatch"
    advice: ClassVar[str] = "use a name of {host} that its certificate is for, or have it made for this one"
    advice_elsewhere: ClassVar[str] = advice


class PlainHttpError(RegistryUnavailableError):
    """The registry answered a TLS hello with plain HTTP."""

    reason: ClassVar[str] = "PlainHttpRegistry"
    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = (
        'the registry speaks plain http: say so with `server = "http://{host}"` in certs.d/{host}/hosts.toml'
    )
    advice_elsewhere: ClassVar[str] = (
        "{host} speaks plain http: write `http://{host}` where certs.d/{domain}/hosts.toml names it"
    )


class TlsExpectedError(RegistryUnavailableError):
    """The registry answered plain HTTP with TLS, or said that it wants TLS."""

    reason: ClassVar[str] = "TlsRegistry"
    retryable: ClassVar[bool] = False
    advice: ClassVar[str] = (
        'the registry speaks TLS: say so with `server = "https://{host}"` in certs.d/{host}/hosts.toml'
    )
    advice_elsewhere: ClassVar[str] = (
        "{host} speaks TLS: write `https://{host}` where certs.d/{domain}/hosts.toml names it"
    )


class ContentMismatchError(RegistryError):
    """Digest or size of what came differ from the descriptor."""

    reason: ClassVar[str] = "ContentMismatch"

    def __init__(self, *, host: str, url: str, what: str, want: str, got: str) -> None:
        super().__init__(
            f"{what} from {host} is not what was asked for: want {want}, got {got}", host=host, method="GET", url=url
        )
        self.what, self.want, self.got = what, want, got


class HostsConfigError(RegistryError):
    """A hosts.toml or mirror setting is wrong; the text names file and key."""

    reason: ClassVar[str] = "HostsConfigInvalid"


def status_text(status: int) -> str:
    """`404 Not Found`, as Go's Response.Status."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)

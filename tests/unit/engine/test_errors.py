"""Texts as containerd words them; the examples are from recordings of real pulls."""

from __future__ import annotations

import pytest

from pullet.base.errors import PulletError
from pullet.cri.errors import CriError, FailedPreconditionError, NotFoundError, ResourceExhaustedError
from pullet.engine.errors import PullStep, invalid_reference, to_cri_error, worded
from pullet.engine.pull_errors import NoPlatformError
from pullet.kit.worker_threads import StoppedError
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.distribution import RegistryMessage
from pullet.oci.reference import ReferenceInvalidError, parse_normalized
from pullet.registry.errors import (
    BlobUnknownError,
    CertificateError,
    ContentMismatchError,
    DeniedError,
    ManifestUnknownError,
    PlainHttpError,
    RegistryUnavailableError,
    StatusError,
    TooManyRequestsError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from pullet.store.errors import (
    DiffIDMismatchError,
    DigestMismatchError,
    DiskFullError,
    LayerCorruptError,
    LayerRefusedError,
    SizeMismatchError,
)

NAME = "docker.io/library/nginx:1.17.5"
PULL = f'failed to pull and unpack image "{NAME}": '
RESOLVE = f'{PULL}failed to resolve reference "{NAME}": '
COPY = f"{PULL}failed to copy: httpReadSeeker: failed open: "
URL = "http://127.0.0.1:5001/v2/team/app/manifests/1.0?ns=registry.example.com"
LAYER = Descriptor(media_type=mediatype.OCI_LAYER_GZIP, digest=Digest.of(b"layer"), size=10)
WANT, GOT = Digest.of(b"want"), Digest.of(b"got")


def at_host(kind: type[RegistryUnavailableError], detail: str) -> RegistryUnavailableError:
    return kind(host="127.0.0.1:5999", method="HEAD", url="https://127.0.0.1:5999/v2/app/manifests/1.0", detail=detail)


def status(kind: type[StatusError], number: int, *messages: RegistryMessage) -> StatusError:
    return kind(host="127.0.0.1:5001", method="HEAD", url=URL, status=number, messages=messages)


def unauthorized(*, had_credential: bool, challenge: str, detail: str = "") -> UnauthorizedError:
    error = UnauthorizedError(host="127.0.0.1:5001", method="HEAD", url=URL, status=401, detail=detail)
    error.had_credential, error.challenge = had_credential, challenge
    return error


def token_refused(*, was_anonymous: bool) -> UnauthorizedError:
    error = UnauthorizedError(host="auth.example.com", method="GET", url="https://auth.example.com/token", status=401)
    error.is_token_request, error.was_anonymous = True, was_anonymous
    return error


RESOLVING: list[tuple[PulletError, type[CriError], str]] = [
    (ManifestUnknownError("gone"), NotFoundError, f"{NAME}: not found"),
    (
        at_host(RegistryUnavailableError, "dial tcp 127.0.0.1:5999: connect: connection refused"),
        CriError,
        'failed to do request: Head "https://127.0.0.1:5999/v2/app/manifests/1.0": '
        "dial tcp 127.0.0.1:5999: connect: connection refused",
    ),
    (
        at_host(PlainHttpError, "http: server gave HTTP response to HTTPS client"),
        CriError,
        'failed to do request: Head "https://127.0.0.1:5999/v2/app/manifests/1.0": '
        "http: server gave HTTP response to HTTPS client",
    ),
    (
        status(UnexpectedStatusError, 500),
        CriError,
        f"unexpected status from HEAD request to {URL}: 500 Internal Server Error",
    ),
    (
        status(TooManyRequestsError, 429),
        CriError,
        f"unexpected status from HEAD request to {URL}: 429 Too Many Requests",
    ),
    (
        status(DeniedError, 403, RegistryMessage("DENIED", "requested access to the resource is denied")),
        CriError,
        f"unexpected status from HEAD request to {URL}: 403 Forbidden\ndenied",
    ),
    (status(DeniedError, 403), CriError, f"unexpected status from HEAD request to {URL}: 403 Forbidden"),
    (
        unauthorized(had_credential=False, challenge="basic"),
        CriError,
        "pull access denied, repository does not exist or may require authorization: "
        "authorization failed: no basic auth credentials",
    ),
    (
        unauthorized(had_credential=True, challenge="basic"),
        CriError,
        f"unexpected status from HEAD request to {URL}: 401 Unauthorized",
    ),
    (
        unauthorized(had_credential=True, challenge="bearer", detail="insufficient_scope"),
        CriError,
        "pull access denied, repository does not exist or may require authorization: "
        "server message: insufficient_scope: authorization failed",
    ),
    (
        token_refused(was_anonymous=True),
        CriError,
        "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to "
        "https://auth.example.com/token: 401 Unauthorized",
    ),
    (
        token_refused(was_anonymous=False),
        CriError,
        "failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
        "https://auth.example.com/token: 401 Unauthorized",
    ),
]


@pytest.mark.parametrize(("error", "kind", "text"), RESOLVING)
def test_while_resolving(error: PulletError, kind: type[CriError], text: str) -> None:
    made = to_cri_error(error, PullStep(reference=NAME))
    assert type(made) is kind
    assert made.message == RESOLVE + text
    assert made.cause == str(error)
    assert made.next_step


FETCHING: list[tuple[PulletError, type[CriError], str]] = [
    (
        BlobUnknownError("gone"),
        NotFoundError,
        f"{COPY}could not fetch content descriptor {LAYER.digest} ({LAYER.media_type}) from remote: not found",
    ),
    (status(UnexpectedStatusError, 500), CriError, f"{COPY}unexpected status code {URL}: 500 Internal Server Error"),
    (
        at_host(RegistryUnavailableError, "unexpected EOF"),
        CriError,
        f'{COPY}failed to do request: Head "https://127.0.0.1:5999/v2/app/manifests/1.0": unexpected EOF',
    ),
    (
        ContentMismatchError(host="h", url="", what="manifest", want=WANT, got=GOT),
        FailedPreconditionError,
        f'{PULL}failed commit on ref "manifest-{WANT}": unexpected commit digest {GOT}, expected {WANT}: '
        "failed precondition",
    ),
    (
        DigestMismatchError(want=WANT, got=GOT, size_bytes=3),
        FailedPreconditionError,
        f'{PULL}failed commit on ref "layer-{WANT}": unexpected commit digest {GOT}, expected {WANT}: '
        "failed precondition",
    ),
    (
        SizeMismatchError(digest=WANT, want_bytes=20, got_bytes=10),
        FailedPreconditionError,
        f'{PULL}failed commit on ref "layer-{WANT}": "layer-{WANT}" failed size validation: 10 != 20: '
        "failed precondition",
    ),
    (
        DiffIDMismatchError(layer=LAYER.digest, want=WANT, got=GOT),
        CriError,
        f'{PULL}failed to extract layer {WANT}: wrong diff id calculated on extraction "{GOT}"',
    ),
    (
        LayerCorruptError(layer=LAYER.digest, detail="not gzip"),
        CriError,
        f"{PULL}failed to extract layer {LAYER.digest}: layer {LAYER.digest} is corrupt: not gzip",
    ),
    (
        DiskFullError("no space left for the image store at /x"),
        ResourceExhaustedError,
        f"{PULL}failed to extract layer {LAYER.digest}: no space left on device",
    ),
    (
        NoPlatformError(wanted="linux/amd64", available="linux/arm64"),
        NotFoundError,
        f"{PULL}no match for platform in manifest: not found",
    ),
]


@pytest.mark.parametrize(("error", "kind", "text"), FETCHING)
def test_while_fetching(error: PulletError, kind: type[CriError], text: str) -> None:
    made = to_cri_error(error, PullStep(reference=NAME, content=LAYER))
    assert type(made) is kind
    assert made.message == text
    assert made.cause == str(error)
    assert made.next_step


def test_a_refused_layer_names_entry_and_rule() -> None:
    error = LayerRefusedError(layer=LAYER.digest, entry=b"../etc/passwd", rule="leaves the root")
    text = to_cri_error(error, PullStep(reference=NAME, content=LAYER)).message
    assert "'../etc/passwd': leaves the root" in text


def test_a_settings_advice_names_the_host() -> None:
    made = to_cri_error(at_host(CertificateError, "x509: unknown"), PullStep(reference=NAME))
    assert made.next_step == 'trust its CA with `ca = "/path/ca.crt"` in certs.d/127.0.0.1:5999/hosts.toml'


def test_an_unparsable_name() -> None:
    with pytest.raises(ReferenceInvalidError) as caught:
        parse_normalized("Nginx:1.17.1")
    error = invalid_reference("Nginx:1.17.1", caught.value)
    assert str(error) == (
        'failed to parse image reference "Nginx:1.17.1": invalid reference format: '
        "repository name (library/Nginx) must be lowercase"
    )


def test_a_stop_is_no_error_of_the_pull() -> None:
    with pytest.raises(StoppedError), worded(PullStep(reference=NAME)):
        raise StoppedError("stopped")


def test_what_is_worded_stays_as_it_is() -> None:
    error = NotFoundError("said already")
    with pytest.raises(NotFoundError) as caught, worded(PullStep(reference=NAME)):
        raise error
    assert caught.value is error

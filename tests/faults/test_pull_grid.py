"""The fault grid: every trouble × {manifest, config, layer} × {no mirror, good mirror, bad mirror first}.

Each cell asserts the outcome, the error's words, what the journal is told, what was fetched twice, that nothing is left
behind, and that the next pull heals. No cell may take longer than CELL_SECONDS.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from tests.faults.pull_world import (
    ENDPOINTS,
    LAYER_BYTES,
    TARGETS,
    Endpoints,
    Lane,
    PullResult,
    Target,
    Trouble,
    make_image,
    open_world,
    path_of,
    server_context,
    size_of,
)

from pullet.oci.image_builder import BuiltImage
from pullet.testing.fake_registry import FakeRegistry
from pullet.testing.registry_faults import Fault

pytestmark = pytest.mark.root

PULL = 'failed to pull and unpack image "r.example.com/team/app:1.0": '
RESOLVE = PULL + 'failed to resolve reference "r.example.com/team/app:1.0": '
COPY = PULL + "failed to copy: httpReadSeeker: failed open: "
CHUNK_BYTES = 128 * 1024


def request_fails(detail: str) -> dict[Target, str]:
    """The words for requests that got no answer."""
    blob = rf'^{COPY}failed to do request: Get ".*": {detail}$'
    return {"manifest": rf'^{RESOLVE}failed to do request: Head ".*": {detail}$', "config": blob, "layer": blob}


def status_is(text: str) -> dict[Target, str]:
    """The words for answers that are refusals."""
    blob = rf"^{COPY}unexpected status code http://.*: {text}$"
    return {
        "manifest": rf"^{RESOLVE}unexpected status from HEAD request to http://.*: {text}$",
        "config": blob,
        "layer": blob,
    }


def cut_at(share: float, times: int | None) -> Trouble:
    """The connection breaks after that share of the body."""

    def fault(image: BuiltImage, target: Target, _: Lane) -> Fault:
        size = size_of(image, target)
        return Fault(method="GET", path=path_of(image, target), cut_after=int(size * share), times=times)

    name = f"cut at {share:.0%} {'always' if times is None else 'once'}"
    return Trouble(name=name, fault=fault, text="unexpected EOF$" if times is None else "")


def plain(name: str, text: object, *, attempt: str = "", **settings: object) -> Trouble:
    """A trouble with a fault of fixed settings on the target's requests."""

    def fault(image: BuiltImage, target: Target, _: Lane) -> Fault:
        return Fault(path=path_of(image, target), **settings)  # type: ignore[arg-type]  # settings are Fault's own

    return Trouble(name=name, fault=fault, text=text, attempt=attempt)  # type: ignore[arg-type]  # text is Texts


def redirected(name: str, lane: str, detail: str) -> Trouble:
    """A trouble of the network: the target is found at an address where it happens."""

    def fault(image: BuiltImage, target: Target, lanes: Lane) -> Fault:
        where = f"http://127.0.0.1:{lanes.closed_port}" if lane == "closed_port" else getattr(lanes, lane, lane)
        return Fault(path=path_of(image, target), redirect_to=where)

    return Trouble(name=name, fault=fault, text=request_fails(detail), attempt=f"^0 {detail}")


def wrong_length(difference: int) -> Trouble:
    """Content-Length is not the body's."""

    def fault(image: BuiltImage, target: Target, _: Lane) -> Fault:
        length = size_of(image, target) + difference
        return Fault(method="GET", path=path_of(image, target), content_length=length)

    layer = f"is not what was asked for: want .* bytes, got {'.*'} bytes"
    document = "unexpected EOF$" if difference > 0 else "unexpected commit digest .*: failed precondition$"
    return Trouble(
        name=f"Content-Length {difference:+d}",
        fault=fault,
        text={"manifest": document, "config": document, "layer": layer},
    )


TROUBLES = (
    redirected("DNS", "http://registry.invalid", "dial tcp: lookup registry.invalid: .*"),
    redirected("refused", "closed_port", r"dial tcp 127.0.0.1:\d+: connect: connection refused"),
    redirected("unknown CA", "unknown_ca", "tls: failed to verify certificate: x509: .* unknown authority"),
    redirected("expired", "expired", "tls: failed to verify certificate: x509: certificate has expired .*"),
    plain("401", f"^({RESOLVE}|{PULL}).*pull access denied", attempt="^401 ", status=401),
    plain("403", status_is("403 Forbidden"), attempt="^403 ", status=403),
    plain("404", {
        "manifest": f"^{RESOLVE}r.example.com/team/app:1.0: not found$",
        "config": f"^{COPY}could not fetch content descriptor sha256:.* from remote: not found$",
        "layer": f"^{COPY}could not fetch content descriptor sha256:.* from remote: not found$",
    }, attempt="^404 ", status=404),
    plain("429", status_is("429 Too Many Requests"), attempt="^429 ", status=429),
    plain("429 once, Retry-After 0", "", attempt="^429 ", status=429, headers={"Retry-After": "0"}, times=1),
    plain("429, Retry-After 1 h", status_is("429 Too Many Requests"), status=429, headers={"Retry-After": "3600"}),
    plain("500", status_is("500 Internal Server Error"), attempt="^500 ", status=500),
    plain("503 twice", "", attempt="^503 ", status=503, times=2),
    plain("no answer", request_fails("EOF"), attempt="^0 EOF", is_silent=True),
    plain("no answer once", "", is_silent=True, times=1),
    plain("stall before the answer", request_fails(".*timeout.*"), attempt="^0 .*timeout", delay_seconds=60),
    plain("drip", "(download stalled|timeout)", bytes_per_second=20),
    cut_at(0, 1), cut_at(0.5, 1), cut_at(0.99, 1), cut_at(0, None),
    wrong_length(+100), wrong_length(-1),
    plain("wrong digest", "unexpected commit digest sha256:.*, expected sha256:.*: failed precondition$",
          method="GET", is_corrupt=True),
)  # fmt: skip


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def lane(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """Wrong places to be sent to; the CA of the expired certificate is trusted."""
    bundle = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    past = datetime.now(UTC) - timedelta(days=1)
    expired = authority.issue_cert("127.0.0.1", not_before=past - timedelta(days=1), not_after=past)
    stranger = trustme.CA(key_type=trustme.KeyType.ECDSA).issue_cert("127.0.0.1")
    with (
        pytest.MonkeyPatch.context() as patch,
        FakeRegistry(tls=server_context(expired)) as old,
        FakeRegistry(tls=server_context(stranger)) as unknown,
        socket.socket() as unused,
    ):
        patch.setenv("SSL_CERT_FILE", str(bundle))
        unused.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        yield Lane(unused.getsockname()[1], unknown.url, old.url)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[FakeRegistry, FakeRegistry]]:
    """A registry that will be in trouble, and a good one."""
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(FakeRegistry()), await stack.enter_async_context(FakeRegistry())


@pytest.mark.parametrize("endpoints", ENDPOINTS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.name)
async def test_cell(
    tmp_path: Path,
    pair: tuple[FakeRegistry, FakeRegistry],
    lane: Lane,
    trouble: Trouble,
    target: Target,
    endpoints: Endpoints,
) -> None:
    bad, good = pair
    image = make_image()
    for registry in pair:
        registry.push(image, "team/app", "1.0")
    bad.inject(trouble.fault(image, target, lane))
    order = {"no mirror": [bad], "good mirror": [good, bad], "bad mirror first": [bad, good]}[endpoints]
    text = trouble.text_for(target) if endpoints == "no mirror" else ""
    async with open_world(tmp_path / "store", *order) as world:
        result = await world.pull()
        if text:
            assert_failed(result, text)
            await asyncio.to_thread(world.assert_clean)
        else:
            assert result.error is None, result.error
            await asyncio.to_thread(world.assert_whole, image)
        assert_reported(result, trouble, bad if endpoints != "good mirror" else None, image)
        if endpoints == "good mirror":
            assert bad.requests() == []
        assert_nothing_fetched_twice(pair, image, result, has_failed=bool(text))
        bad.clear_faults()
        healed = await world.pull()
        assert healed.error is None, healed.error
        await asyncio.to_thread(world.assert_whole, image)


def assert_failed(result: PullResult, text: str) -> None:
    assert result.error is not None
    assert re.search(text, result.error.message), result.error.message
    assert result.error.cause
    assert result.error.next_step


def assert_reported(result: PullResult, trouble: Trouble, bad: FakeRegistry | None, image: BuiltImage) -> None:
    """The journal is told of every exchange, the failed ones with their status or cause."""
    report = result.report
    attempts = [f"{one.status} {one.error}" for one in report.attempts]
    if bad is not None and trouble.attempt:
        assert any(re.search(trouble.attempt, one) for one in attempts), attempts
    if result.error is None:
        assert report.image_ref == image.config_digest
        assert report.manifest_digest == image.descriptor.digest
        assert report.endpoint
    else:
        assert report.image_ref == ""


def assert_nothing_fetched_twice(
    pair: tuple[FakeRegistry, FakeRegistry], image: BuiltImage, result: PullResult, *, has_failed: bool
) -> None:
    """A pull that succeeds has received at most one chunk (and the small documents) more than there is."""
    total = len(image.raw) + sum(map(len, image.blobs.values()))
    if not has_failed:
        liars = sum(1 for registry in pair for one in registry.log if one.status == 200 and "blobs" in one.path)
        again = LAYER_BYTES + CHUNK_BYTES if liars > len(image.blobs) else CHUNK_BYTES
        assert result.report.downloaded_bytes <= total + again
    else:
        assert result.report.downloaded_bytes <= 4 * total

"""The fault grid: every trouble × {manifest, config, layer} × {no mirror, good mirror, bad mirror first}.

The nine cells of a trouble are played at the same time, each on a store, a node and registries of its own. See
`grid_cell` for what each asserts: outcome, events, journal, requests, bytes fetched twice, a clean store, healing.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from tests.faults.grid_cell import Cell, run_cell
from tests.faults.local_troubles import LOCAL_TROUBLES
from tests.faults.network_troubles import NETWORK_TROUBLES
from tests.faults.pull_world import ENDPOINTS, TARGETS
from tests.faults.troubles import Lane, Trouble

from pullet.testing.fake_registry import FakeRegistry

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    """Wrong places to be sent to; the CA of the expired certificate is trusted."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
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
        yield Lane(f"http://127.0.0.1:{unused.getsockname()[1]}", unknown.url, old.url)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """A server's TLS context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.mark.parametrize("trouble", [*NETWORK_TROUBLES, *LOCAL_TROUBLES], ids=lambda trouble: trouble.name)
async def test_trouble(tmp_path: Path, lane: Lane, trouble: Trouble, subtests: pytest.Subtests) -> None:
    cells = [Cell(trouble, target, endpoints) for target, endpoints in itertools.product(TARGETS, ENDPOINTS)]
    outcomes = await asyncio.gather(
        *(run_cell(cell, lane, tmp_path / str(number)) for number, cell in enumerate(cells)), return_exceptions=True
    )
    for cell, outcome in zip(cells, outcomes, strict=True):
        with subtests.test(str(cell)):
            if outcome is not None:
                raise outcome

"""The journal keeps passes, newest first, bounded, and never stands in the way."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pullet.cri.extensions import EndpointAttempt
from pullet.journal.journal import Journal
from pullet.journal.pass_record import PassOutcome, PassRecord


def record(number: int = 0, **fields: Any) -> PassRecord:
    defaults: dict[str, Any] = {
        "at": f"2026-11-20T18:30:{number:02}Z",
        "node": "n",
        "namespace": "shop",
        "pod": "web",
        "pod_uid": "u",
        "container": "c",
        "image": "nginx:1",
        "outcome": PassOutcome.PULLED,
    }
    return PassRecord(**{**defaults, **fields})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "deep" / "journal.db", retention=5)
    yield opened
    opened.close()


async def test_passes_come_back_newest_first(journal: Journal) -> None:
    full = record(
        1,
        trace=("imagePullPolicy is Always", "pulled now"),
        endpoints=(EndpointAttempt(method="HEAD", url="https://r.io/v2/", status=200, elapsed_seconds=0.01),),
        credential="secret shop/login (key r.io)",
        credential_fingerprint="0123456789ab",
        is_present=True,
        downloaded_bytes=5,
    )
    await journal.append(record(0))
    await journal.append(full)
    await journal.append(record(2, container="other"))
    await journal.append(record(3, pod="another"))
    assert await journal.passes("shop", "web") == [record(2, container="other"), full, record(0)]
    assert await journal.passes("shop", "web", "c") == [full, record(0)]
    assert await journal.passes("shop", "web", limit=1) == [record(2, container="other")]
    assert await journal.passes("other", "web") == []
    assert len(await journal.recent(limit=10)) == 4


async def test_the_oldest_go(journal: Journal) -> None:
    for number in range(8):
        await journal.append(record(number))
    assert [one.at[-3:-1] for one in await journal.passes("shop", "web")] == ["07", "06", "05", "04", "03"]


async def test_what_was_written_survives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    first = await asyncio.to_thread(Journal.open, path)
    await first.append(record(1))
    await asyncio.to_thread(first.close)
    second = await asyncio.to_thread(Journal.open, path)
    assert await second.passes("shop", "web") == [record(1)]
    await asyncio.to_thread(second.close)


async def test_a_journal_that_cannot_be_written_is_only_logged(
    journal: Journal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = sqlite3.connect(tmp_path / "deep" / "journal.db")
    other.execute("DROP TABLE passes")
    other.close()
    with caplog.at_level(logging.ERROR):
        await journal.append(record())
    assert "journal entry was not written" in caplog.text


@pytest.mark.parametrize(
    ("fields", "summary"),
    [
        ({"outcome": PassOutcome.USED_LOCAL}, "used the image on this machine, no registry was asked"),
        (
            {"outcome": PassOutcome.PULLED, "pull_seconds": 0.0342},
            "pulled in 34ms: the registry was asked, nothing had to be downloaded",
        ),
        (
            {
                "outcome": PassOutcome.PULLED,
                "pull_seconds": 0.2,
                "details": {"source": "content store", "unpacked_bytes": "2048"},
            },
            "pulled in 200ms: taken from this node's own registry without network, 2.0 KiB unpacked",
        ),
        (
            {"outcome": PassOutcome.PULLED, "pull_seconds": 0.003, "details": {"source": "content store"}},
            "pulled in 3ms: taken from this node's own registry without network, nothing had to be unpacked",
        ),
        (
            {
                "outcome": PassOutcome.PULLED,
                "pull_seconds": 0.2,
                "details": {"source": "registry", "unpacked_bytes": "2048"},
            },
            "pulled in 200ms: the registry was asked, 2.0 KiB unpacked",
        ),
        (
            {"outcome": PassOutcome.PULLED, "pull_seconds": 1.5, "downloaded_bytes": 2048},
            "pulled in 1.5s: downloaded 2.0 KiB",
        ),
        (
            {"outcome": PassOutcome.WAITING, "backoff_remaining_seconds": 12.3, "reason": "ImagePullBackOff"},
            "waits 12 s before the next pull (ImagePullBackOff)",
        ),
        (
            {"outcome": PassOutcome.REFUSED, "reason": "ErrImageNeverPull"},
            "not used and not pulled (ErrImageNeverPull)",
        ),
        ({"outcome": PassOutcome.FAILED, "reason": "ErrImagePull"}, "failed (ErrImagePull)"),
        ({"outcome": PassOutcome.FAILED}, "failed"),
    ],
)
def test_summaries(fields: dict[str, Any], summary: str) -> None:
    plain = record(**fields).to_json()
    assert plain["summary"] == summary
    assert plain["outcome"] == str(fields["outcome"])
    msgspec.json.encode(plain)

"""Reading logs: tail, since, limits, follow, rotation; and which run a request means."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pullet.kit.worker_threads import WorkerThreads
from pullet.node.container_gc import rotate_log
from pullet.node.container_logs import ContainerLogs, LogOptions, LogUnavailableError, tail_offset
from pullet.node.log_selection import choose_log
from pullet.testing.clock import FakeClock


def _line(second: int, text: str, *, tag: str = "F", stream: str = "stdout") -> bytes:
    return f"2026-01-01T00:00:{second:02d}.000000000Z {stream} {tag} {text}\n".encode()


@pytest.fixture
async def threads() -> AsyncIterator[WorkerThreads]:
    pool = WorkerThreads("logs", 2)
    yield pool
    await pool.aclose()


async def _read(path: Path, threads: WorkerThreads, options: LogOptions) -> bytes:
    async def ended() -> bool:
        return False

    logs = ContainerLogs(threads=threads, clock=FakeClock())
    return b"".join([chunk async for chunk in logs.read(path, options, is_running=ended)])


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    path = tmp_path / "0.log"
    path.write_bytes(
        _line(1, "one") + _line(2, "tw", tag="P") + _line(2, "o") + _line(3, "err", stream="stderr") + _line(4, "four")
    )
    return path


async def test_parts_are_joined_and_lines_filtered(log_file: Path, threads: WorkerThreads) -> None:
    assert await _read(log_file, threads, LogOptions()) == b"one\ntwo\nerr\nfour\n"
    assert await _read(log_file, threads, LogOptions(tail_lines=2)) == b"err\nfour\n"
    assert await _read(log_file, threads, LogOptions(tail_lines=0)) == b""
    assert await _read(log_file, threads, LogOptions(limit_bytes=5)) == b"one\nt"
    assert await _read(log_file, threads, LogOptions(stream="Stderr")) == b"err\n"
    since = datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert await _read(log_file, threads, LogOptions(since=since)) == b"err\nfour\n"
    stamped = await _read(log_file, threads, LogOptions(timestamps=True, tail_lines=1))
    assert stamped == b"2026-01-01T00:00:04.000000000Z four\n"


async def test_following_goes_on_over_a_rotation_until_the_container_has_ended(
    tmp_path: Path, threads: WorkerThreads
) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(_line(1, "old"))
    clock = FakeClock(threads=[threads])
    running = True
    seen: list[bytes] = []

    async def is_running() -> bool:
        return running

    async def follow() -> None:
        logs = ContainerLogs(threads=threads, clock=clock)
        async for chunk in logs.read(path, LogOptions(follow=True), is_running=is_running):
            seen.append(chunk)  # noqa: PERF401 - looked at while it grows

    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow())
        await clock.advance(1)
        assert seen == [b"old\n"]
        assert await threads.run(rotate_log, path, clock.now(), 1, 5)
        await clock.advance(1)
        await threads.run(path.write_bytes, _line(2, "new"))
        await clock.advance(1)
        running = False
        await clock.advance(1)
        assert following.done()
    assert seen == [b"old\n", b"new\n"]


def test_tail_finds_lines_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "long.log"
    path.write_bytes(b"".join(b"x" * 999 + b"\n" for _ in range(50)))
    with path.open("rb") as file:
        assert tail_offset(file, 20) == 30 * 1000
        assert tail_offset(file, 50) == 0
        assert tail_offset(file, 5000) == 0


def test_rotation_keeps_so_many_files(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    for second in range(6):
        path.write_bytes(b"x" * 100)
        assert rotate_log(path, datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC), 50, 3)
    assert len(list(tmp_path.iterdir())) == 2
    path.write_bytes(b"x")
    assert not rotate_log(path, datetime(2026, 1, 2, tzinfo=UTC), 50, 3)


@pytest.mark.parametrize(
    ("state", "last", "wanted"),
    [
        ({"running": {}}, {}, "now"),
        ({"terminated": {"containerID": "fake://dead"}}, {}, "dead"),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"containerID": "fake://before"}}, "before"),
    ],
)
def test_which_run_is_meant(state: dict[str, object], last: dict[str, object], wanted: str) -> None:
    status = {"containerStatuses": [{"name": "c", "state": state, "lastState": last, "containerID": "fake://now"}]}
    assert choose_log("p", status, "c", previous=False) == wanted


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("ErrImagePull", "image can't be pulled"),
        ("ImagePullBackOff", "trying and failing to pull image"),
        ("ContainerCreating", "ContainerCreating"),
    ],
)
def test_no_log_yet(reason: str, text: str) -> None:
    status = {"containerStatuses": [{"name": "c", "state": {"waiting": {"reason": reason}}, "lastState": {}}]}
    with pytest.raises(LogUnavailableError) as caught:
        choose_log("p", status, "c", previous=False)
    assert str(caught.value) == f'container "c" in pod "p" is waiting to start: {text}'
    with pytest.raises(LogUnavailableError) as caught:
        choose_log("p", status, "c", previous=True)
    assert str(caught.value) == 'previous terminated container "c" in pod "p" not found'

"""Names, addresses and slots, on real sockets of this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pullet.kit.clock import SystemClock
from pullet.kit.worker_threads import StopFlag, StoppedError
from pullet.registry.host_slots import HostSlots
from pullet.registry.name_lookup import Addresses, NameLookup
from pullet.registry.tcp_connect import alternate_families, connect_first

CLOCK = SystemClock()
V4, V6 = socket.AF_INET, socket.AF_INET6


def soon(seconds: float = 5.0) -> float:
    return CLOCK.monotonic() + seconds


def address(family: socket.AddressFamily, host: str, port: int) -> tuple[Any, ...]:
    where = (host, port) if family == V4 else (host, port, 0, 0)
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts nobody: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        yield port
        for one in waiting:
            one.close()


def dead_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class TestConnectFirst:
    def test_families_take_turns(self) -> None:
        names = [(V6, "a"), (V6, "b"), (V6, "c"), (V4, "d"), (V4, "e")]
        assert [one[1] for one in alternate_families(names)] == ["a", "d", "b", "e", "c"]

    def test_the_first_that_answers(self, listener: socket.socket, silent: int) -> None:
        port = listener.getsockname()[1]
        started = time.monotonic()
        addresses = [address(V4, "127.0.0.1", silent), address(V4, "127.0.0.1", port)]
        stream = connect_first(addresses, deadline=soon(), clock=CLOCK, stop=StopFlag())
        assert not isinstance(stream, str)
        with stream:
            assert stream.getpeername() == ("127.0.0.1", port)
            assert stream.getblocking()
        assert 0.2 < time.monotonic() - started < 1

    def test_a_refusal_leads_to_the_next_at_once(self, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        started = time.monotonic()
        addresses = [address(V6, "::1", dead_port()), address(V4, "127.0.0.1", port)]
        stream = connect_first(addresses, deadline=soon(), clock=CLOCK, stop=StopFlag())
        assert not isinstance(stream, str)
        stream.close()
        assert time.monotonic() - started < 0.2

    def test_ipv6(self) -> None:
        with socket.create_server(("::1", 0), family=V6) as listener:
            port = listener.getsockname()[1]
            stream = connect_first([address(V6, "::1", port)], deadline=soon(), clock=CLOCK, stop=StopFlag())
            assert not isinstance(stream, str)
            stream.close()

    def test_none_answers(self, silent: int) -> None:
        first, second = dead_port(), dead_port()
        addresses = [address(V4, "127.0.0.1", first), address(V4, "127.0.0.1", second)]
        failure = connect_first(addresses, deadline=soon(), clock=CLOCK, stop=StopFlag())
        assert failure == f"dial tcp 127.0.0.1:{first}: connect: connection refused"
        failure = connect_first([address(V4, "127.0.0.1", silent)], deadline=soon(0.2), clock=CLOCK, stop=StopFlag())
        assert failure == f"dial tcp 127.0.0.1:{silent}: i/o timeout"

    def test_stop(self, silent: int) -> None:
        stop = StopFlag()
        timer = threading.Timer(0.1, stop.stop)
        timer.start()
        started = time.monotonic()
        with pytest.raises(StoppedError):
            connect_first([address(V4, "127.0.0.1", silent)], deadline=soon(), clock=CLOCK, stop=stop)
        timer.join()
        assert time.monotonic() - started < 1


class SlowResolver(NameLookup):
    """A resolver that answers when `answer` is set."""

    def __init__(self, *, max_lookups: int = 16) -> None:
        super().__init__(clock=CLOCK, max_lookups=max_lookups)
        self.answer = threading.Event()
        self.asked: list[str] = []

    def _ask(self, name: str, port: int) -> Addresses:
        self.asked.append(name)
        self.answer.wait(10)
        return [address(V4, "127.0.0.1", port)]


class TestNameLookup:
    def test_addresses_need_no_resolver(self) -> None:
        lookup = SlowResolver()
        (found,) = lookup.addresses("127.0.0.1", 5000, deadline=soon(), stop=StopFlag())
        assert found[4] == ("127.0.0.1", 5000)
        (found,) = lookup.addresses("::1", 5000, deadline=soon(), stop=StopFlag())
        assert found[4][:2] == ("::1", 5000)
        assert lookup.asked == []

    def test_names(self) -> None:
        found = NameLookup(clock=CLOCK).addresses("localhost", 5000, deadline=soon(), stop=StopFlag())
        assert {one[4][1] for one in found} == {5000}
        with pytest.raises(socket.gaierror):
            NameLookup(clock=CLOCK).addresses("nosuch.invalid", 5000, deadline=soon(), stop=StopFlag())

    def test_a_name_that_cannot_be_one(self) -> None:
        with pytest.raises(UnicodeError):
            NameLookup(clock=CLOCK).addresses("a" * 64 + "..b", 1, deadline=soon(), stop=StopFlag())

    def test_a_stop_leaves_a_resolver_that_hangs(self) -> None:
        lookup, stop = SlowResolver(), StopFlag()
        timer = threading.Timer(0.05, stop.stop)
        timer.start()
        started = time.monotonic()
        with pytest.raises(StoppedError):
            lookup.addresses("slow.example.com", 1, deadline=soon(), stop=stop)
        assert time.monotonic() - started < 1
        timer.join()
        lookup.answer.set()

    def test_the_deadline_as_well(self) -> None:
        lookup = SlowResolver()
        with pytest.raises(TimeoutError):
            lookup.addresses("slow.example.com", 1, deadline=soon(0.05), stop=StopFlag())
        lookup.answer.set()

    def test_the_same_question_is_asked_once(self) -> None:
        lookup = SlowResolver()
        answers: list[Addresses] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(lookup.addresses("a.example.com", 1, deadline=soon(), stop=StopFlag()))
            )
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        lookup.answer.set()
        for thread in threads:
            thread.join()
        assert len(answers) == 5
        assert lookup.asked == ["a.example.com"]

    def test_no_more_than_a_few_at_once(self) -> None:
        lookup = SlowResolver(max_lookups=1)
        with pytest.raises(TimeoutError):
            lookup.addresses("a.example.com", 1, deadline=soon(0.05), stop=StopFlag())
        with pytest.raises(TimeoutError):
            lookup.addresses("b.example.com", 1, deadline=soon(0.05), stop=StopFlag())
        assert lookup.asked == ["a.example.com"]
        lookup.answer.set()
        lookup.addresses("b.example.com", 1, deadline=soon(), stop=StopFlag())
        assert lookup.asked == ["a.example.com", "b.example.com"]


class TestHostSlots:
    def test_per_host_and_in_all(self) -> None:
        slots = HostSlots(per_host=2, in_all=3)
        for host in ("a", "a", "b"):
            slots.take(host, StopFlag())
        for host in ("a", "c"):
            stop = StopFlag()
            timer = threading.Timer(0.05, stop.stop)
            timer.start()
            with pytest.raises(StoppedError):
                slots.take(host, stop)
            timer.join()
        slots.give_back("a")
        slots.take("c", StopFlag())

    def test_who_waits_goes_on(self) -> None:
        slots = HostSlots(per_host=1, in_all=9)
        slots.take("a", StopFlag())
        threading.Timer(0.05, lambda: slots.give_back("a")).start()
        slots.take("a", StopFlag())
        slots.give_back("a")

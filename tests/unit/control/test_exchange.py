"""The command's side of the control socket, against a socket that answers from a script."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pullet.control.client import ControlClient, NodeGoneError, NodeNotRunningError, RemoteError
from pullet.control.protocol import socket_path
from pullet.kit.worker_threads import StopFlag

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@contextmanager
def answering(root: Path, *parts: bytes, holds: Callable[[], object] = lambda: None) -> Iterator[list[bytes]]:
    """A node that sends `parts` in answer to its one request; `holds` delays the end."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(socket_path(root)))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                for part in parts:
                    connection.sendall(part)
                holds()

        thread = threading.Thread(target=serve)
        thread.start()
        yield asked
        thread.join()


def test_one_answer_with_a_length(tmp_path: Path) -> None:
    with answering(tmp_path, HEAD + b'Content-Length: 8\r\n\r\n{"a', b'": 1}') as asked:
        assert ControlClient(tmp_path, node="n 1").call("POST", "/v1/x", {"b": 2}, image="a:b") == {"a": 1}
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/x?image=a%3Ab&node=n+1 HTTP/1.1\r\n")
    assert (b"Content-Length: 8" in head, body) == (True, b'{"b": 2}')


def test_an_empty_answer_is_none(tmp_path: Path) -> None:
    with answering(tmp_path, HEAD + b"Content-Length: 0\r\n\r\n"):
        assert ControlClient(tmp_path).call("GET", "/v1/x") is None


def test_lines_may_lie_across_chunks_and_packets(tmp_path: Path) -> None:
    with answering(
        tmp_path, CHUNKED + b'7\r\n{"n":1}\r\n', b"1\r\n\n\r\n5;x=y\r\n{", b'"n":\r\n3\r\n2}\n\r\n0\r\n\r\n'
    ):
        assert list(ControlClient(tmp_path).stream("GET", "/v1/x")) == [{"n": 1}, {"n": 2}]


def test_refusals_carry_reason_and_words(tmp_path: Path) -> None:
    body = b'{"reason": "Usage", "message": "no", "cause": "c", "next_step": "s"}'
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(body)
    with answering(tmp_path, head + body), pytest.raises(RemoteError, match="no") as raised:
        ControlClient(tmp_path).call("GET", "/v1/x")
    assert (raised.value.remote_reason, raised.value.cause, raised.value.next_step) == ("Usage", "c", "s")


def test_a_failure_that_is_no_json_is_told_as_it_is(tmp_path: Path) -> None:
    with (
        answering(tmp_path, b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\n\r\noops!"),
        pytest.raises(RemoteError, match="oops!"),
    ):
        ControlClient(tmp_path).call("GET", "/v1/x")


def test_an_error_line_ends_a_stream(tmp_path: Path) -> None:
    line = b'{"kind": "error", "reason": "R", "message": "it broke"}\n'
    with (
        answering(tmp_path, CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(line), line)),
        pytest.raises(RemoteError, match="it broke"),
    ):
        list(ControlClient(tmp_path).stream("GET", "/v1/x"))


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{}", CHUNKED + b"9\r\n{"]
)
def test_an_answer_cut_short_is_no_answer(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer), pytest.raises(NodeGoneError, match="went away"):
        ControlClient(tmp_path).call("GET", "/v1/x")


def test_nobody_listens(tmp_path: Path) -> None:
    assert not ControlClient(tmp_path).is_running()
    with pytest.raises(NodeNotRunningError, match="no node is running"):
        ControlClient(tmp_path).call("GET", "/v1/x")


def test_stopping_ends_a_stream_without_an_error(tmp_path: Path) -> None:
    stop, ended = StopFlag(), threading.Event()
    with answering(tmp_path, CHUNKED + b'8\r\n{"n":1}\n\r\n', holds=lambda: ended.wait(10)):
        lines = ControlClient(tmp_path).stream("GET", "/v1/x", stop=stop)
        assert next(lines) == {"n": 1}
        stop.stop()
        assert list(lines) == []
        ended.set()

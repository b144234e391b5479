r"""The process beside each container: keeps its streams, writes its log, knows its exit code. Outlives the node.

Run as a script of its own by `python -I -S -E` (never imported by pullet, imports nothing of pullet, so that it stays
at a few megabytes), from the directory of the container, which is where all its files are:

    monitor.lock    held (flock) as long as a monitor lives; the descriptor is handed in by whoever starts it
    monitor.pid     its pid, written before anything else
    init.pid        pid of the container's first process, written by the OCI runtime
    started         "<pid> <nanoseconds>\n" once the container runs
    exit            "exited <code> <nanoseconds>\n" or "failed <runtime's code> <nanoseconds>\n": the last thing written
    control.sock    reopen the log, attach

    monitor.py LOCK_FD FLAGS LOG_PATH RUNTIME [ARGUMENT...]     FLAGS: comma separated of tty, stdin, stdin-once

It is the child subreaper of the runtime, so that the container's first process becomes its child and the exit code is
certain. Its answer to the starter is one line on stdout: `started PID NANOSECONDS` or `failed CODE`.

Attach, in both directions, is frames of one byte kind, four bytes length (big endian), payload:
to the client 1 stdout, 2 stderr; from the client 0 stdin, 3 resize ("columns rows"), 4 end of input.
"""

# ruff: noqa: SIM105 - contextlib would cost every container half a megabyte

from __future__ import annotations

import _socket
import array
import ctypes
import errno
import fcntl
import os
import select
import signal
import struct
import sys
import termios
import time

PR_SET_CHILD_SUBREAPER = 36
MAX_LINE_BYTES = 16384  # longer lines are logged in parts, as containerd does
MAX_CLIENT_BYTES = 1 << 20  # an attached client this far behind is dropped, the container is never held up
MAX_STDIN_BYTES = 1 << 16  # input beyond this waits in the client's socket
CLIENT_FLUSH_SECONDS = 2.0
ADOPTION_MILLISECONDS = 20
STDIN, STDOUT, STDERR, RESIZE, STDIN_END = range(5)


def write_file(name: str, text: str) -> None:
    """Write beside and rename, so that a reader sees all or nothing."""
    temporary = f".{name}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.write(descriptor, text.encode())
    os.close(descriptor)
    os.rename(temporary, name)


class Log:
    """The CRI log file. A full disk loses lines, never the container."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.descriptor = -1
        self.reopen()

    def reopen(self) -> None:
        """Open the path anew; the old file is kept if that fails."""
        if not self.path:
            return
        try:
            opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError:
            return
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = opened

    def write(self, data: bytes) -> None:
        """Append whole records."""
        if self.descriptor < 0:
            return
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
        except OSError:
            return


class Stream:
    """One output of the container on its way to the log, cut into records."""

    def __init__(self, descriptor: int, kind: int, log: Log) -> None:
        self.descriptor, self.kind, self.log = descriptor, kind, log
        self.name = b"stdout" if kind == STDOUT else b"stderr"
        self.pending = b""

    def feed(self, data: bytes) -> None:
        """Log what is complete; keep the unfinished line."""
        now_ns = time.time_ns()
        seconds, nanos = divmod(now_ns, 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ " % nanos
        full, part = stamp + self.name + b" F ", stamp + self.name + b" P "
        lines = (self.pending + data).split(b"\n")
        self.pending = lines.pop()
        out: list[bytes] = []
        for line in lines:
            while len(line) > MAX_LINE_BYTES:
                out += (part, line[:MAX_LINE_BYTES], b"\n")
                line = line[MAX_LINE_BYTES:]
            out += (full, line, b"\n")
        while len(self.pending) > MAX_LINE_BYTES:
            out += (part, self.pending[:MAX_LINE_BYTES], b"\n")
            self.pending = self.pending[MAX_LINE_BYTES:]
        self.log.write(b"".join(out))

    def finish(self) -> None:
        """Log the last line that had no newline."""
        if self.pending:
            self.feed(b"\n")


class Client:
    """One connection to the control socket."""

    def __init__(self, connection: _socket.socket) -> None:
        self.connection = connection
        self.descriptor = connection.fileno()
        self.received = b""
        self.outgoing = b""
        self.is_attached = False

    def queue(self, kind: int, data: bytes) -> None:
        """Send one frame when the socket takes it."""
        self.outgoing += struct.pack("!BI", kind, len(data)) + data


class Monitor:
    """All of it: one poll loop."""

    def __init__(self, flags: set[str], log_path: str, runtime: list[str]) -> None:
        self.flags, self.runtime = flags, runtime
        self.log = Log(log_path)
        self.poll = select.poll()
        self.streams: dict[int, Stream] = {}
        self.clients: dict[int, Client] = {}
        self.terminal = -1
        self.stdin = -1
        self.stdin_buffer = b""
        self.console: _socket.socket | None = None
        self.runtime_pid = 0
        self.init_pid = 0
        self.exited: dict[int, int] = {}
        self.answer_descriptor = 1

    # -- starting ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, make the streams and start the OCI runtime on them."""
        self.control = self._listen("control.sock")
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.wake_read = wake_read
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        self.poll.register(wake_read, select.POLLIN)
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        argv = list(self.runtime)
        given = [null, null, null]
        if "tty" in self.flags:
            self.console = self._listen("console.sock")
            argv = [part.replace("@CONSOLE@", f"/proc/{os.getpid()}/cwd/console.sock") for part in argv]
        else:
            for kind in (STDOUT, STDERR):
                read_end, given[kind] = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(read_end, False)
                self.streams[read_end] = Stream(read_end, kind, self.log)
            if "stdin" in self.flags:
                given[STDIN], self.stdin = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(self.stdin, False)
        self.runtime_pid = os.posix_spawn(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, given[target], target) for target in range(3)],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ],
        )
        for descriptor in set(given):
            os.close(descriptor)

    def _listen(self, name: str) -> _socket.socket:
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        listener.bind(name)
        listener.listen(8)
        self.poll.register(listener.fileno(), select.POLLIN)
        return listener

    def _answer(self, text: str) -> None:
        try:
            os.write(self.answer_descriptor, text.encode())
        except OSError:
            pass
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)

    def _runtime_ended(self, code: int) -> None:
        """The runtime left: the container runs, or never will."""
        now_ns = time.time_ns()
        if self.console is not None and select.select([self.console.fileno()], [], [], 0)[0]:
            self._receive_terminal(self.console)
        if code == 0:
            try:
                with open("init.pid", "rb") as file:
                    self.init_pid = int(file.read())
            except (OSError, ValueError):
                code = 1
        if code != 0:  # before its log was open it can only have complained on its output
            said = b"".join(os.read(one, 4096) for one in self.streams if select.select([one], [], [], 0)[0])
            write_file("runtime.output", said.decode("utf-8", "replace"))
            write_file("exit", f"failed {code} {now_ns}\n")
            self._answer(f"failed {code}\n")
            sys.exit(0)
        # Only now: had the runtime failed, what it complains of on stderr would not be the container's output.
        for descriptor in self.streams:
            self.poll.register(descriptor, select.POLLIN)
        write_file("started", f"{self.init_pid} {now_ns}\n")
        self._answer(f"started {self.init_pid} {now_ns}\n")

    # -- running ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the container's first process ended and its output is drained."""
        runtime_seen = is_ours = False
        while True:
            # A helper of the runtime may outlive it by a moment and be the parent until then: look again.
            for descriptor, events in self.poll.poll(ADOPTION_MILLISECONDS if runtime_seen and not is_ours else None):
                self._serve(descriptor, events)
            if not runtime_seen and self.runtime_pid in self.exited:
                runtime_seen = True
                self._runtime_ended(self.exited.pop(self.runtime_pid))
            if runtime_seen and self.init_pid in self.exited:
                return self._finish(self.exited[self.init_pid])
            if runtime_seen and not is_ours:
                is_ours = self._is_child(self.init_pid)
                if not is_ours and not self._is_there(self.init_pid):
                    return None  # somebody else has seen its end: better no exit code than a wrong one

    def _is_child(self, pid: int) -> bool:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _is_there(self, pid: int) -> bool:
        """Whether the process exists, or ended as our child just now."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            self._reap()
            return pid in self.exited
        return True

    def _serve(self, descriptor: int, events: int) -> None:
        if descriptor == self.wake_read:
            os.read(descriptor, 4096)
            self._reap()
        elif descriptor in self.streams:
            self._pump(self.streams[descriptor])
        elif descriptor in self.clients:
            self._serve_client(self.clients[descriptor], events)
        elif descriptor in (self.stdin, self.terminal):
            self._write_stdin()
        elif descriptor == self.control.fileno():
            accepted, _ = self.control._accept()  # type: ignore[attr-defined]  # what socket.accept() itself calls
            connection = _socket.socket(fileno=accepted)
            connection.setblocking(False)
            self.clients[accepted] = Client(connection)
            self.poll.register(accepted, select.POLLIN)
        elif self.console is not None and descriptor == self.console.fileno():
            self._receive_terminal(self.console)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            self.exited[pid] = 128 - code if code < 0 else code
            if pid not in (self.runtime_pid, self.init_pid) and self.init_pid:
                del self.exited[pid]  # an orphan of the container that was handed up to us

    def _receive_terminal(self, console: _socket.socket) -> None:
        accepted, _ = console._accept()  # type: ignore[attr-defined]  # as above
        connection = _socket.socket(fileno=accepted)
        _, ancillary, _, _ = connection.recvmsg(1024, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        connection.close()
        self.poll.unregister(console.fileno())
        console.close()
        self.console = None
        os.unlink("console.sock")
        for _level, _type, data in ancillary:
            descriptors = array.array("i")
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
            self.terminal = descriptors[0]
            os.set_blocking(self.terminal, False)
            self.streams[self.terminal] = Stream(self.terminal, STDOUT, self.log)
            self.stdin = self.terminal if "stdin" in self.flags else -1

    def _pump(self, stream: Stream) -> bool:
        """Move what is there into the log and to the attached; False at the end of the stream."""
        try:
            data = os.read(stream.descriptor, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:  # EIO: the last holder of the terminal is gone
            data = b""
        if stream.descriptor == self.terminal and self.stdin_buffer:
            self._write_stdin()
        if not data:
            self.poll.unregister(stream.descriptor)
            stream.finish()
            del self.streams[stream.descriptor]
            return False
        stream.feed(data)
        for client in list(self.clients.values()):
            if client.is_attached:
                client.queue(stream.kind, data)
                self._flush(client)
        return True

    # -- clients ----------------------------------------------------------------------------------------------------

    def _serve_client(self, client: Client, events: int) -> None:
        if events & select.POLLOUT:
            self._flush(client)
        if not events & (select.POLLIN | select.POLLHUP | select.POLLERR) or client.descriptor not in self.clients:
            return
        try:
            data = client.connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.received += data
        if not client.is_attached:
            self._command(client)
        else:
            self._frames(client)

    def _command(self, client: Client) -> None:
        line, found, rest = client.received.partition(b"\n")
        if not found:
            return
        if line == b"reopen":
            self.log.reopen()
            client.outgoing += b"ok\n"
            self._flush(client)
        elif line == b"attach":
            client.is_attached = True
            client.outgoing += b"ok\n"
            client.received = rest
            self._flush(client)
            self._frames(client)
        else:
            self._drop(client)

    def _frames(self, client: Client) -> None:
        while len(client.received) >= 5:
            kind, length = struct.unpack_from("!BI", client.received)
            if len(client.received) < 5 + length:
                break
            payload = client.received[5 : 5 + length]
            client.received = client.received[5 + length :]
            if kind == STDIN and self.stdin >= 0:
                self.stdin_buffer += payload
                self._write_stdin()
            elif kind == RESIZE and self.terminal >= 0:
                columns, rows = (int(part) for part in payload.split())
                fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            elif kind == STDIN_END:
                self._end_stdin()

    def _end_stdin(self) -> None:
        """The attached client is done: with stdin-once the container sees the end of its input."""
        if "stdin-once" in self.flags and self.stdin >= 0 and self.stdin != self.terminal:
            self.flags.discard("stdin")
            self._write_stdin()

    def _write_stdin(self) -> None:
        if self.stdin < 0:
            return
        blocked = False
        try:
            while self.stdin_buffer:
                self.stdin_buffer = self.stdin_buffer[os.write(self.stdin, self.stdin_buffer) :]
        except BlockingIOError:
            blocked = True
        except OSError:
            self.stdin_buffer = b""
        if self.stdin == self.terminal:
            if self.terminal in self.streams:
                self.poll.register(self.terminal, select.POLLIN | (select.POLLOUT if blocked else 0))
        elif blocked:
            self.poll.register(self.stdin, select.POLLOUT)
        else:
            try:
                self.poll.unregister(self.stdin)
            except KeyError:
                pass
            if "stdin" not in self.flags:
                os.close(self.stdin)
                self.stdin = -1
        reading = select.POLLIN if len(self.stdin_buffer) < MAX_STDIN_BYTES else 0
        for client in self.clients.values():
            self.poll.register(client.descriptor, reading | (select.POLLOUT if client.outgoing else 0))

    def _flush(self, client: Client) -> None:
        try:
            while client.outgoing:
                client.outgoing = client.outgoing[client.connection.send(client.outgoing) :]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if len(client.outgoing) > MAX_CLIENT_BYTES:
            self._drop(client)
            return
        self.poll.register(client.descriptor, select.POLLIN | (select.POLLOUT if client.outgoing else 0))

    def _drop(self, client: Client) -> None:
        if self.clients.pop(client.descriptor, None) is None:
            return
        self.poll.unregister(client.descriptor)
        client.connection.close()
        if client.is_attached:
            self._end_stdin()

    # -- ending -----------------------------------------------------------------------------------------------------

    def _finish(self, code: int) -> None:
        """Drain what the pipes still hold, record the exit, let the attached read the rest."""
        finished_ns = time.time_ns()
        for stream in list(self.streams.values()):
            while self._pump(stream):
                if not select.select([stream.descriptor], [], [], 0)[0]:
                    stream.finish()
                    break
        write_file("exit", f"exited {code} {finished_ns}\n")
        deadline = time.monotonic() + CLIENT_FLUSH_SECONDS  # noqa: TID251 - no Clock in a script of its own
        while any(client.outgoing for client in self.clients.values()):
            left = deadline - time.monotonic()  # noqa: TID251 - as above
            if left <= 0:
                return
            for descriptor, events in self.poll.poll(left * 1000):
                if descriptor in self.clients:
                    self._serve_client(self.clients[descriptor], events)
                elif descriptor != self.wake_read:
                    self.poll.unregister(descriptor)


def main(arguments: list[str]) -> None:
    """Detach from the starter, become the subreaper, run."""
    lock, flags, log_path, *runtime = arguments
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o022)
    os.set_inheritable(int(lock), False)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    write_file("monitor.pid", f"{os.getpid()}\n")
    try:
        with open("/proc/self/oom_score_adj", "wb") as file:
            file.write(b"-999")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM):
            raise
    monitor = Monitor(set(flags.split(",")), log_path, runtime)
    monitor.start()
    monitor.run()


if __name__ == "__main__":
    main(sys.argv[1:])

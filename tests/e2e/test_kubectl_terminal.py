"""Stock kubectl in a terminal: run, attach and debug with a keyboard, a window that changes size, and exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.e2e.harness import Pullet
from tests.e2e.kubectls import Kubectl, choices, resolve
from tests.e2e.terminals import Typist

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]
IMAGE = "--image=busybox:1.36"
READER = "trap 'busybox stty size' WINCH; while :; do read line && echo got $line; done"
TICKER = "while :; do echo tick; sleep 0.2; done"


@dataclass(frozen=True, slots=True)
class Desk:
    """One kubectl in a namespace of its own."""

    node: Pullet
    kubectl: Kubectl
    namespace: str

    def type_into(self, *arguments: str) -> Typist:
        words = [str(self.kubectl.path), "-n", self.namespace, *arguments]
        return Typist(words, self.node.kubectl_environment())

    def run(self, *arguments: str) -> str:
        return self.node.kubectl("-n", self.namespace, *arguments).ok()


@pytest.fixture(scope="module", params=choices())
def desk(request: pytest.FixtureRequest, shared_node: Pullet) -> Iterator[Desk]:
    kubectl = resolve(request.param)
    namespace = f"terminal-{kubectl.word}"
    shared_node.kubectl("create", "namespace", namespace).ok()
    yield Desk(shared_node, kubectl, namespace)
    shared_node.kubectl("delete", "namespace", namespace, "--wait=false").ok()


def test_a_pod_for_one_session(desk: Desk) -> None:
    session = desk.type_into("run", "-it", "--rm", "--restart=Never", "once", IMAGE, "--command", "--", "sh")
    session.expect(rb"/ # ")
    session.type("echo he''llo; exit 3\n")
    session.expect(rb"\nhello\r\n")
    assert session.end() == 3, "as the command in the pod"
    assert b'pod "once" deleted' in session.seen
    assert b"terminated (Error)" in session.seen
    assert "once" not in desk.run("get", "pods", "-o", "name")


def test_attaching_with_a_keyboard_and_a_window(desk: Desk) -> None:
    desk.run("run", "reader", "-it", "--attach=false", IMAGE, "--command", "--", "sh", "-c", READER)
    desk.run("wait", "--for=condition=Ready", "pod/reader", "--timeout=60s")
    session = desk.type_into("attach", "-it", "reader")
    session.expect(rb"24 80")
    session.resize(33, 101)
    session.expect(rb"33 101")
    session.type("one\n")
    session.expect(rb"got one")
    session.resize(20, 50)
    session.expect(rb"20 50")
    session.kill()
    again = desk.type_into("attach", "-it", "reader")
    again.expect(rb"try pressing enter")
    again.type("two\n")
    again.expect(rb"got two")
    again.kill()


def test_attaching_to_listen(desk: Desk) -> None:
    desk.run("run", "ticker", IMAGE, "--command", "--", "sh", "-c", TICKER)
    desk.run("wait", "--for=condition=Ready", "pod/ticker", "--timeout=60s")
    session = desk.type_into("attach", "ticker")
    session.expect(rb"tick\r?\ntick\r?\n")
    desk.run("delete", "pod", "ticker", "--now", "--wait=false")
    assert session.end() == 0, "the container ended"


def test_a_debugger_in_a_terminal(desk: Desk) -> None:
    if desk.kubectl.version < (1, 25):  # sends a kind that servers since 1.23 do not know
        session = desk.type_into("debug", "-it", "nosuch", IMAGE, "--", "sh")
        assert session.end() == 1
        return
    desk.run("run", "studied", IMAGE, "--command", "--", "sleep", "3600")
    desk.run("wait", "--for=condition=Ready", "pod/studied", "--timeout=60s")
    session = desk.type_into(
        "debug", "-it", "studied", IMAGE, "-c", "lens", "--target=studied", "--profile=general", "--", "sh"
    )
    session.expect(rb"/ # ")
    session.type("busybox pidof sleep && echo seen-$((6*7)); exit 5\n")
    session.expect(rb"seen-42")
    session.end()
    code = "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}"
    desk.run("wait", f"--for=jsonpath={code}=5", "pod/studied", "--timeout=60s")

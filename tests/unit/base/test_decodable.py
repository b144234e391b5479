"""First decodes of one type in several threads. In a process of its own: without the guard it dies."""

from __future__ import annotations

import subprocess
import sys

RACE = """
import sys, threading
import msgspec
from pullet.base.decodable import decodable

sys.setswitchinterval(1e-6)  # threads take turns as often as they can

def run(barrier, kind):
    barrier.wait()
    decoded = msgspec.json.decode(b'{"one": {"a": 1, "b": "x"}, "many": [{"a": 2}]}', type=decodable(kind))
    assert decoded.many[0].a == 2

for _ in range(150):
    class Inner(msgspec.Struct):
        a: int = 0
        b: "str | None" = None
    class Outer(msgspec.Struct):
        one: "Inner | None" = None
        many: "list[Inner]" = []
    class Other(msgspec.Struct):
        many: "list[Inner]" = []
    barrier = threading.Barrier(6)
    threads = [threading.Thread(target=run, args=(barrier, kind)) for kind in (Outer, Other) * 3]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print("survived")
"""


def test_threads_that_decode_into_a_new_type_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "survived\n", "")

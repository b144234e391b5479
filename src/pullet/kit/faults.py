"""Named points where a test may make the process die or fail, to prove that a restart converges.

Armed only through the environment of a process started by a test:
`PULLET_FAULTS="ingest.rename=kill,layer.commit=kill:3"` kills the process (SIGKILL) at the point's
first, or third, hit.
"""

from __future__ import annotations

import os
import signal
import threading

_armed: dict[str, int] = {}
_lock = threading.Lock()
for _item in filter(None, os.environ.get("PULLET_FAULTS", "").split(",")):
    _name, _, _action = _item.partition("=")
    _armed[_name] = int(_action.partition(":")[2] or 1)


def hit(name: str) -> None:
    """Die here if a test armed `name`; otherwise nothing."""
    if not _armed:
        return
    with _lock:
        left = _armed.get(name)
        if left is None:
            return
        _armed[name] = left - 1
        if left == 1:
            os.kill(os.getpid(), signal.SIGKILL)

"""Every named point at which the process may die is one at which a test lets it die."""

from __future__ import annotations

import re

from tests.architecture.source_tree import modules
from tests.faults import test_kill_node as kills
from tests.faults.test_pull_kills import POINTS


def test_every_fault_point_is_tried() -> None:
    in_source = {name for path in modules() for name in re.findall(r"faults\.hit\(\"([^\"]+)\"\)", path.read_text())}
    tried = {point.name for point in POINTS}
    tried |= {*kills.DURING_PULL, *kills.DURING_START, *kills.DURING_REMOVAL, *kills.DURING_PUSH, *kills.ANY_TIME}
    assert in_source == tried

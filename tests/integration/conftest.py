"""What several modules share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pullet.testing.control_plane import ControlPlane, running_control_plane


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[ControlPlane]:
    async with running_control_plane(tmp_path) as started:
        yield started

"""Commands that only root can run."""

from __future__ import annotations

import os

from pullet.base.errors import UsageError


def need_root_user(what: str) -> None:
    """Refuse early and clearly where root is needed.

    Raises:
        UsageError: the effective user is not root.
    """
    if os.geteuid() != 0:
        raise UsageError(f"{what} needs root (mounts, network namespaces, cgroups): run it with sudo")

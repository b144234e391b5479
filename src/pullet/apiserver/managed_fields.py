"""Who manages which field."""

from __future__ import annotations

from datetime import datetime

from pullet.base.jsonvalue import JsonObject


def track_update(old: JsonObject | None, new: JsonObject, manager: str, now: datetime, subresource: str) -> None:
    """Note that `manager` set what is new or different in `new`."""
    del old, new, manager, now, subresource

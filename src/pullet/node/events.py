"""Where the node's events go: anything that takes them without making the reporter wait."""

from __future__ import annotations

from typing import Protocol

from pullet.base.jsonvalue import JsonObject


class EventSink(Protocol):
    """See kubeclient.event_recorder.EventRecorder."""

    def event(self, involved: JsonObject, event_type: str, reason: str, message: str, /) -> None:
        """Report that something happened to `involved`; returns at once."""
        ...

"""Typed read view of a core/v1 Event. Source: kubernetes api/core/v1 types.go."""

from __future__ import annotations

from datetime import datetime

from pullet.base.jsonvalue import JsonObject
from pullet.kube.view import ObjectMetaView, View, parse_view


class ObjectReferenceView(View, frozen=True, kw_only=True):
    """What the event is about."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class EventSourceView(View, frozen=True, kw_only=True):
    """Who reported it (older form)."""

    component: str = ""
    host: str = ""


class EventSeriesView(View, frozen=True, kw_only=True):
    """Repetition (events.k8s.io form)."""

    count: int = 0
    last_observed_time: datetime | None = None


class EventView(View, frozen=True, kw_only=True):
    """One event object; `count` repetitions between the two timestamps."""

    metadata: ObjectMetaView
    involved_object: ObjectReferenceView = ObjectReferenceView()
    type: str = ""
    reason: str = ""
    message: str = ""
    source: EventSourceView = EventSourceView()
    count: int = 0
    first_timestamp: datetime | None = None
    last_timestamp: datetime | None = None
    event_time: datetime | None = None
    series: EventSeriesView | None = None
    action: str = ""
    reporting_component: str = ""
    reporting_instance: str = ""

    @property
    def first_seen(self) -> datetime | None:
        """When it happened first: eventTime, else firstTimestamp, else the object's creation."""
        return self.event_time or self.first_timestamp or self.metadata.creation_timestamp

    @property
    def last_seen(self) -> datetime | None:
        """When it happened last."""
        observed = self.series.last_observed_time if self.series is not None else None
        return observed or self.last_timestamp or self.first_seen

    @property
    def reporter(self) -> str:
        """Who reported it, as kubectl's From column prints."""
        return self.source.component or self.reporting_component


def parse_event(obj: JsonObject) -> EventView:
    """The raw event as a view.

    Raises:
        ViewInvalidError: a field has the wrong type.
    """
    return parse_view(obj, EventView, kind="Event")

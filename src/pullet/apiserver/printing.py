"""Pieces shared by the table printers: columns, ages, joined lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value
from pullet.kube.duration import human_duration
from pullet.kube.meta import metadata, parse_time

Cells = Callable[[JsonObject, datetime], list[Any]]
NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"


class Column(Value):
    """A column; priority above zero shows with -o wide alone."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""

    def to_definition(self) -> JsonObject:
        """metav1.TableColumnDefinition."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or f"{self.name} of the object",
            "priority": self.priority,
        }


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", description="CreationTimestamp is a timestamp representing the server time when it was created.")


def age_of(obj: Mapping[str, Any], now: datetime) -> str:
    """The AGE cell."""
    return since(metadata(obj).get("creationTimestamp"), now)


def since(timestamp: str | None, now: datetime) -> str:
    """How long ago, in kubectl's short form."""
    moment = parse_time(timestamp)
    return human_duration(now - moment) if moment else UNKNOWN


def labels_text(labels: Mapping[str, str] | None) -> str:
    """`a=b,c=d`, or `<none>`."""
    return ",".join(f"{key}={value}" if value else key for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A metav1.LabelSelector as kubectl writes one."""
    if not selector:
        return NONE
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, operator, values = (
            expression["key"],
            expression["operator"],
            ",".join(sorted(expression.get("values") or ())),
        )
        terms.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key}.get(operator, f"!{key}")
        )
    return ",".join(terms) or NONE


def container_texts(template: Mapping[str, Any] | None) -> tuple[str, str]:
    """Names and images of a template's containers, each joined by commas."""
    containers: Iterable[Mapping[str, Any]] = ((template or {}).get("spec") or {}).get("containers") or ()
    names, images = [], []
    for container in containers:
        names.append(str(container.get("name") or ""))
        images.append(str(container.get("image") or ""))
    return ",".join(names), ",".join(images)

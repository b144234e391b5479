"""One thing wrong with one field, worded as the API server words it.

Source: apimachinery pkg/util/validation/field/errors.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pullet.base.values import Value


def quote(text: str) -> str:
    """The text as Go's %q prints it, for all that JSON and Go escape alike."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\x7f")


def _show(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return quote(value)
        case int() | float():
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class FieldError(Value):
    """A field's path, the cause's reason, and the text without the path."""

    field: str
    reason: str
    body: str

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


def required(field: str, detail: str = "") -> FieldError:
    """The value is missing or empty."""
    return FieldError(field, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def invalid(field: str, value: Any, detail: str) -> FieldError:
    """The value breaks the rule that `detail` names."""
    return FieldError(field, "FieldValueInvalid", f"Invalid value: {_show(value)}: {detail}")


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """The value is none of a fixed set, listed in the order given."""
    names = ", ".join(quote(name) for name in supported)
    return FieldError(field, "FieldValueNotSupported", f"Unsupported value: {_show(value)}: supported values: {names}")


def forbidden(field: str, detail: str) -> FieldError:
    """The field may not be set (or changed) here."""
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(field: str, value: Any) -> FieldError:
    """The value must be unique and is not."""
    return FieldError(field, "FieldValueDuplicate", f"Duplicate value: {_show(value)}")


def not_found(field: str, value: Any) -> FieldError:
    """The value refers to something that is not there."""
    return FieldError(field, "FieldValueNotFound", f"Not found: {_show(value)}")


def too_long(field: str, limit: int) -> FieldError:
    """The value has more than `limit` bytes."""
    return FieldError(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")


def too_many(field: str, count: int, limit: int) -> FieldError:
    """The list or map has more than `limit` entries."""
    return FieldError(field, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    """The value has the wrong JSON type."""
    return FieldError(field, "FieldValueTypeInvalid", f"Invalid value: {_show(value)}: {detail}")


def aggregate_text(errors: Sequence[FieldError]) -> str:
    """One text for several errors: equal ones once, `[a, b]` when more than one is left."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"

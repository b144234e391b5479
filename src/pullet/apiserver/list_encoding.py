"""Lists as bytes: joined from the bytes of their items, kept while nothing of the kind changes."""

from __future__ import annotations

from collections.abc import Sequence

from pullet.apiserver.reading import Page
from pullet.apiserver.records import Record, encode_json
from pullet.apiserver.views import view_of
from pullet.base.jsonvalue import JsonObject
from pullet.kube.resource import Resource

_KEPT_LISTS = 16


class ListEncoder:
    """Encodes pages. Whole collections come from storage as the same sequence until something changes; by that a list
    encoded before is known again.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Resource, Sequence[Record], bytes]] = {}

    def encode(self, resource: Resource, namespace: str, page: Page, meta: JsonObject) -> list[bytes]:
        """The parts of the list's body, in order."""
        head = {"kind": resource.list_kind, "apiVersion": resource.api_version, "metadata": meta}
        return [encode_json(head)[:-1] + b',"items":[', self._items(resource, namespace, page.records), b"]}"]

    def _items(self, resource: Resource, namespace: str, records: Sequence[Record]) -> bytes:
        key = (f"{resource.root_path}/{resource.plural}", namespace)
        kept = self._kept.pop(key, None)
        if kept is None or kept[0] is not resource or kept[1] is not records:
            encoded = [
                record.encoded if (shown := view_of(resource, record.obj)) is record.obj else encode_json(shown)
                for record in records
            ]
            kept = resource, records, b",".join(encoded)
        self._kept[key] = kept  # at the end: what was not asked for longest is at the beginning
        if len(self._kept) > _KEPT_LISTS:
            del self._kept[next(iter(self._kept))]
        return kept[2]

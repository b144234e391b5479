"""What is served now: the rows of the table and those that established definitions make.

Derived from storage when asked, and anew only when a definition has changed: storage hands out the same sequence of
definitions until then, and that sequence is what `state` compares.
"""

from __future__ import annotations

from collections.abc import Sequence

from pullet.apiserver.records import Record
from pullet.apiserver.storage import Storage
from pullet.kube.custom_rows import custom_rows, version_rank
from pullet.kube.scheme import CUSTOMRESOURCEDEFINITIONS, RESOURCES, Resource, resource_at


class ServedResources:
    """The rows, by path and by group."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._state: Sequence[Record] = ()
        self._custom: dict[tuple[str, str, str], Resource] = {}

    @property
    def state(self) -> object:
        """The same object until what is served changes."""
        self._refresh()
        return self._state

    def at(self, group: str, version: str, plural: str) -> Resource | None:
        """The row served under this group, version and plural name."""
        found = resource_at(group, version, plural)
        if found is not None:
            return found
        self._refresh()
        return self._custom.get((group, version, plural))

    def custom(self) -> list[Resource]:
        """The rows that definitions made."""
        self._refresh()
        return list(self._custom.values())

    def rows(self) -> list[Resource]:
        """All rows."""
        return [*RESOURCES, *self.custom()]

    def views_of(self, resource: Resource) -> list[Resource]:
        """The rows that show the same objects as this one."""
        return [row for row in self.rows() if row.storage_key == resource.storage_key]

    def group_versions(self) -> dict[str, list[str]]:
        """Served versions by group, the preferred one first."""
        found: dict[str, list[str]] = {}
        for row in RESOURCES:
            versions = found.setdefault(row.group, [])
            if row.version not in versions:
                versions.append(row.version)
        added: dict[str, set[str]] = {}
        for row in self.custom():
            if row.version not in found.get(row.group, ()):
                added.setdefault(row.group, set()).add(row.version)
        for group, versions_added in sorted(added.items()):
            found.setdefault(group, []).extend(sorted(versions_added, key=version_rank))
        return found

    def _refresh(self) -> None:
        records = self._storage.list(CUSTOMRESOURCEDEFINITIONS.storage_key)
        if records is self._state:
            return
        self._custom = {
            (row.group, row.version, row.plural): row for record in records for row in custom_rows(record.obj)
        }
        self._state = records

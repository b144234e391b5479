"""get, list and the selection both list and watch share.

A list answers from the committed records at one version. With `limit`, the records of that version are kept for a
while, so that the following pages show the same moment; the continue token names it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pullet.apiserver.records import Record, encode_json
from pullet.apiserver.routing import Query, RequestInfo
from pullet.apiserver.settings import ApiServerSettings
from pullet.apiserver.storage import Storage
from pullet.apiserver.views import view_of
from pullet.apiserver.watch_cache import Matcher
from pullet.kit.clock import Clock
from pullet.kube.field_error import quote
from pullet.kube.meta import labels_of
from pullet.kube.scheme import Resource
from pullet.kube.selector import FieldSelector, LabelSelector, SelectorError, parse_field_selector, parse_label_selector
from pullet.kube.status import BadRequestError, ExpiredError, NotFoundError, TimeoutApiError

CONTINUE_EXPIRED_TEXT = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind a list or watch is about."""

    resource: Resource
    namespace: str
    labels: LabelSelector
    fields: FieldSelector

    @classmethod
    def of(cls, request: RequestInfo) -> Selection:
        """From the request's path and query.

        Raises:
            BadRequestError: a selector that cannot be read.
        """
        try:
            labels = parse_label_selector(request.query.get("labelSelector"))
            fields = parse_field_selector(request.query.get("fieldSelector"))
            fields.check(request.resource.field_labels)
        except SelectorError as error:
            raise BadRequestError(str(error)) from error
        if request.name:  # a watch of one object by its path
            fields = FieldSelector((*fields.terms, *parse_field_selector(f"metadata.name={request.name}").terms))
        return cls(request.resource, request.namespace, labels, fields)

    @property
    def matcher(self) -> Matcher | None:
        """Whether a record belongs; None when every record of the kind does."""
        if not (self.namespace or self.labels or self.fields):
            return None
        return self._matches

    def _matches(self, record: Record) -> bool:
        if self.namespace and record.namespace != self.namespace:
            return False
        if self.labels and not self.labels.matches(labels_of(record.obj)):
            return False
        return not self.fields or self.fields.matches(view_of(self.resource, record.obj))


@dataclass(frozen=True, slots=True)
class Page:
    """A list's records and what its metadata says."""

    records: Sequence[Record]
    resource_version: int
    continue_token: str = ""
    remaining: int | None = None


class _Token(msgspec.Struct):
    version: int
    key: str


@dataclass(frozen=True, slots=True)
class _Snapshot:
    records: Sequence[Record]
    expires_at: float


class Reader:
    """Answers get and list from storage."""

    def __init__(self, *, storage: Storage, clock: Clock, settings: ApiServerSettings) -> None:
        self._storage = storage
        self._clock = clock
        self._keep_seconds = settings.list_snapshot_seconds
        self._snapshots: dict[tuple[str, int], _Snapshot] = {}

    def get(self, resource: Resource, namespace: str, name: str) -> Record:
        """The record as last committed.

        Raises:
            NotFoundError: there is none.
        """
        record = self._storage.get(resource.storage_key, namespace, name)
        if record is None:
            raise NotFoundError.on(resource, name)
        return record

    def list(self, request: RequestInfo) -> Page:
        """The selected records, all or one page of them.

        Raises:
            BadRequestError: selectors, limit or token that cannot be read. ExpiredError: the token's moment is gone.
        """
        selection = Selection.of(request)
        limit = _number(request.query, "limit")
        token = _parse_token(request.query.get("continue"))
        version = self._storage.resource_version
        if token is None:
            self.check_version(_number(request.query, "resourceVersion"))
            records = self._select(selection)
        else:
            version = token.version
            records = [record for record in self._snapshot(selection.resource, token) if record.key > token.key]
            matches = selection.matcher
            records = [record for record in records if matches is None or matches(record)]
        if not limit or len(records) <= limit:
            return Page(records, version)
        page = records[:limit]
        if token is None:
            self._remember(selection.resource, version)
        next_token = base64.urlsafe_b64encode(encode_json(_Token(version, page[-1].key))).decode().rstrip("=")
        # the API tells how many remain only when no selector makes that a guess
        remaining = None if selection.labels or selection.fields else len(records) - limit
        return Page(page, version, next_token, remaining)

    def check_version(self, asked: int) -> None:
        """Refuse a version that was never given out.

        Raises:
            TimeoutApiError: it lies in the future.
        """
        if asked > self._storage.resource_version:
            raise TimeoutApiError(
                f"Timeout: Too large resource version: {asked}, current: {self._storage.resource_version}",
                details={
                    "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                    "retryAfterSeconds": 1,
                },
            )

    def _select(self, selection: Selection) -> Sequence[Record]:
        name = selection.fields.equal("metadata.name")
        if name is not None and (selection.namespace or not selection.resource.namespaced):
            record = self._storage.get(selection.resource.storage_key, selection.namespace, name)
            records: Sequence[Record] = [record] if record else []
        else:
            records = self._storage.list(selection.resource.storage_key, selection.namespace)
        if not (selection.labels or selection.fields):
            return records  # storage has looked at the namespace
        matches = selection.matcher
        return records if matches is None else [record for record in records if matches(record)]

    def _remember(self, resource: Resource, version: int) -> None:
        now = self._clock.monotonic()
        self._snapshots = {key: kept for key, kept in self._snapshots.items() if kept.expires_at > now}
        key = (resource.storage_key, version)
        if key not in self._snapshots:
            records = self._storage.list(resource.storage_key)
            self._snapshots[key] = _Snapshot(records, now + self._keep_seconds)

    def _snapshot(self, resource: Resource, token: _Token) -> Sequence[Record]:
        kept = self._snapshots.get((resource.storage_key, token.version))
        if kept is None or kept.expires_at <= self._clock.monotonic():
            raise ExpiredError(CONTINUE_EXPIRED_TEXT)
        return kept.records


def _number(query: Query, name: str) -> int:
    text = query.get(name)
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 18:
        raise BadRequestError(f"invalid {name} {quote(text)}: must be a non-negative number")
    return int(text)


def _parse_token(text: str) -> _Token | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (ValueError, msgspec.DecodeError) as error:
        raise BadRequestError("continue key is not valid: " + str(error)) from error

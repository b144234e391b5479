"""get, list and the selection both list and watch share.

A list answers from the committed records at one version. With `limit`, the records of that version are kept for a
while, so that the following pages show the same moment; the continue token names it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec

from pullet.apiserver.list_options import EXACT, ListOptions
from pullet.apiserver.records import Record, encode_json
from pullet.apiserver.routing import RequestInfo
from pullet.apiserver.settings import ApiServerSettings
from pullet.apiserver.storage import Storage
from pullet.apiserver.views import view_of
from pullet.apiserver.watch_cache import Matcher
from pullet.base.decodable import decodable
from pullet.base.values import Value
from pullet.kit.clock import Clock
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


class Selection(Value):
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


class Page(Value):
    """A list's records and what its metadata says."""

    records: Sequence[Record]
    resource_version: int
    continue_token: str = ""
    remaining: int | None = None


_LATEST = -1  # the version of a token that goes on with what is there now


class _Token(msgspec.Struct):
    version: int
    key: str


class _Snapshot(Value):
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
            BadRequestError, InvalidError: selectors, options or token that cannot be read.
            ExpiredError: the token's moment, or the version asked for, is gone.
        """
        selection = Selection.of(request)
        options = ListOptions.of(request.query, is_watch=False)
        limit = options.limit
        token = _parse_token(options.token)
        version = self._storage.resource_version
        whole: Sequence[Record] | None = None  # of the kind, where it is not what is there now
        if token is not None and token.version != _LATEST:
            version, whole = token.version, self._snapshot(selection.resource, token)
        else:
            self.check_version(options.resource_version or 0)
            if options.match == EXACT and options.resource_version:
                version = options.resource_version
                whole = self._storage.list_at(selection.resource.storage_key, version)
        if whole is None:
            records = self._select(selection)
        else:
            matches = selection.matcher
            records = [record for record in whole if matches is None or matches(record)]
        if token is not None:
            records = [record for record in records if record.key > token.key]
        if not limit or len(records) <= limit:
            return Page(records, version)
        page = records[:limit]
        self._remember(selection.resource, version, whole)
        next_token = _token_text(_Token(version, page[-1].key))
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

    def _remember(self, resource: Resource, version: int, whole: Sequence[Record] | None) -> None:
        now = self._clock.monotonic()
        self._snapshots = {key: kept for key, kept in self._snapshots.items() if kept.expires_at > now}
        key = (resource.storage_key, version)
        if key not in self._snapshots:
            records = self._storage.list(resource.storage_key) if whole is None else whole
            self._snapshots[key] = _Snapshot(records, now + self._keep_seconds)

    def _snapshot(self, resource: Resource, token: _Token) -> Sequence[Record]:
        kept = self._snapshots.get((resource.storage_key, token.version))
        if kept is None or kept.expires_at <= self._clock.monotonic():
            raise ExpiredError.page(CONTINUE_EXPIRED_TEXT, _token_text(_Token(_LATEST, token.key)))
        return kept.records


def _token_text(token: _Token) -> str:
    return base64.urlsafe_b64encode(encode_json(token)).decode().rstrip("=")


def _parse_token(text: str) -> _Token | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=decodable(_Token))
    except (ValueError, msgspec.DecodeError) as error:
        raise BadRequestError("continue key is not valid: " + str(error)) from error

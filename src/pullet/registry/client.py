"""The registry client: what a name stands for, documents by digest, blobs as streams.

Requests are those that containerd makes: HEAD for a tag or digest, GET of a manifest by digest, GET of blobs. Each goes
to the endpoints of the name's host in order; the first that answers wins, 404 and failures lead to the next one, and
when none has it the first failure other than 404 is the one told.
Source: containerd core/remotes/docker/resolver.go, fetcher.go.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import Final, TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from pullet.base.decodable import decodable
from pullet.base.redact import redact_url
from pullet.base.values import Value
from pullet.kit.clock import Clock
from pullet.oci import distribution, mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest, DigestInvalidError
from pullet.oci.reference import Reference
from pullet.registry.auth import Authorizer
from pullet.registry.blob_download import BlobSource, BlobStream
from pullet.registry.connections import Connections
from pullet.registry.dial import Dialer
from pullet.registry.endpoint import PULL, RESOLVE, Endpoint
from pullet.registry.errors import (
    BlobUnknownError,
    ContentMismatchError,
    DeniedError,
    ManifestUnknownError,
    RegistryError,
    RegistryUnavailableError,
    StatusError,
    TooManyRequestsError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from pullet.registry.host_slots import HostSlots
from pullet.registry.hosts import HostsConfig
from pullet.registry.proxies import ProxySettings
from pullet.registry.response import Response
from pullet.registry.settings import RegistrySettings
from pullet.registry.transport import Caller, Exchange, Request, Transport, pause_unless_stopped

T = TypeVar("T")
_TRY_ANOTHER_LOGIN: Final = frozenset({401, 403, 404})  # some registries say 404 of what a login may not see


class ResolvedManifest(Value, kw_only=True):
    """What a reference stands for now, and the endpoint that said so."""

    descriptor: Descriptor
    endpoint: Endpoint


class _TagList(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] | None = ()


class RegistryClient:
    """Blocking and thread-safe; one for the whole program. Close it."""

    def __init__(
        self,
        hosts: HostsConfig,
        *,
        clock: Clock,
        settings: RegistrySettings | None = None,
        user_agent: str | None = None,
        proxies: ProxySettings | None = None,
    ) -> None:
        """Without `proxies` they are as the environment says now."""
        self._hosts, self._clock = hosts, clock
        self._settings = settings or RegistrySettings()
        self._connections = Connections(
            clock=clock,
            dialer=Dialer(clock=clock, read_timeout_seconds=self._settings.read_timeout_seconds),
            slots=HostSlots(per_host=self._settings.connections_per_host, in_all=self._settings.connections_in_all),
        )
        self._transport = Transport(
            clock=clock,
            connections=self._connections,
            authorizer=Authorizer(clock=clock),
            limits=self._settings.retry,
            user_agent=user_agent,
            proxies=proxies if proxies is not None else ProxySettings.from_environment(os.environ),
        )
        self._lock = threading.Lock()
        self._unhealthy_until: dict[str, float] = {}

    def close(self) -> None:
        """Close idle connections; requests under way end with their callers."""
        self._connections.close()

    def reference(self, image: str) -> Reference:
        """`image` in full, by this machine's short names. Raises ReferenceInvalidError, HostsConfigError."""
        return self._hosts.short_names.expand(image)

    def mirrors(self, reference: Reference) -> tuple[str, ...]:
        """The hosts (with ports) of the mirrors that may serve `reference`. Raises HostsConfigError."""
        return tuple(endpoint.host for endpoint in self._hosts.endpoints(reference.domain) if endpoint.is_mirror)

    def hosts(self, reference: Reference) -> tuple[str, ...]:
        """The hosts (with ports) that serve `reference`, in the configured order. Raises HostsConfigError."""
        return tuple(endpoint.host for endpoint in self._hosts.endpoints(reference.domain))

    def resolve(self, reference: Reference, caller: Caller) -> ResolvedManifest:
        """What `reference` stands for: one HEAD where the registry is well-behaved.

        Raises:
            ManifestUnknownError: every endpoint says 404.
            RegistryError: its leaves for everything else; StoppedError.
        """
        identifier = reference.identifier
        paths = [distribution.manifest_path(reference.path, identifier)]
        if reference.digest is not None:
            paths.append(distribution.blob_path(reference.path, reference.digest))
        capability = PULL if reference.digest is not None else RESOLVE
        for path in paths:
            try:
                found = self._first(reference, capability, partial(self._head, path, reference, caller))
            except DeniedError as error:
                raise self._with_words(error, path, reference, caller) from error
            if found is not None:
                return found
        raise ManifestUnknownError(f"{reference}: not found", host=reference.domain, status=404)

    def fetch_manifest(self, reference: Reference, descriptor: Descriptor, caller: Caller) -> bytes:
        """The bytes of a manifest or index, verified against the descriptor.

        Raises:
            ManifestUnknownError: every endpoint says 404.
            ContentMismatchError: what came is something else.
            RegistryError, StoppedError.
        """
        paths = [distribution.manifest_path(reference.path, descriptor.digest)]
        if not mediatype.is_manifest(descriptor.media_type) and not mediatype.is_index(descriptor.media_type):
            paths.append(distribution.blob_path(reference.path, descriptor.digest))
        for path in paths:
            raw = self._fetch_document(reference, path, descriptor, caller, "manifest")
            if raw is not None:
                return raw
        raise ManifestUnknownError(f"manifest {descriptor.digest}: not found", host=reference.domain, status=404)

    def fetch_config(self, reference: Reference, descriptor: Descriptor, caller: Caller) -> bytes:
        """The bytes of a small blob, verified against the descriptor. Raises as fetch_manifest, BlobUnknownError."""
        path = distribution.blob_path(reference.path, descriptor.digest)
        raw = self._fetch_document(reference, path, descriptor, caller, "config")
        if raw is None:
            raise BlobUnknownError(f"config {descriptor.digest}: not found", host=reference.domain, status=404)
        return raw

    def open_blob(
        self,
        reference: Reference,
        descriptor: Descriptor,
        caller: Caller,
        *,
        offset: int = 0,
        avoid_hosts: Collection[str] = (),
    ) -> BlobStream:
        """The bytes of a blob from `offset` on; nothing is requested before the first read.

        `avoid_hosts` are not asked: those that sent wrong bytes before. The digest is the reader's to check.
        """
        path = distribution.blob_path(reference.path, descriptor.digest)
        endpoints = [one for one in self._endpoints(reference, PULL) if one.host not in avoid_hosts]

        def opener(endpoint: Endpoint, tries: int | None) -> Callable[[dict[str, str]], Response]:
            return lambda headers: self._send(endpoint, _get(path, reference, headers), caller, tries)

        sources = [
            BlobSource(one.host, one.url(path), opener(one, None if one is endpoints[-1] else 1)) for one in endpoints
        ]
        sources += [
            BlobSource(urlsplit(url).netloc, url, partial(self._transport.fetch_url, url, caller))
            for url in descriptor.urls or ()
            if urlsplit(url).scheme in {"http", "https"} and urlsplit(url).netloc not in avoid_hosts
        ]
        return BlobStream(
            sources=sources,
            descriptor=descriptor,
            caller=caller,
            clock=self._clock,
            limits=self._settings.download,
            offset=offset,
            what="layer" if mediatype.is_layer(descriptor.media_type) else "blob",
        )

    def list_tags(self, reference: Reference, caller: Caller, *, limit: int = 1000) -> tuple[str, ...]:
        """Tags of the repository, at most `limit`, as the registry orders them. Raises RegistryError."""
        path = f"{distribution.tags_path(reference.path)}?{urlencode({'n': limit})}"

        def fetch(endpoint: Endpoint, tries: int | None) -> bytes:
            with self._send(endpoint, _get(path, reference, {"Accept": "application/json"}), caller, tries) as response:
                return response.read_all(self._settings.max_manifest_bytes)

        body = self._first(reference, RESOLVE, fetch)
        if body is None:
            return ()
        try:
            return tuple(msgspec.json.decode(body, type=decodable(_TagList)).tags or ())[:limit]
        except msgspec.MsgspecError as error:
            raise RegistryError(f"{reference.repository}: the list of tags is unreadable: {error}") from error

    def check_login(self, domain: str, caller: Caller) -> bool:
        """Show the caller's credential to the registry itself (no mirror); False: it let everybody in without asking.

        Raises:
            UnauthorizedError: it does not accept the credential.
            RegistryError: its other leaves.
        """
        was_asked = False

        def note(exchange: Exchange) -> None:
            nonlocal was_asked
            was_asked = was_asked or exchange.is_authorized
            if caller.on_exchange is not None:
                caller.on_exchange(exchange)

        registry = self._hosts.endpoints(domain)[-1]
        request = Request("GET", "/v2/", "", {"Accept": "application/json"})
        self._send(registry, request, msgspec.structs.replace(caller, on_exchange=note), None).close()
        return was_asked

    def _with_words(self, error: DeniedError, path: str, reference: Reference, caller: Caller) -> DeniedError:
        """The refusal of a HEAD, which has no body, with what the registry says to a GET.

        Source: containerd 2.2 core/remotes/docker/resolver.go.
        """
        if error.is_token_request or error.messages:
            return error
        accept = {"Accept": mediatype.RESOLVE_ACCEPT}
        for endpoint in self._hosts.endpoints(reference.domain):
            if redact_url(endpoint.url(path)) != error.url:
                continue
            try:
                self._send(endpoint, _get(path, reference, accept), caller, 1).close()
            except DeniedError as said:
                return DeniedError(
                    host=error.host, method="HEAD", url=error.url, status=error.status, messages=said.messages
                )
            except RegistryError:
                break
        return error

    def _head(
        self, path: str, reference: Reference, caller: Caller, endpoint: Endpoint, tries: int | None
    ) -> ResolvedManifest:
        headers = {"Accept": mediatype.RESOLVE_ACCEPT}
        with self._send_head(endpoint, Request("HEAD", path, reference.path, headers), caller, tries) as response:
            media_type = mediatype.normalise(response.header("Content-Type"))
            size, digest = response.header("Content-Length"), reference.digest
            if digest is None:
                digest = _digest_header(response)
        if digest is not None and size.isdigit() and media_type:
            descriptor = Descriptor(media_type=media_type, digest=digest, size=int(size))
            return ResolvedManifest(descriptor=descriptor, endpoint=endpoint)
        # a registry that does not say: its manifest tells
        with self._send(endpoint, Request("GET", path, reference.path, headers), caller, tries) as response:
            media_type = mediatype.normalise(response.header("Content-Type"))
            raw = response.read_all(self._settings.max_manifest_bytes)
        descriptor = Descriptor(
            media_type=media_type or mediatype.OCTET_STREAM, digest=reference.digest or Digest.of(raw), size=len(raw)
        )
        return ResolvedManifest(descriptor=descriptor, endpoint=endpoint)

    def _send_head(self, endpoint: Endpoint, request: Request, caller: Caller, tries: int | None) -> Response:
        """As `_send`; a TLS server tells in the body of its 400 that it is one, so HEAD, without body, becomes GET."""
        try:
            return self._send(endpoint, request, caller, tries)
        except UnexpectedStatusError as error:
            if error.status == 400 and not error.is_json and endpoint.base.startswith("http:"):
                self._send(endpoint, msgspec.structs.replace(request, method="GET"), caller, 1).close()
            raise

    def _fetch_document(
        self, reference: Reference, path: str, descriptor: Descriptor, caller: Caller, what: str
    ) -> bytes | None:
        headers = {"Accept": f"{descriptor.media_type}, */*"}
        if descriptor.size > self._settings.max_manifest_bytes:
            raise ContentMismatchError(
                host=reference.domain,
                url="",
                what=what,
                want=f"at most {self._settings.max_manifest_bytes} bytes",
                got=f"{descriptor.size} bytes",
            )

        def fetch(endpoint: Endpoint, tries: int | None) -> bytes:
            raw = self._read_document(endpoint, _get(path, reference, headers), caller, tries)
            got = Digest.of(raw, descriptor.digest.algorithm)
            if got != descriptor.digest:
                raise ContentMismatchError(
                    host=endpoint.host, url=endpoint.url(path), what=what, want=descriptor.digest, got=got
                )
            return raw

        return self._first(reference, PULL, fetch)

    def _read_document(self, endpoint: Endpoint, request: Request, caller: Caller, tries: int | None) -> bytes:
        """The body of one answer; one that breaks off is asked for again, unless the next endpoint is to be asked."""
        limits = self._settings.retry
        for left in reversed(range(limits.tries if tries is None else tries)):
            with self._send(endpoint, request, caller, tries) as response:
                try:
                    return response.read_all(self._settings.max_manifest_bytes, is_late=self._timer())
                except RegistryUnavailableError as error:
                    if not error.was_cut or not left:
                        raise
            pause_unless_stopped(caller.stop, limits.first_pause_seconds)
        raise AssertionError("at least one try is allowed")

    def _timer(self) -> Callable[[], bool]:
        deadline = self._clock.monotonic() + self._settings.document_timeout_seconds
        return lambda: self._clock.monotonic() > deadline

    def _first(self, reference: Reference, capability: str, ask: Callable[[Endpoint, int | None], T]) -> T | None:
        """What the first endpoint that has it says; None if all say 404; else the first other failure is raised."""
        failure: RegistryError | None = None
        refusal: RegistryError | None = None  # of a mirror, which says nothing of the image when the registry answers
        endpoints = self._endpoints(reference, capability)
        for endpoint in endpoints:
            try:
                # an endpoint with others behind it gets one try: the next one is quicker than a pause
                return ask(endpoint, None if endpoint is endpoints[-1] else 1)
            except RegistryError as error:
                if endpoint.is_mirror and isinstance(error, UnauthorizedError | DeniedError):
                    refusal = refusal or error
                elif not (isinstance(error, StatusError) and error.status == 404):
                    failure = failure or error
        if failure is None and all(endpoint.is_mirror for endpoint in endpoints):
            failure = refusal
        if failure is not None:
            raise failure
        return None

    def _send(self, endpoint: Endpoint, request: Request, caller: Caller, tries: int | None) -> Response:
        *others, last = caller.at(endpoint)
        for each in others:
            try:
                return self._send_as(each, endpoint, request, tries)
            except StatusError as error:
                if error.status not in _TRY_ANOTHER_LOGIN:
                    raise
        return self._send_as(last, endpoint, request, tries)

    def _send_as(self, caller: Caller, endpoint: Endpoint, request: Request, tries: int | None) -> Response:
        try:
            response = self._transport.send(endpoint, request, caller, tries=tries)
        except RegistryUnavailableError:
            self._ask_last(endpoint, self._settings.unhealthy_seconds)
            raise
        except TooManyRequestsError as error:
            self._ask_last(endpoint, error.retry_after_seconds or self._settings.unhealthy_seconds)
            raise
        if response.rate_limit is not None and response.rate_limit.remaining == 0:
            self._ask_last(endpoint, self._settings.unhealthy_seconds)
        else:
            with self._lock:
                self._unhealthy_until.pop(endpoint.base, None)
        return response

    def _ask_last(self, endpoint: Endpoint, seconds: float) -> None:
        """For so long the others come first: it does not answer, or wants to be left alone."""
        until = self._clock.monotonic() + min(seconds, self._settings.max_unhealthy_seconds)
        with self._lock:
            self._unhealthy_until[endpoint.base] = until

    def _endpoints(self, reference: Reference, capability: str) -> list[Endpoint]:
        found = [one for one in self._hosts.endpoints(reference.domain) if capability in one.capabilities]
        if not found:
            raise RegistryError(
                f"no endpoint of {reference.domain} may {capability}: see its hosts.toml", host=reference.domain
            )
        now = self._clock.monotonic()
        with self._lock:
            sick = {base for base, until in self._unhealthy_until.items() if until > now}
        return sorted(found, key=lambda endpoint: endpoint.base in sick)


def _get(path: str, reference: Reference, headers: dict[str, str]) -> Request:
    return Request("GET", path, reference.path, headers)


def _digest_header(response: Response) -> Digest | None:
    try:
        return Digest(response.header(distribution.CONTENT_DIGEST_HEADER))
    except DigestInvalidError:
        return None

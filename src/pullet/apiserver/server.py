"""The API server as one thing to start and stop.

    async with ApiServer(root=…, settings=…, clock=…) as server:     # listening when the block begins
        server.url, server.admin_kubeconfig, server.authority, server.issue_kubeconfig(…)
        await server.run()                                            # until cancelled
Leaving the block ends watches, answers what is under way, and closes the database.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from uvicorn import Config, Server

from pullet.apiserver.admission_chain import AdmissionChain
from pullet.apiserver.app import Application
from pullet.apiserver.authentication import Authenticator
from pullet.apiserver.bootstrap import ensure_namespaces, expire_events
from pullet.apiserver.certificates import CertificateAuthority, kubeconfig
from pullet.apiserver.definition_keeper import DefinitionKeeper
from pullet.apiserver.discovery import Discovery
from pullet.apiserver.evictions import Evictions
from pullet.apiserver.http_protocol import ApiHttpProtocol
from pullet.apiserver.kubernetes_service import (
    RECONCILE_SECONDS,
    advertised_addresses,
    ensure_kubernetes_service,
)
from pullet.apiserver.managed_fields import FieldOwnership
from pullet.apiserver.metrics import ApiMetrics
from pullet.apiserver.node_authorizer import Authorizer
from pullet.apiserver.node_proxy import NodeProxy
from pullet.apiserver.openapi import OpenApi
from pullet.apiserver.reading import Reader
from pullet.apiserver.request_context import MASTERS_GROUP, User
from pullet.apiserver.rest import RestHandler
from pullet.apiserver.reviews import Reviews
from pullet.apiserver.schemas import Schemas
from pullet.apiserver.served_resources import ServedResources
from pullet.apiserver.server_side_apply import Applier
from pullet.apiserver.service_account_tokens import ServiceAccountTokens
from pullet.apiserver.settings import ApiServerSettings
from pullet.apiserver.storage import Storage
from pullet.apiserver.subresources import Subresources
from pullet.apiserver.watching import WatchKeeper
from pullet.apiserver.webhook_client import WebhookClient
from pullet.apiserver.webhooks import Webhooks
from pullet.apiserver.writing import Writer
from pullet.base.errors import PulletError
from pullet.base.jsonvalue import JsonObject
from pullet.base.redact import Secret
from pullet.base.values import Value
from pullet.kit.atomic_file import write_atomic
from pullet.kit.clock import Clock, SystemClock
from pullet.kit.tasks import Supervisor
from pullet.kit.worker_threads import WorkerThreads

log = logging.getLogger(__name__)
_KEEP_ALIVE_SECONDS = 120
_SHUTDOWN_SECONDS = 2
_EVENT_SWEEP_SECONDS = 60.0
_RESTART_SECONDS = 1.0
NODES_GROUP = "system:nodes"
_IP_FREEBIND = 15


class AddressInUseError(PulletError):
    """Somebody else listens where the API server should."""

    reason = "AddressInUse"


class NodeServing(Value):
    """PEM files of a node's server."""

    certificate_path: Path
    key_path: Path
    client_authority_path: Path


class PodBridge(Value):
    """A bridge of pods and the address it has, or will have: there the server listens to its pods alone."""

    device: str
    address: str


class ApiServer:
    """The Kubernetes API of one cluster, its state below `root`."""

    def __init__(
        self,
        *,
        root: Path,
        settings: ApiServerSettings | None = None,
        clock: Clock | None = None,
        static_tokens: Sequence[tuple[Secret, User]] = (),
        extra_hosts: Sequence[str] = (),
        pod_bridges: Sequence[PodBridge] = (),
    ) -> None:
        """`extra_hosts` are further names and addresses the server's certificate is good for.

        `pod_bridges` are listened on too, at the same port, for what arrives through them.
        """
        self._root = root
        self._settings = settings or ApiServerSettings()
        self._clock = clock or SystemClock()
        self._static_tokens = static_tokens
        self._extra_hosts = extra_hosts
        self._pod_bridges = pod_bridges
        self._sockets: list[socket.socket] = []
        self._threads = WorkerThreads("apiserver", 2)
        self.port = self._settings.port

    @property
    def url(self) -> str:
        """Where clients connect."""
        host = self._settings.bind_address
        if host in ("0.0.0.0", "::", ""):
            host = "127.0.0.1"
        return f"https://[{host}]:{self.port}" if ":" in host else f"https://{host}:{self.port}"

    @property
    def kubeconfig_path(self) -> Path:
        """The administrator's kubeconfig, written at start."""
        return self._root / "admin.kubeconfig"

    async def __aenter__(self) -> Self:
        try:
            await self._threads.run(self._prepare)
        except BaseException:
            await self._threads.aclose()
            raise
        try:
            await ensure_namespaces(self._storage, self._clock)
            await self._ensure_service()
            self._wire()
            await self._listen()
        except BaseException:
            await self._threads.run(self._storage.close)
            await self._threads.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._storage.close_watches()
        await self._server.shutdown(sockets=self._sockets)
        await self._threads.run(self._storage.close)
        await self._threads.aclose()

    async def run(self) -> None:
        """Serve, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server.main_loop(), name="apiserver/http")
            group.create_task(self._watches.run(), name="apiserver/watches")
            group.create_task(self._sweep_events(), name="apiserver/events")
            group.create_task(self._keep_definitions(), name="apiserver/definitions")
            group.create_task(self._keep_service(), name="apiserver/service")

    async def _keep_definitions(self) -> None:
        """A definition that the keeper stumbles over must not end the server."""
        async with Supervisor(clock=self._clock) as keeping:
            await keeping.start("definitions", self._definitions.run, restart_seconds=_RESTART_SECONDS)

    async def _sweep_events(self) -> None:
        while True:
            await self._clock.sleep(_EVENT_SWEEP_SECONDS)
            await expire_events(self._storage, self._clock, self._settings.event_ttl_seconds)

    async def _keep_service(self) -> None:
        while True:
            await self._clock.sleep(RECONCILE_SECONDS)
            await self._ensure_service()

    async def _ensure_service(self) -> None:
        bridges = [bridge.address for bridge in self._pod_bridges]
        addresses = advertised_addresses(self._settings.bind_address, bridges, self._extra_hosts)
        await ensure_kubernetes_service(self._storage, self._clock, addresses=addresses, port=self.port)

    def _prepare(self) -> None:
        """Everything that touches files."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        now = self._clock.now()
        self._sockets = [_bind(self._settings.bind_address, self.port)]
        self.port = self._sockets[0].getsockname()[1]
        try:
            self._sockets += [_bind(bridge.address, self.port, device=bridge.device) for bridge in self._pod_bridges]
            self.authority = CertificateAuthority.open(self._root / "pki", now=now)
            self.authority.ensure_server("apiserver", hosts=self._hosts(), now=now)
            self._tls = self._tls_context()
            self._node_tls = self._node_tls_context(now)
            self._write_kubeconfig()
            self._account_key = self.authority.service_account_key()
            self._schemas = Schemas.load()
            self._storage = Storage.open(self._root / "objects.sqlite")
        except BaseException:
            for listener in self._sockets:
                listener.close()
            raise

    def _hosts(self) -> list[str]:
        hosts = ["127.0.0.1", "::1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        address = self._settings.bind_address
        if address and not ipaddress.ip_address(address).is_unspecified:
            hosts.append(address)
        return [*hosts, *self._extra_hosts]

    def _tls_context(self) -> ssl.SSLContext:
        certificate_path, key_path = self.authority.paths("apiserver")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate_path, key_path)
        context.load_verify_locations(self.authority.certificate_path)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _node_tls_context(self, now: datetime) -> ssl.SSLContext:
        """How this server shows itself to nodes, and which nodes it trusts."""
        self.authority.ensure_client(
            "apiserver-kubelet-client",
            common_name="kube-apiserver-kubelet-client",
            organizations=[MASTERS_GROUP],
            now=now,
        )
        context = ssl.create_default_context(cafile=str(self.authority.certificate_path))
        context.load_cert_chain(*self.authority.paths("apiserver-kubelet-client"))
        return context

    async def issue_node_serving(self, node_name: str, hosts: Sequence[str]) -> NodeServing:
        """The files a node's own server needs: its certificate and key, and the authority its clients come from."""
        file_name = f"node-{node_name}-serving"
        await self._threads.run(self.authority.ensure_server, file_name, hosts=hosts, now=self._clock.now())
        certificate_path, key_path = self.authority.paths(file_name)
        return NodeServing(certificate_path, key_path, self.authority.certificate_path)

    def _write_kubeconfig(self) -> None:
        client = self.authority.ensure_client(
            "admin", common_name="kubernetes-admin", organizations=[MASTERS_GROUP], now=self._clock.now()
        )
        self.admin_kubeconfig = kubeconfig(
            server=self.url,
            authority_pem=self.authority.certificate_pem,
            client=client,
            cluster=self._settings.cluster_name,
        )
        write_atomic(self.kubeconfig_path, yaml.safe_dump(self.admin_kubeconfig, sort_keys=False).encode())

    async def issue_kubeconfig(self, *, user: str, groups: Sequence[str] = (), file_name: str = "") -> JsonObject:
        """A kubeconfig for another identity; with `file_name` its certificate is kept and reused."""
        return await self._threads.run(self._issue, user, groups, file_name)

    def _issue(self, user: str, groups: Sequence[str], file_name: str) -> JsonObject:
        now = self._clock.now()
        if file_name:
            client = self.authority.ensure_client(file_name, common_name=user, organizations=groups, now=now)
        else:
            client = self.authority.issue_client(user, groups, now=now)
        return kubeconfig(
            server=self.url,
            authority_pem=self.authority.certificate_pem,
            client=client,
            cluster=self._settings.cluster_name,
            user=user,
        )

    async def issue_node_kubeconfig(self, node_name: str) -> JsonObject:
        """The kubeconfig of a node's kubelet."""
        return await self.issue_kubeconfig(
            user=f"system:node:{node_name}", groups=[NODES_GROUP], file_name=f"node-{node_name}"
        )

    def _wire(self) -> None:
        storage, clock, settings, schemas = self._storage, self._clock, self._settings, self._schemas
        served = ServedResources(storage)
        reader = Reader(storage=storage, clock=clock, settings=settings)
        webhooks = Webhooks(
            storage=storage, served=served, schemas=schemas, client=WebhookClient(threads=self._threads)
        )
        admission = AdmissionChain(storage=storage, webhooks=webhooks, clock=clock, settings=settings)
        ownership = FieldOwnership(schemas)
        writer = Writer(storage=storage, admission=admission, ownership=ownership, clock=clock)
        self._definitions = DefinitionKeeper(storage=storage, writer=writer, clock=clock)
        self._watches = WatchKeeper(storage=storage, clock=clock, settings=settings, reader=reader)
        applier = Applier(storage=storage, writer=writer, ownership=ownership, schemas=schemas, clock=clock)
        rest = RestHandler(
            reader=reader, writer=writer, watches=self._watches, schemas=schemas, applier=applier, clock=clock,
            settings=settings,
        )  # fmt: skip
        tokens = ServiceAccountTokens(key=self._account_key, storage=storage, clock=clock)
        nodes = NodeProxy(reader=reader, tls=lambda: self._node_tls)
        evictions = Evictions(storage=storage, reader=reader, writer=writer, admission=admission, clock=clock)
        subresources = Subresources(
            rest=rest,
            admission=admission,
            evictions=evictions,
            nodes=nodes,
            reader=reader,
            writer=writer,
            tokens=tokens,
            schemas=schemas,
            clock=clock,
            settings=settings,
        )
        authorizer = Authorizer(storage=storage)
        self._app = Application(
            authenticator=Authenticator(tokens=tokens, static_tokens=self._static_tokens),
            authorizer=authorizer,
            rest=rest,
            reviews=Reviews(authorizer=authorizer, tokens=tokens, clock=clock),
            subresources=subresources,
            served=served,
            discovery=Discovery(served),
            openapi=OpenApi(schemas, served, settings.git_version),
            metrics=ApiMetrics(storage=storage, served=served, git_version=settings.git_version),
            clock=clock,
            git_version=settings.git_version,
        )

    async def _listen(self) -> None:
        context = self._tls

        def tls(config: Config, default: Any) -> ssl.SSLContext:
            del config, default
            return context

        config = Config(
            self._app,
            http=ApiHttpProtocol,
            ws="wsproto",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_context_factory=tls,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            backlog=1024,
        )
        config.load()
        self._server = Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=self._sockets)
        log.info("API server listens", extra={"url": self.url})


def _bind(address: str, port: int, *, device: str = "") -> socket.socket:
    """A listening socket; with `device` for what arrives there alone, at an address the device may get later."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    # with its protocol named, or asyncio leaves Nagle on and each answer waits for the acknowledgement of its head
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if device:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise AddressInUseError(
            f"the API server cannot listen on {address}:{port}: {error.strerror}; choose another port"
        ) from error
    return listener

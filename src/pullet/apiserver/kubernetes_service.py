"""The Service `kubernetes` in `default`, by which the API server is found: it, its Endpoints and its EndpointSlice.

As every Service here it has no cluster IP; its endpoints are where the server really listens.
Source: kubernetes pkg/controlplane/controller/kubernetesservice, pkg/controlplane/reconcilers.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from typing import Any

from pullet.apiserver.records import mutable_copy
from pullet.apiserver.storage import Storage, Transaction
from pullet.base.jsonvalue import JsonObject
from pullet.kit.clock import Clock
from pullet.kube import inert_kinds, scheme
from pullet.kube.meta import format_time
from pullet.kube.scheme import Resource
from pullet.policy.object_defaulting import default_service

RECONCILE_SECONDS = 10.0
_NAME = "kubernetes"
_NAMESPACE = "default"


def advertised_addresses(bind_address: str, bridges: Sequence[str], others: Sequence[str]) -> list[str]:
    """Where clients in pods find the server, or, when it is for this machine alone, where it listens.

    `bridges` it listens on besides; `others` are names and addresses of this machine, for a server that listens
    everywhere.
    """
    if not bind_address or ipaddress.ip_address(bind_address).is_unspecified:
        known = sorted((text for text in others if _is_routable(text)), key=lambda text: ":" in text)
        return known[:1] or ["127.0.0.1"]
    if ipaddress.ip_address(bind_address).is_loopback and bridges:
        return list(bridges)
    return [bind_address]


def _is_routable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False  # a name
    return not (address.is_loopback or address.is_link_local)


async def ensure_kubernetes_service(storage: Storage, clock: Clock, *, addresses: Sequence[str], port: int) -> None:
    """Make the three objects, or set right what is not so; what else their owner wrote into them stays."""
    created = format_time(clock.now())
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    service: JsonObject = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"labels": {"component": "apiserver", "provider": _NAME}},
        "spec": {"ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]},
    }
    default_service(service)
    endpoints: JsonObject = {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address} for address in addresses], "ports": ports}],
    }
    endpoint_slice: JsonObject = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"labels": {"kubernetes.io/service-name": _NAME}},
        "addressType": "IPv6" if ":" in addresses[0] else "IPv4",
        "endpoints": [{"addresses": list(addresses), "conditions": {"ready": True}}],
        "ports": ports,
    }
    async with storage.transaction() as transaction:
        _ensure(transaction, scheme.SERVICES, service, ("spec", "ports"), created)
        _ensure(transaction, scheme.ENDPOINTS, endpoints, ("subsets",), created)
        for field in (("addressType",), ("endpoints",), ("ports",)):
            _ensure(transaction, inert_kinds.ENDPOINTSLICES, endpoint_slice, field, created)


def _ensure(
    transaction: Transaction, resource: Resource, wanted: JsonObject, field: Sequence[str], created: str
) -> None:
    current = transaction.get(resource.storage_key, _NAMESPACE, _NAME)
    if current is None:
        meta = {"name": _NAME, "namespace": _NAMESPACE, "uid": str(uuid.uuid4()), "creationTimestamp": created}
        transaction.put(resource.storage_key, {**wanted, "metadata": {**meta, **wanted["metadata"]}})
        return
    obj: Any = mutable_copy(current.obj)
    holder, source = obj, wanted
    for name in field[:-1]:
        holder, source = holder.setdefault(name, {}), source[name]
    if holder.get(field[-1]) != source[field[-1]]:
        holder[field[-1]] = source[field[-1]]
        transaction.put(resource.storage_key, obj)

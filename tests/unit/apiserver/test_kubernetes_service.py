"""The Service by which the API server is found."""

from __future__ import annotations

import pytest
from tests.unit.apiserver.api_world import Api

from pullet.apiserver.kubernetes_service import advertised_addresses, ensure_kubernetes_service
from pullet.apiserver.storage import Storage
from pullet.kit.clock import SystemClock

SERVICE = "/api/v1/namespaces/default/services/kubernetes"
ENDPOINTS = "/api/v1/namespaces/default/endpoints/kubernetes"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"


async def test_it_says_where_the_server_listens(api: Api) -> None:
    port = api.server.port
    service = await api.ok("GET", SERVICE)
    assert service["metadata"]["labels"] == {"component": "apiserver", "provider": "kubernetes"}
    assert service["spec"] == {
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }
    served = [{"name": "https", "port": port, "protocol": "TCP"}]
    assert (await api.ok("GET", ENDPOINTS))["subsets"] == [{"addresses": [{"ip": "127.0.0.1"}], "ports": served}]
    found = await api.ok("GET", SLICE)
    assert (found["endpoints"][0]["addresses"], found["ports"]) == (["127.0.0.1"], served)


async def test_it_comes_back_and_keeps_what_others_wrote(api: Api) -> None:
    storage: Storage = api.server._storage  # what the server itself does every ten seconds
    before = await api.ok("GET", ENDPOINTS)
    await api.ok("DELETE", SERVICE)
    labels = {"metadata": {"labels": {"mine": "yes"}}, "ports": []}
    await api.ok("PATCH", SLICE, labels, content_type="application/merge-patch+json")
    await ensure_kubernetes_service(storage, SystemClock(), addresses=["127.0.0.1"], port=api.server.port)
    assert (await api.ok("GET", SERVICE))["metadata"]["labels"]["component"] == "apiserver"
    found = await api.ok("GET", SLICE)
    assert found["metadata"]["labels"]["mine"] == "yes"
    assert found["ports"][0]["port"] == api.server.port
    assert await api.ok("GET", ENDPOINTS) == before, "what is right is not written again"


@pytest.mark.parametrize(
    ("bind_address", "bridges", "others", "addresses"),
    [
        ("127.0.0.1", [], [], ["127.0.0.1"]),
        ("127.0.0.1", ["10.1.0.1", "10.1.1.1"], [], ["10.1.0.1", "10.1.1.1"]),
        ("192.0.2.1", [], ["192.0.2.7"], ["192.0.2.1"]),
        ("0.0.0.0", [], ["machine", "2001:db8::1", "127.0.1.1", "192.0.2.7", "10.1.0.1"], ["192.0.2.7"]),
        ("::", [], ["machine"], ["127.0.0.1"]),
    ],
)
def test_addresses(bind_address: str, bridges: list[str], others: list[str], addresses: list[str]) -> None:
    assert advertised_addresses(bind_address, bridges, others) == addresses

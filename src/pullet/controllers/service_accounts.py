"""Gives every namespace its ServiceAccount `default` and the cluster's CA as ConfigMap `kube-root-ca.crt`.

Source: kubernetes pkg/controller/serviceaccount/serviceaccounts_controller.go, certificates/rootcacertpublisher.
"""

from __future__ import annotations

from collections.abc import Iterable

from pullet.base.jsonvalue import JsonObject
from pullet.controllers.informers import Informers
from pullet.controllers.reconciler import Reconciler, Source
from pullet.kit.clock import Clock
from pullet.kube.meta import is_deleting
from pullet.kube.scheme import CONFIGMAPS, NAMESPACES, SERVICEACCOUNTS, Resource
from pullet.kube.status import AlreadyExistsError
from pullet.kubeclient.client import ApiClient
from pullet.kubeclient.object_cache import Change, Key

DEFAULT_SERVICE_ACCOUNT = "default"
ROOT_CA_CONFIGMAP = "kube-root-ca.crt"
_ROOT_CA_KEY = "ca.crt"
_ROOT_CA_NOTE = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class ServiceAccountsController:
    """Runs until cancelled; makes again what somebody deleted. `root_ca` is PEM text."""

    def __init__(self, *, client: ApiClient, informers: Informers, clock: Clock, root_ca: str) -> None:
        self._client = client
        self._root_ca = root_ca
        self._namespaces = informers.of(NAMESPACES)
        self._accounts = informers.of(SERVICEACCOUNTS)
        self._bundles = informers.of(CONFIGMAPS, field_selector=f"metadata.name={ROOT_CA_CONFIGMAP}")
        self._reconciler = Reconciler(
            name="service-accounts",
            clock=clock,
            reconcile=self.reconcile,
            sources=(
                Source(self._namespaces, lambda change: (("", change.key[1]),)),
                Source(self._accounts, _namespace_of_default),
                Source(self._bundles, lambda change: (("", change.key[0]),)),
            ),
        )

    async def run(self) -> None:
        """Reconcile until cancelled."""
        await self._reconciler.run()

    async def reconcile(self, key: Key) -> float | None:
        """Look after one namespace."""
        namespace = key[1]
        found = self._namespaces.get("", namespace)
        if found is None or is_deleting(found):
            return None
        if self._accounts.get(namespace, DEFAULT_SERVICE_ACCOUNT) is None:
            account: JsonObject = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": DEFAULT_SERVICE_ACCOUNT, "namespace": namespace},
            }
            await self._create(SERVICEACCOUNTS, namespace, account)
        bundle = self._bundles.get(namespace, ROOT_CA_CONFIGMAP)
        data = {_ROOT_CA_KEY: self._root_ca}
        if bundle is None:
            note = {"kubernetes.io/description": _ROOT_CA_NOTE}
            meta = {"name": ROOT_CA_CONFIGMAP, "namespace": namespace, "annotations": note}
            await self._create(
                CONFIGMAPS, namespace, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
            )
        elif bundle.get("data") != data:
            await self._client.update(CONFIGMAPS, namespace, bundle | {"data": data})
        return None

    async def _create(self, resource: Resource, namespace: str, obj: JsonObject) -> None:
        try:
            await self._client.create(resource, namespace, obj)
        except AlreadyExistsError:
            return  # the watch is about to tell


def _namespace_of_default(change: Change) -> Iterable[Key]:
    return (("", change.key[0]),) if change.key[1] == DEFAULT_SERVICE_ACCOUNT else ()

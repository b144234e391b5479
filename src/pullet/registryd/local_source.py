"""The registry as a pull on the same store sees it: no network, no second copy."""

from __future__ import annotations

from collections.abc import Collection

from pullet.oci.descriptor import Descriptor
from pullet.registryd.catalogue import Catalogue


class CatalogueSource:
    """Resolves names of the hosts that this registry is, or stands in for. Blocking."""

    def __init__(self, catalogue: Catalogue, hosts: Collection[str]) -> None:
        self._catalogue, self._hosts = catalogue, frozenset(hosts)

    def resolve(self, host: str, repository: str, identifier: str) -> Descriptor | None:
        """The manifest for a tag or digest, if `host` is one of ours and the repository has it."""
        if host not in self._hosts:
            return None
        row = self._catalogue.manifest(repository, identifier)
        if row is None:
            return None
        return Descriptor(media_type=row.media_type, digest=row.digest, size=row.size_bytes)

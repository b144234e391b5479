"""Chain IDs: one name for a stack of layers. Source: image-spec v1.1 config.md, "Layer ChainID"."""

from __future__ import annotations

from collections.abc import Sequence

from pullet.oci.digest import ChainID, DiffID, Digest


def chain_ids(diff_ids: Sequence[DiffID]) -> tuple[ChainID, ...]:
    """The chain id of every prefix, lowest first: the last one names the whole stack."""
    chain: list[ChainID] = []
    for diff_id in diff_ids:
        if chain:
            chain.append(ChainID(str(Digest.of(f"{chain[-1]} {diff_id}".encode()))))
        else:
            chain.append(ChainID(diff_id))
    return tuple(chain)

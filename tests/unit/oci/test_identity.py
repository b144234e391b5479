from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pullet.oci.digest import DiffID, Digest
from pullet.oci.identity import chain_ids

diff_id = st.binary().map(lambda content: DiffID(str(Digest.of(content))))


def test_chain_ids_of_a_recorded_image() -> None:
    # chainID as a real containerd printed it for these two layers
    chain = chain_ids(
        [
            DiffID("sha256:8f91906577fc729d165ca14ccbc8e16ac8ebb5c863f6e2c2df5a3103a5026384"),
            DiffID("sha256:5a1ffe6a6d565fe55696b6befc2634cc6b3aa5beec18dae373d714cc0c890a2d"),
        ]
    )
    assert chain == (
        "sha256:8f91906577fc729d165ca14ccbc8e16ac8ebb5c863f6e2c2df5a3103a5026384",
        "sha256:cc0ece02be27dc58010c8b70f3ee14cd6699dba1859c59e90d5df256e8f85312",
    )


@given(st.lists(diff_id, max_size=6))
def test_a_prefix_of_layers_has_a_prefix_of_the_chain(layers: list[DiffID]) -> None:
    chain = chain_ids(layers)
    assert len(chain) == len(layers)
    for count in range(len(layers)):
        assert chain_ids(layers[:count]) == chain[:count]

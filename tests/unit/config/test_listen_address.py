"""Where the API server listens: loopback unless told otherwise."""

from __future__ import annotations

import pytest

from pullet.base.errors import UsageError
from pullet.config import load_settings


@pytest.mark.parametrize(
    ("address", "is_open"),
    [(None, False), ("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("::", True), ("192.0.2.1", True)],
)
def test_only_loopback_is_closed(address: str | None, *, is_open: bool) -> None:
    assert load_settings(None, {"listen_address": address}).is_open_to_the_network is is_open


def test_names_are_no_addresses() -> None:
    with pytest.raises(UsageError, match="listenAddress: 'localhost' is no IP address"):
        load_settings(None, {"listen_address": "localhost"})

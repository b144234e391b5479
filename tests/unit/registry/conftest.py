from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.unit.registry.clients import client_of

from pullet.registry.client import RegistryClient
from pullet.testing.fake_registry import FakeRegistry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def mirror() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def client(registry: FakeRegistry) -> Iterator[RegistryClient]:
    with closing(client_of(registry)) as client:
        yield client

"""One node for the whole session, with a registry that holds the images the tests run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.harness import Pullet, running, scratch_directory
from tests.golden.images import ImageSpec, PushedImages, Pusher
from tests.golden.registry_process import docker_registry
from tests.golden.stage import write_hosts

PULLED = ("busybox:1.36", "web:1.0", "web:1.1")  # so that what the tests see does not depend on who comes first
IMAGES = (*PULLED, "nginx:1.17.1")


@pytest.fixture(scope="session")
def shared_node() -> Iterator[Pullet]:
    """A node that many tests use at once, each in a namespace of its own."""
    with scratch_directory("shared") as directory, docker_registry(directory / "registry") as registry:
        pusher = Pusher(registry, PushedImages())
        for name in IMAGES:
            pusher.push(ImageSpec(name=name, is_index=False))
        pusher.close()
        write_hosts(directory / "certs.d", "docker.io", f"http://127.0.0.1:{registry.port}")
        config = {"registryHosts": str(directory / "certs.d"), "kubelet": {"registryPullQPS": 0}}
        with running(Pullet(directory / "node", config=config)) as pullet:
            for name in PULLED:
                pullet.pullet("images", "pull", name).ok()
            yield pullet

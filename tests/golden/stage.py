"""What a replay runs on: docker-registry behind a request log, a node that reaches it as docker.io, and the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.harness import Pullet, running
from tests.golden.images import ImageSpec, PushedImages, Pusher
from tests.golden.registry_process import RegistryProcess, docker_registry
from tests.golden.request_log import Answer, RequestLog
from tests.golden.watching import Watched, watching

# what the manifests of the recordings ask for and what lay in the recording's registries
PUBLIC_IMAGES = (
    ImageSpec(name="warm:1", text="brings the shared layer"),
    ImageSpec(name="nginx:latest"),
    ImageSpec(name="nginx:1.17.0", is_manifest_first=True),
    *(ImageSpec(name=f"nginx:{tag}") for tag in ("1.17.1", "1.19")),
    ImageSpec(name="nginx:1.16", is_docker=True),
    *(ImageSpec(name=f"busybox:{tag}", is_index=False) for tag in ("1.33", "1.34", "1.35", "1.36")),
    ImageSpec(name="busybox:latest", is_index=False),
    *(ImageSpec(name=f"web:{tag}", is_index=False) for tag in ("1.0", "1.1")),
    *(
        ImageSpec(name=f"{name}:v1", text=f"{name}-first", is_index=False)
        for name in (
            "movealways",
            "moveifnp",
            "movenever",
            "movedigest",
        )
    ),
    ImageSpec(name="data:v1", is_index=False, files=(("data/hello.txt", b"hello from image volume\n"),)),
    ImageSpec(name="crash:1.0", is_index=False, command=("exit", "1", "2")),
    ImageSpec(name="crashifnp:1.0", is_index=False, command=("exit", "1", "2")),
)
PRIVATE_IMAGES = (
    *(ImageSpec(name=f"team/app:1.{number}", is_index=False) for number in range(5)),
    ImageSpec(name="team/kep:1.0", is_index=False),
    ImageSpec(name="team/kep:1.1", is_index=False),
    ImageSpec(name="team/kep:1.5", text="team/kep:1.0", is_index=False),  # another tag of the same image
)
DENIED = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
# bytes a second: a pull takes as long as in the recording, where two pods made at once both find the image absent
PACE = {"library/web": 1_500}
TROUBLE = {
    "library/err500": Answer(status=500, body=b"internal error"),
    "library/err429": Answer(status=429, body=b"slow down", headers=(("Retry-After", "5"),)),
    "library/err403": Answer(status=403, body=DENIED, headers=(("Content-Type", "application/json"),)),
}


@dataclass(kw_only=True)
class Registries:
    """The open registry (docker.io) and the one that wants a password (registry.example.com)."""

    public: RegistryProcess
    private: RegistryProcess
    pushed: PushedImages

    def push(self, spec: ImageSpec) -> None:
        """Put an image into the open registry, moving its tag if it is there."""
        pusher = Pusher(self.public, self.pushed)
        try:
            pusher.push(spec)
        finally:
            pusher.close()


@contextmanager
def registries(directory: Path) -> Iterator[Registries]:
    """Start both registries and fill them."""
    with ExitStack() as stack:
        public = stack.enter_context(docker_registry(directory / "public"))
        private = stack.enter_context(docker_registry(directory / "private", with_password=True))
        pushed = PushedImages()
        for registry, specs in ((public, PUBLIC_IMAGES), (private, PRIVATE_IMAGES)):
            pusher = Pusher(registry, pushed)
            for spec in specs:
                pusher.push(spec)
            pusher.close()
        yield Registries(public=public, private=private, pushed=pushed)


def write_hosts(directory: Path, host: str, server: str) -> None:
    """A hosts.toml by which `host` is reached at `server` and nowhere else."""
    folder = directory / host
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.toml").write_text(f'server = "{server}"\n')


@dataclass(kw_only=True)
class Stage:
    """One node, the logs of what it alone asks the registries, and what kubectl says of it."""

    pullet: Pullet
    registries: Registries
    public_log: RequestLog
    private_log: RequestLog
    watched: Watched


@contextmanager
def stage(directory: Path, world: Registries, name: str, config: Mapping[str, object]) -> Iterator[Stage]:
    """A node of its own, called node1 as in the recording, with the layer that all images share already there.

    The scenarios run at once here, one after the other there: so this node does not limit how often it pulls.
    """
    hosts = directory / f"{name}.certs.d"
    settings = {"registryHosts": str(hosts), "kubelet": {"registryPullQPS": 0}, **config}
    pullet = Pullet(directory / name, config=settings)
    with RequestLog(world.public.port).serving() as public_log, RequestLog(world.private.port).serving() as private_log:
        public_log.answers.update(TROUBLE)
        public_log.drip_bytes_per_second.update(PACE)
        write_hosts(hosts, "docker.io", f"http://{public_log.address}")
        write_hosts(hosts, "registry.example.com", f"http://{private_log.address}")
        write_hosts(hosts, "127.0.0.1:5999", "https://127.0.0.1:5999")
        with running(pullet):
            pullet.pullet("images", "pull", "warm:1").ok()
            with watching(pullet) as watched:
                yield Stage(
                    pullet=pullet,
                    registries=world,
                    public_log=public_log,
                    private_log=private_log,
                    watched=watched,
                )

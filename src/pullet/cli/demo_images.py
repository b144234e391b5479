"""The demonstration's images: Debian's busybox-static under the names of nginx and tomcat, pushed and archived."""

from __future__ import annotations

import random
from pathlib import Path

from pullet.base.errors import UsageError
from pullet.base.values import Value
from pullet.oci.image_builder import BuiltImage, BuiltLayer, FileEntry, build_image, build_layer, oci_archive
from pullet.registry.push import push_image

BUSYBOX_PATHS = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
PUSHED = ("nginx:latest", "nginx:1.17.1", "tomcat:latest", "tomcat:8.0")
BALLAST_BYTES = 128 << 20
ARCHIVED = ("nginx:1.17.5", "tomcat:8.5")


class DemoArchives(Value):
    """What was pushed, and where the archives of the images that no registry has are."""

    pushed: tuple[str, ...]
    archives: dict[str, Path]


def busybox_layer() -> BuiltLayer:
    """A layer with a static busybox and the links a container needs.

    Raises:
        UsageError: Debian's busybox-static is not installed.
    """
    path = next((path for path in BUSYBOX_PATHS if path.exists()), None)
    if path is None:
        raise UsageError("busybox is missing: install Debian's busybox-static (apt-get install busybox-static)")
    files = {"bin": FileEntry(is_directory=True, mode=0o755)}
    files["bin/busybox"] = FileEntry(data=path.read_bytes(), mode=0o755)
    files |= {f"bin/{name}": FileEntry(link="busybox", mode=0o777) for name in ("sh", "sleep", "cat", "ls", "echo")}
    files |= {name: FileEntry(is_directory=True, mode=0o1777) for name in ("tmp", "etc", "proc", "sys", "dev")}
    return build_layer(files)


def ballast_layer() -> BuiltLayer:
    """Bytes that no compression shrinks, so that a pull takes long enough to be watched; always the same ones."""
    data = random.Random("pullet").randbytes(BALLAST_BYTES)
    return build_layer(
        {"usr": FileEntry(is_directory=True, mode=0o755), "usr/ballast": FileEntry(data=data)}, compression="none"
    )


def demo_image(name: str, *below: BuiltLayer) -> BuiltImage:
    """An image that sleeps until it is told to stop, with its own name in /etc/image."""
    own = build_layer({"etc/image": FileEntry(data=f"{name}\n".encode())})
    command = ["/bin/sh", "-c", "trap 'exit 0' TERM; cat /etc/image; while :; do sleep 1; done"]
    return build_image([*below, own], defaults={"Cmd": command, "Env": ["PATH=/bin"]})


def write_demo_archives(directory: Path, registry: str) -> DemoArchives:
    """Push what the cases expect in the registry at `registry` (a URL); archive the rest into `directory`."""
    base, ballast = busybox_layer(), ballast_layer()
    for name in PUSHED:
        repository, _, tag = name.partition(":")
        image = demo_image(name, base, ballast) if tag == "latest" else demo_image(name, base)
        push_image(registry, f"library/{repository}", tag, image)
    archives = {}
    for name in ARCHIVED:
        path = directory / f"{name.replace(':', '-')}.tar"
        path.write_bytes(oci_archive({f"docker.io/library/{name}": demo_image(name, base)}))
        archives[name] = path
    return DemoArchives(PUSHED, archives)


def archive_of_busybox(directory: Path, name: str) -> Path:
    """An archive with one busybox image called `name`."""
    path = directory / "image.tar"
    path.write_bytes(oci_archive({f"docker.io/library/{name}": demo_image(name, busybox_layer())}))
    return path

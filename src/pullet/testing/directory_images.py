"""Images that are plain directories: what the runtime service needs of the image side, without store or registry."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from pullet.base.values import Value
from pullet.engine.container_images import RunnableImage
from pullet.kit.directory_size import DirectorySize, directory_size
from pullet.oci.image_config import ContainerDefaults

BUSYBOX = Path("/bin/busybox")


class _Entry(Value):
    image: RunnableImage
    rootfs: Path


class DirectoryImages:
    """Implements ContainerImages by copying directories below `root`."""

    def __init__(self, root: Path) -> None:
        self._images: dict[str, _Entry] = {}
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def add(self, image: RunnableImage, rootfs: Path) -> None:
        """Offer `rootfs` under the image's id and names."""
        for name in (image.id, *image.tags, *image.digests):
            self._images[name] = _Entry(image, rootfs)

    def find(self, image: str) -> RunnableImage | None:
        entry = self._images.get(image)
        return entry.image if entry is not None else None

    def prepare(self, owner: str, image: RunnableImage) -> Path:
        return self._copy(self._root / owner / "rootfs", image)

    def view(self, owner: str, name: str, image: RunnableImage) -> Path:
        return self._copy(self._root / owner / name, image)

    def written(self, owner: str) -> DirectorySize:
        return directory_size(self._root / owner / "rootfs")  # with what it was copied from

    def release(self, owner: str) -> None:
        if (self._root / owner).exists():
            shutil.rmtree(self._root / owner)

    def release_others(self, owners: Collection[str]) -> None:
        for path in self._root.iterdir():
            if path.name not in owners:
                shutil.rmtree(path)

    def restore(self, owner: str) -> None:
        return None

    def _copy(self, target: Path, image: RunnableImage) -> Path:
        if not target.exists():
            shutil.copytree(self._images[image.id].rootfs, target, symlinks=True)
        return target


def busybox_image(directory: Path, defaults: ContainerDefaults | None = None) -> tuple[RunnableImage, Path]:
    """An image of Debian's busybox-static with a few users and its rootfs made in `directory`."""
    for name in ("bin", "etc", "tmp", "proc", "dev", "sys"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(BUSYBOX, directory / "bin" / "busybox")
    for applet in (
        "sh",
        "sleep",
        "cat",
        "echo",
        "id",
        "ls",
        "env",
        "true",
        "false",
        "touch",
        "nc",
        "stty",
        "pwd",
        "yes",
        "head",
        "hostname",
        "wc",
        "kill",
        "ps",
        "dd",
        "mkdir",
        "tail",
        "seq",
    ):
        (directory / "bin" / applet).unlink(missing_ok=True)
        (directory / "bin" / applet).symlink_to("busybox")
    (directory / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\nalice:x:1234:1235::/home/alice:/bin/sh\n")
    (directory / "etc" / "group").write_text("root:x:0:\nalice:x:1235:\nstaff:x:50:alice\n")
    image = RunnableImage(
        id="sha256:" + "1" * 64,
        defaults=defaults or ContainerDefaults(cmd=("/bin/sleep", "1000"), env=("PATH=/bin", "FROM=image")),
        tags=("docker.io/library/busybox:1",),
        digests=("docker.io/library/busybox@sha256:" + "2" * 64,),
    )
    return image, directory

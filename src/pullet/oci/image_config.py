"""The image config: how to run it and which layers it is made of. Source: image-spec v1.1 config.md."""

from __future__ import annotations

from typing import Any

import msgspec

from pullet.oci.digest import DiffID, Digest
from pullet.oci.manifest import Document, ManifestInvalidError, decode_json
from pullet.oci.platform import Platform


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """The layers' DiffIDs, lowest first."""

    type: str = "layers"
    diff_ids: tuple[Digest, ...] | None = ()


class ContainerDefaults(msgspec.Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """What a container gets unless the pod says otherwise; Docker writes null where nothing is set."""

    user: str = ""
    env: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    working_dir: str = ""
    volumes: dict[str, Any] | None = None
    exposed_ports: dict[str, Any] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    args_escaped: bool = False


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image config; `config` absent or null means nothing is set."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    os_version: str = msgspec.field(name="os.version", default="")
    created: str | None = None
    author: str = ""
    config: ContainerDefaults | None = None
    rootfs: RootFS = RootFS()
    history: tuple[dict[str, Any], ...] | None = None

    @property
    def platform(self) -> Platform:
        """What it was built for."""
        return Platform(os=self.os, architecture=self.architecture, variant=self.variant)

    @property
    def diff_ids(self) -> tuple[DiffID, ...]:
        """The layers, lowest first."""
        return tuple(DiffID(str(diff_id)) for diff_id in self.rootfs.diff_ids or ())

    @property
    def defaults(self) -> ContainerDefaults:
        """`config`, or empty defaults."""
        return self.config or ContainerDefaults()


def decode_image_config(raw: bytes) -> Document[ImageConfig]:
    """Decode a config blob. Raises ManifestInvalidError."""
    config = decode_json(raw, ImageConfig, what="image config")
    if config.rootfs.type != "layers":
        raise ManifestInvalidError(f"image config is not valid: rootfs.type is {config.rootfs.type!r}, want 'layers'")
    return Document(raw, config)

"""Images for tests: variants of what oci.image_builder makes, and busybox to run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.image_builder import LINUX_AMD64, BuiltImage, BuiltLayer, FileEntry, build_image, build_layer
from pullet.oci.manifest import Manifest, decode_manifest, encode_json
from pullet.oci.platform import Platform

BUSYBOX_PATHS: Final = (Path("/bin/busybox"), Path("/usr/bin/busybox"))
APPLETS: Final = (
    "sh",
    "sleep",
    "cat",
    "ls",
    "echo",
    "true",
    "false",
    "env",
    "id",
    "wget",
    "touch",
    "hostname",
    "mount",
)
_DOCKER_TYPES: Final = {
    mediatype.OCI_MANIFEST: mediatype.DOCKER_MANIFEST,
    mediatype.OCI_CONFIG: mediatype.DOCKER_CONFIG,
    mediatype.OCI_LAYER: mediatype.DOCKER_LAYER,
    mediatype.OCI_LAYER_GZIP: mediatype.DOCKER_LAYER_GZIP,
    mediatype.OCI_LAYER_ZSTD: mediatype.DOCKER_LAYER_ZSTD,
}


def file_layer(files: Mapping[str, bytes | str]) -> BuiltLayer:
    """A gzip layer of plain files."""
    return build_layer({path: FileEntry(data=_bytes(data)) for path, data in files.items()})


def zstd_layer(files: Mapping[str, bytes | str]) -> BuiltLayer:
    """A zstd layer of plain files."""
    plain = build_layer({path: FileEntry(data=_bytes(data)) for path, data in files.items()}, compression="none")
    blob = zstandard.ZstdCompressor().compress(plain.blob)
    descriptor = Descriptor(media_type=mediatype.OCI_LAYER_ZSTD, digest=Digest.of(blob), size=len(blob))
    return BuiltLayer(blob, descriptor, plain.diff_id)


def plain_layer(files: Mapping[str, bytes | str]) -> BuiltLayer:
    """An uncompressed layer of plain files."""
    return build_layer({path: FileEntry(data=_bytes(data)) for path, data in files.items()}, compression="none")


def tiny_image(text: str = "tiny", *, layers: int = 2, platform: Platform = LINUX_AMD64) -> BuiltImage:
    """An image of `layers` small layers whose content depends on `text` and the layer's number."""
    return build_image(
        [file_layer({f"layer{number}": f"{text} {number}\n" * 100}) for number in range(layers)],
        defaults={"Cmd": ["/layer0"], "Env": ["PATH=/"]},
        platform=platform,
    )


def busybox_layer() -> BuiltLayer:
    """A layer with the machine's static busybox and links to it. Raises FileNotFoundError if it has none."""
    path = next((path for path in BUSYBOX_PATHS if path.exists()), None)
    if path is None:
        raise FileNotFoundError("busybox: install Debian's busybox-static")
    files = {name: FileEntry(is_directory=True, mode=0o755) for name in ("bin", "etc", "proc", "sys", "dev", "root")}
    files["tmp"] = FileEntry(is_directory=True, mode=0o1777)
    files["bin/busybox"] = FileEntry(data=path.read_bytes(), mode=0o755)
    files |= {f"bin/{name}": FileEntry(link="busybox", mode=0o777) for name in APPLETS}
    files["etc/passwd"] = FileEntry(data=b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    files["etc/group"] = FileEntry(data=b"root:x:0:\nnogroup:x:65534:\n")
    return build_layer(files)


def busybox_image(*command: str, text: str = "", user: str = "") -> BuiltImage:
    """An image that runs `command` (default: sleeps) with busybox; `text` is the content of /etc/image."""
    own = file_layer({"etc/image": f"{text}\n"})
    defaults = {"Cmd": list(command or ("sleep", "100000")), "Env": ["PATH=/bin"], "User": user}
    return build_image([busybox_layer(), own], defaults=defaults)


def as_docker(image: BuiltImage) -> BuiltImage:
    """The same single-platform image in Docker schema 2."""
    manifest = decode_manifest(image.raw).value
    assert isinstance(manifest, Manifest)
    translated = msgspec.structs.replace(
        manifest,
        media_type=mediatype.DOCKER_MANIFEST,
        config=_docker(manifest.config),
        layers=tuple(map(_docker, manifest.layers)),
    )
    raw = encode_json(translated)
    return BuiltImage(
        descriptor=Descriptor(media_type=mediatype.DOCKER_MANIFEST, digest=Digest.of(raw), size=len(raw)),
        raw=raw,
        manifests={},
        blobs=image.blobs,
        config_digest=image.config_digest,
    )


def _docker(descriptor: Descriptor) -> Descriptor:
    return msgspec.structs.replace(descriptor, media_type=_DOCKER_TYPES[descriptor.media_type])


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data

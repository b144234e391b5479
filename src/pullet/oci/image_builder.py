"""Builds images from files given as values, deterministically: equal input gives equal digests.

For demonstrations and tests, and for whoever wants an image without a Dockerfile. Nothing is read from disk here.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pullet.base.values import Value
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.manifest import Index, Manifest, encode_json
from pullet.oci.platform import Platform

Compression = Literal["gzip", "none"]
LINUX_AMD64 = Platform(os="linux", architecture="amd64")


class FileEntry(Value, kw_only=True):
    """One member of a layer. `link` makes it a symbolic link, `is_directory` a directory; mtime is seconds."""

    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    link: str = ""
    is_directory: bool = False


class BuiltLayer(Value):
    """A layer blob with its descriptor and the digest of the tar in it."""

    blob: bytes
    descriptor: Descriptor
    diff_id: Digest


class BuiltImage(Value, kw_only=True):
    """An image ready to be pushed: its manifest or index, and everything that one points to, by digest."""

    descriptor: Descriptor  # of the manifest, or of the index
    raw: bytes  # what the descriptor points to
    manifests: Mapping[Digest, tuple[str, bytes]]  # further manifests: media type and bytes
    blobs: Mapping[Digest, bytes]  # config and layers
    config_digest: Digest | None = None  # the image id; None for an index of several platforms


def build_layer(files: Mapping[str, FileEntry], *, compression: Compression = "gzip") -> BuiltLayer:
    """A layer with the files in the order given; paths are relative to the root."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, entry in files.items():
            archive.addfile(_member(path, entry), io.BytesIO(entry.data) if entry.data else None)
    tar = buffer.getvalue()
    blob = gzip.compress(tar, mtime=0) if compression == "gzip" else tar
    media_type = mediatype.OCI_LAYER_GZIP if compression == "gzip" else mediatype.OCI_LAYER
    return BuiltLayer(blob, Descriptor(media_type=media_type, digest=Digest.of(blob), size=len(blob)), Digest.of(tar))


def _member(path: str, entry: FileEntry) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.mode, member.uid, member.gid, member.mtime = entry.mode, entry.uid, entry.gid, entry.mtime
    if entry.link:
        member.type, member.linkname = tarfile.SYMTYPE, entry.link
    elif entry.is_directory:
        member.type = tarfile.DIRTYPE
    else:
        member.size = len(entry.data)
    return member


def build_image(
    layers: Sequence[BuiltLayer],
    *,
    defaults: Mapping[str, Any] | None = None,
    platform: Platform = LINUX_AMD64,
    created: str = "1970-01-01T00:00:00Z",
) -> BuiltImage:
    """One image for one platform. `defaults` is the config's `config` object: Cmd, Env, User …"""
    config = encode_json(
        {
            "architecture": platform.architecture,
            "os": platform.os,
            **({"variant": platform.variant} if platform.variant else {}),
            "created": created,
            "config": dict(defaults or {}),
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]},
            "history": [{"created": created, "created_by": "pullet image builder"} for _ in layers],
        }
    )
    config_descriptor = Descriptor(media_type=mediatype.OCI_CONFIG, digest=Digest.of(config), size=len(config))
    manifest = Manifest(
        schema_version=2,
        media_type=mediatype.OCI_MANIFEST,
        config=config_descriptor,
        layers=tuple(layer.descriptor for layer in layers),
    )
    raw = encode_json(manifest)
    return BuiltImage(
        descriptor=Descriptor(
            media_type=mediatype.OCI_MANIFEST, digest=Digest.of(raw), size=len(raw), platform=platform
        ),
        raw=raw,
        manifests={},
        blobs={config_descriptor.digest: config, **{layer.descriptor.digest: layer.blob for layer in layers}},
        config_digest=config_descriptor.digest,
    )


def build_index(images: Sequence[BuiltImage]) -> BuiltImage:
    """One name for several platforms."""
    raw = encode_json(
        Index(schema_version=2, media_type=mediatype.OCI_INDEX, manifests=tuple(image.descriptor for image in images))
    )
    return BuiltImage(
        descriptor=Descriptor(media_type=mediatype.OCI_INDEX, digest=Digest.of(raw), size=len(raw)),
        raw=raw,
        manifests={image.descriptor.digest: (image.descriptor.media_type, image.raw) for image in images},
        blobs={digest: blob for image in images for digest, blob in image.blobs.items()},
    )


def oci_archive(images: Mapping[str, BuiltImage]) -> bytes:
    """An OCI image layout as a tar archive, as `skopeo copy oci-archive:` and `pullet images import` read it.

    Keys are full names (docker.io/library/nginx:1.17.5).
    """
    entries: dict[str, FileEntry] = {"oci-layout": FileEntry(data=b'{"imageLayoutVersion":"1.0.0"}')}
    index = []
    for name, image in images.items():
        blobs = {
            image.descriptor.digest: image.raw,
            **{d: raw for d, (_, raw) in image.manifests.items()},
            **image.blobs,
        }
        for digest, blob in blobs.items():
            entries[f"blobs/{digest.algorithm}/{digest.hex}"] = FileEntry(data=blob)
        annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
        index.append(
            Descriptor(
                media_type=image.descriptor.media_type,
                digest=image.descriptor.digest,
                size=image.descriptor.size,
                annotations=annotations,
            )
        )
    document = Index(schema_version=2, media_type=mediatype.OCI_INDEX, manifests=tuple(index))
    entries["index.json"] = FileEntry(data=encode_json(document))
    return build_layer(entries, compression="none").blob

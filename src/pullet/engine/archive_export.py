"""Images to tar archives: OCI layouts, and what `docker load` reads.

Compressed layers are not kept after a pull, so an archive holds the layers as uncompressed tars, byte for byte what
their DiffIDs were taken over, under a manifest made for it; the image id stays what it is. Where all original blobs are
here (pushed images, or with keepCompressedBlobs), the archive holds the original manifest.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from pullet.cri.extensions import ArchiveFormat
from pullet.kit.worker_threads import StopFlag
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import DiffID, Digest, ImageID
from pullet.oci.manifest import Index, Manifest, encode_json
from pullet.store.errors import StoreError
from pullet.store.images import ImageRecord
from pullet.store.layer_form import TarSource
from pullet.store.store import Store

_EXPORT_NAME: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def write_archive(
    path: Path, images: Sequence[tuple[str, ImageRecord]], store: Store, archive_format: ArchiveFormat, stop: StopFlag
) -> None:
    """Write (full name, image) pairs to a new file at `path`; left behind on failure: nothing. Blocking.

    An empty name: the image is in the archive without one.

    Raises:
        ContentNotFoundError, StoreError: a part is not here, or damaged.
        StoppedError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with tarfile.open(temporary, "x", format=tarfile.PAX_FORMAT) as archive:
            writer = _Writer(archive, store, stop)
            if archive_format is ArchiveFormat.OCI:
                writer.oci_layout(images)
            else:
                writer.docker_archive(images)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class _Checked(io.RawIOBase):
    """A layer's tar as the file object that tarfile copies from: hashed, stopping when asked to."""

    def __init__(self, source: TarSource, diff_id: DiffID, stop: StopFlag) -> None:
        self._source, self._diff_id, self._stop = source, diff_id, stop
        self._hash = hashlib.new(Digest(diff_id).algorithm)

    def read(self, size: int = -1) -> bytes:
        self._stop.check()
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def check(self) -> None:
        """All was read: is it the layer?"""
        if self._hash.hexdigest() != Digest(self._diff_id).hex:
            raise StoreError(
                f"layer {self._diff_id} is damaged on the disk and was not exported: `pullet store check --repair`"
            )


class _Writer:
    def __init__(self, archive: tarfile.TarFile, store: Store, stop: StopFlag) -> None:
        self._archive, self._store, self._stop = archive, store, stop
        self._written: set[str] = set()

    def oci_layout(self, images: Sequence[tuple[str, ImageRecord]]) -> None:
        self._add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        manifests = []
        for name, image in images:
            target = self._manifest(image)
            manifests.append(
                Descriptor(
                    media_type=target.media_type,
                    digest=target.digest,
                    size=target.size,
                    annotations=dict.fromkeys(_EXPORT_NAME, name) if name else None,
                )
            )
        index = Index(schema_version=2, media_type=mediatype.OCI_INDEX, manifests=tuple(manifests))
        self._add("index.json", encode_json(index))

    def _manifest(self, image: ImageRecord) -> Descriptor:
        config = self._store.content.read(image.id)
        self._blob(Digest(image.id), config)
        content = self._store.content
        if all(content.has(layer.digest) for layer in image.layers):
            raw = content.read(image.manifest)
            value = msgspec.json.decode(raw, type=dict[str, object])
            media_type = str(value.get("mediaType") or mediatype.OCI_MANIFEST)
            for layer in image.layers:
                self._stored_blob(layer.digest)
        else:
            manifest = Manifest(
                schema_version=2,
                media_type=mediatype.OCI_MANIFEST,
                config=Descriptor(media_type=mediatype.OCI_CONFIG, digest=Digest(image.id), size=len(config)),
                layers=tuple(self._tar_blob(layer.diff_id) for layer in image.layers),
            )
            raw, media_type = encode_json(manifest), mediatype.OCI_MANIFEST
        self._blob(Digest.of(raw), raw)
        return Descriptor(media_type=media_type, digest=Digest.of(raw), size=len(raw))

    def docker_archive(self, images: Sequence[tuple[str, ImageRecord]]) -> None:
        """Source: docker image save: manifest.json beside configs and layer tars, named by digest."""
        by_id: dict[ImageID, list[str]] = {}
        records = {image.id: image for _, image in images}
        for name, image in images:
            by_id.setdefault(image.id, []).extend([name] if name else [])
        entries = []
        for image_id, names in by_id.items():
            config_name = f"{Digest(image_id).hex}.json"
            self._add(config_name, self._store.content.read(image_id))
            layers = []
            for diff_id in records[image_id].diff_ids:
                layer_name = f"{Digest(diff_id).hex}.tar"
                self._add_tar(layer_name, diff_id)
                layers.append(layer_name)
            entries.append({"Config": config_name, "RepoTags": names or None, "Layers": layers})
        self._add("manifest.json", msgspec.json.encode(entries))

    def _tar_blob(self, diff_id: DiffID) -> Descriptor:
        digest = Digest(diff_id)
        size = self._add_tar(f"blobs/{digest.algorithm}/{digest.hex}", diff_id)
        return Descriptor(media_type=mediatype.OCI_LAYER, digest=digest, size=size)

    def _add_tar(self, name: str, diff_id: DiffID) -> int:
        source = self._store.layers.tar_stream(diff_id)
        try:
            if name not in self._written:
                self._written.add(name)
                member = tarfile.TarInfo(name)
                member.size = source.size_bytes
                tar = _Checked(source, diff_id, self._stop)
                self._archive.addfile(member, tar)
                tar.check()
            return source.size_bytes
        finally:
            source.close()

    def _stored_blob(self, digest: Digest) -> None:
        name = f"blobs/{digest.algorithm}/{digest.hex}"
        if name in self._written:
            return
        self._written.add(name)
        with self._store.content.open(digest) as file:
            member = tarfile.TarInfo(name)
            member.size = self._store.content.size(digest)
            self._archive.addfile(member, file)

    def _blob(self, digest: Digest, data: bytes) -> None:
        self._add(f"blobs/{digest.algorithm}/{digest.hex}", data)

    def _add(self, name: str, data: bytes) -> None:
        if name in self._written:
            return
        self._written.add(name)
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._archive.addfile(member, io.BytesIO(data))

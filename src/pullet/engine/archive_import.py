"""Images from tar archives and directories: OCI layouts, and what `docker save` writes.

The archive's blobs go into the content store; from there the image is made by the same pull as any other, with the
archive's index as its registry. Source: image-spec v1.1 image-layout.md; docker image save (manifest.json).
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Final, Protocol, TypeVar

import msgspec

from pullet.base.decodable import decodable
from pullet.base.values import Value
from pullet.cri.errors import InvalidArgumentError
from pullet.kit.worker_threads import StopFlag
from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor, decode_hook
from pullet.oci.digest import Digest
from pullet.oci.manifest import Index, Manifest, encode_json
from pullet.oci.reference import Reference, ReferenceInvalidError, parse_normalized
from pullet.store.content import ContentStore
from pullet.store.errors import DigestMismatchError
from pullet.store.leases import LeaseKind
from pullet.store.store import Store

NAME_ANNOTATIONS: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
T = TypeVar("T")
_CHUNK: Final = 1 << 20
_MAX_DOCUMENT: Final = 8 << 20


class _SavedImage(msgspec.Struct, rename="pascal"):
    """One entry of docker's manifest.json."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


class ArchivedImage(Value):
    """A name of the archive and what it stands for; all its content is in the content store."""

    reference: Reference
    target: Descriptor


class ArchiveSource(Value):
    """The archive as the local source of a pull."""

    images: tuple[ArchivedImage, ...]

    def resolve(self, host: str, repository: str, identifier: str) -> Descriptor | None:
        """The target of a name of the archive; the host does not matter, an archive serves every one."""
        for image in self.images:
            if image.reference.path == repository and image.reference.identifier == identifier:
                return image.target
        return None


class _Parts(Protocol):
    """The files of an archive by name."""

    def names(self) -> Collection[str]: ...

    def size(self, name: str) -> int: ...

    def open(self, name: str) -> IO[bytes]: ...


class _TarParts:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}

    def names(self) -> Collection[str]:
        return self._members.keys()

    def size(self, name: str) -> int:
        return self._members[name].size

    def open(self, name: str) -> IO[bytes]:
        file = self._archive.extractfile(self._members[name])
        assert file is not None  # only files are among them
        return file


class _DirectoryParts:
    def __init__(self, root: Path) -> None:
        self._files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}

    def names(self) -> Collection[str]:
        return self._files.keys()

    def size(self, name: str) -> int:
        return self._files[name].stat().st_size

    def open(self, name: str) -> IO[bytes]:
        return self._files[name].open("rb")


def load_archive(
    path: Path, store: Store, lease_owner: str, stop: StopFlag, name: str = ""
) -> tuple[ArchivedImage, ...]:
    """Bring the blobs of an archive, or of an OCI layout's directory, into the content store. Blocking.

    They are held by `lease_owner`. `name` is for the one image of an archive that gives it none, or another.

    Raises:
        InvalidArgumentError: no archive of images, or a part of it is missing or damaged; names the part.
        DiskFullError, StoppedError.
    """
    wanted = _reference(name) if name else None
    try:
        if path.is_dir():
            return _load(path, _DirectoryParts(path), store, lease_owner, stop, wanted)
        with tarfile.open(path) as archive:
            return _load(path, _TarParts(archive), store, lease_owner, stop, wanted)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InvalidArgumentError(f"{path} is not a readable archive: {error}") from error


def _load(
    path: Path, parts: _Parts, store: Store, lease_owner: str, stop: StopFlag, wanted: Reference | None
) -> tuple[ArchivedImage, ...]:
    loader = _Loader(parts, store, lease_owner, stop, wanted)
    if "index.json" in parts.names() and "oci-layout" in parts.names():
        return loader.oci_layout()
    if "manifest.json" in parts.names():
        return loader.docker_archive()
    raise InvalidArgumentError(
        f"{path} holds no images: there is neither an index.json (OCI layout) nor a manifest.json (docker save) in it"
    )


class _Loader:
    def __init__(self, parts: _Parts, store: Store, lease_owner: str, stop: StopFlag, wanted: Reference | None) -> None:
        self._parts, self._store, self._wanted = parts, store, wanted
        self._content: ContentStore = store.content
        self._owner, self._stop = lease_owner, stop

    def oci_layout(self) -> tuple[ArchivedImage, ...]:
        index = _decode(self._document("index.json"), Index, "index.json")
        if self._wanted is not None and len(index.manifests) != 1:
            raise InvalidArgumentError(f"{len(index.manifests)} images are in the archive: one name cannot name them")
        for name in self._parts.names():
            parts = name.split("/")
            if len(parts) == 3 and parts[0] == "blobs":
                self._blob(name, Digest(f"{parts[1]}:{parts[2]}"))
        return tuple(ArchivedImage(self._wanted or _name_of(target), target) for target in index.manifests)

    def docker_archive(self) -> tuple[ArchivedImage, ...]:
        images = []
        entries = _decode(self._document("manifest.json"), tuple[_SavedImage, ...], "manifest.json")
        if self._wanted is not None and len(entries) != 1:
            raise InvalidArgumentError(f"{len(entries)} images are in the archive: one name cannot name them")
        for saved in entries:
            config = self._document(saved.config)
            config_descriptor = self._put(config, mediatype.DOCKER_CONFIG)
            layers = tuple(self._saved_layer(name) for name in saved.layers)
            manifest = Manifest(
                schema_version=2, media_type=mediatype.DOCKER_MANIFEST, config=config_descriptor, layers=layers
            )
            target = self._put(encode_json(manifest), mediatype.DOCKER_MANIFEST)
            names = [self._wanted] if self._wanted else [_reference(tag) for tag in saved.repo_tags or ()]
            if not names:
                raise InvalidArgumentError(
                    f"manifest.json: the image {saved.config} has no name: give it one with --name NAME:TAG"
                )
            images += [ArchivedImage(name, target) for name in names]
        return tuple(images)

    def _saved_layer(self, name: str) -> Descriptor:
        """A layer of docker save: an uncompressed tar (compressed by some tools), whose digest is computed here."""
        with self._open(name) as file:
            start = file.read(4)
            hasher = hashlib.sha256(start)
            while chunk := file.read(_CHUNK):
                self._stop.check()
                hasher.update(chunk)
        digest = Digest(f"sha256:{hasher.hexdigest()}")
        self._blob(name, digest)
        is_gzip = start[:2] == b"\x1f\x8b"
        media_type = mediatype.DOCKER_LAYER_GZIP if is_gzip else mediatype.DOCKER_LAYER
        return Descriptor(media_type=media_type, digest=digest, size=self._parts.size(name))

    def _blob(self, name: str, digest: Digest) -> None:
        self._store.leases.acquire(self._owner, LeaseKind.CONTENT, [digest])
        if self._content.has(digest):
            return
        ingest = self._content.start_ingest(f"import/{digest}")
        try:
            with self._open(name) as file:
                while chunk := file.read(_CHUNK):
                    self._stop.check()
                    ingest.write(chunk)
            ingest.commit(digest)
        except DigestMismatchError as error:
            raise InvalidArgumentError(f"{name} is damaged: {error}") from error
        except BaseException:
            ingest.abort()
            raise

    def _put(self, data: bytes, media_type: str) -> Descriptor:
        digest = Digest.of(data)
        self._store.leases.acquire(self._owner, LeaseKind.CONTENT, [digest])
        self._content.put(digest, data)
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def _document(self, name: str) -> bytes:
        with self._open(name) as file:
            data = file.read(_MAX_DOCUMENT + 1)
        if len(data) > _MAX_DOCUMENT:
            raise InvalidArgumentError(f"{name} is larger than {_MAX_DOCUMENT} bytes: no image document is")
        return data

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._parts.names():
            raise InvalidArgumentError(f"the archive is incomplete: {name} is missing in it")
        return self._parts.open(name)


def _decode(raw: bytes, wanted: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(raw, type=decodable(wanted), dec_hook=decode_hook)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{what} of the archive is not valid: {error}") from error


def _name_of(target: Descriptor) -> Reference:
    annotations = target.annotations or {}
    names = [annotations[key] for key in NAME_ANNOTATIONS if key in annotations]
    full = [name for name in names if "/" in name or ":" in name]
    if not full:
        said = f"only the tag {names[0]!r}" if names else "no name"
        raise InvalidArgumentError(
            f"index.json gives {target.digest} {said}: say what the image is called with --name NAME:TAG"
        )
    return _reference(full[0])


def _reference(name: str) -> Reference:
    try:
        return parse_normalized(name).with_default_tag()
    except ReferenceInvalidError as error:
        raise InvalidArgumentError(f"the archive names an image {name!r}: {error}") from error

"""Troubles that no other endpoint helps against: damaged images, a full disk, a store that cannot be written."""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec
from tests.faults.network_troubles import PULL
from tests.faults.pull_world import REPOSITORY, TAG, Target, manifest_of, with_manifest
from tests.faults.troubles import ALWAYS, NEEDS_GOOD_MIRROR, Relief, Site, Trouble

from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.image_builder import BuiltImage, BuiltLayer, build_image
from pullet.oci.manifest import encode_json

Encode: TypeAlias = Callable[[bytes], bytes]
Damage: TypeAlias = Callable[[bytes, Encode], bytes]

# --- damaged images: all digests are right, so that nothing but a new push helps ---


def truncated(raw: bytes, encode: Encode) -> bytes:
    return encode(raw)[:-3000]


def something_else(_raw: bytes, encode: Encode) -> bytes:
    return encode(b"neither tar nor JSON" * 100)


def damaged(image: BuiltImage, target: Target, damage: Damage) -> BuiltImage:
    """The image with another target; a layer is compressed, so that what is in it is damaged, or its compression."""
    manifest, config = manifest_of(image), image.config_digest
    assert config is not None
    (layer,) = manifest.layers
    match target:
        case "manifest":
            return with_manifest(image, damage(image.raw, bytes))
        case "config":
            raw = damage(image.blobs[config], bytes)
            descriptor = Descriptor(media_type=mediatype.OCI_CONFIG, digest=Digest.of(raw), size=len(raw))
            blobs = {descriptor.digest: raw, layer.digest: image.blobs[layer.digest]}
            changed = msgspec.structs.replace(image, blobs=blobs, config_digest=descriptor.digest)
            return with_manifest(changed, encode_json(msgspec.structs.replace(manifest, config=descriptor)))
        case "layer":
            tar = image.blobs[layer.digest]
            return build_image([layer_of(damage(tar, partial(gzip.compress, mtime=0)), tar)])


def layer_of(blob: bytes, tar: bytes, media_type: str = mediatype.OCI_LAYER_GZIP) -> BuiltLayer:
    """A layer that claims to be the tar."""
    return BuiltLayer(blob, Descriptor(media_type=media_type, digest=Digest.of(blob), size=len(blob)), Digest.of(tar))


def push_damaged(damage: Damage, site: Site) -> Relief:
    """The tag stands for the damaged image at the bad endpoint, until the image is pushed again."""
    site.bad.push(damaged(site.image, site.target, damage), REPOSITORY, TAG)

    def push_again() -> None:
        site.bad.push(site.image, REPOSITORY, TAG)

    return push_again


# --- this machine's disk ---


def fill_disk(left_bytes: int, site: Site) -> Relief:
    """Fill the file system of the store up to `left_bytes`."""
    filler = fill(site.store.root.parent, left_bytes)
    return filler.unlink


def fill(disk: Path, left_bytes: int) -> Path:
    """Fill the disk up to `left_bytes`; removing the file that is given makes room again."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        assert os.statvfs(disk).f_bavail == 0
        file.truncate(max(0, file.tell() - left_bytes))
    return filler


def protect_store(site: Site) -> Relief:
    """The directories of the store turn read-only, with the target and what comes after it still missing."""
    config = next(blob for digest, blob in site.image.blobs.items() if digest == site.image.config_digest)
    before: dict[Target, list[bytes]] = {"manifest": [], "config": [site.image.raw], "layer": [site.image.raw, config]}
    for raw in before[site.target]:
        site.store.content.put(Digest.of(raw), raw)
    directories = [path for path in site.store.root.iterdir() if path.is_dir()]
    for path in directories:
        subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(path)], check=True)

    def unprotect() -> None:
        for path in directories:
            subprocess.run(["umount", str(path)], check=True)

    return unprotect


EXHAUSTED = "rpc error: code = ResourceExhausted desc = "
REBUILD = "^the image itself is damaged: build and push it again$"


def damaged_image(name: str, damage: Damage, document: str, layer: str) -> Trouble:
    """An image that was damaged before it was pushed; `document` and `layer` say how, as patterns."""
    cause: dict[Target, str] = {
        "manifest": f"manifest is not valid: {document}$",
        "config": f"image config is not valid: {document}$",
        "layer": rf"layer sha256:\w+ is corrupt: {layer}$",
    }
    where: dict[Target, str] = {"manifest": "", "config": "", "layer": r"failed to extract layer sha256:\w+: "}
    return Trouble(
        name=name,
        strike=partial(push_damaged, damage),
        harms=NEEDS_GOOD_MIRROR,
        text={target: f"^{PULL}{where[target]}{cause[target]}" for target in cause},
        cause={target: f"^{text}" for target, text in cause.items()},
        step=REBUILD,
    )


def full_disk(left_bytes: int) -> Trouble:
    """The disk of the store fills up when so much more was written; no room at all is seen before any content."""
    document, layer = ("failed to copy: ", r"failed to extract layer sha256:\w+: ") if left_bytes else ("", "")
    text = f"^{EXHAUSTED}{PULL}{{}}no space left on device$"
    return Trouble(
        name=f"disk full at {left_bytes >> 10} KiB",
        strike=partial(fill_disk, left_bytes),
        harms=ALWAYS,
        has_own_disk=True,
        text={"manifest": text.format(document), "config": text.format(document), "layer": text.format(layer)},
        cause="^no space left for the image store at /|^the disk of the image store is full: ",
        step="^remove unused images .* or grow the disk$",
        attempt="",
    )


LOCAL_TROUBLES = (
    damaged_image("truncated", truncated, "Input data was truncated", "the gzip stream ends early"),
    damaged_image("neither tar nor JSON", something_else, "JSON is malformed: .*", "entry .*: no tar header at byte 0"),
    full_disk(0),
    full_disk(64 << 10),
    full_disk(200 << 10),
    Trouble(
        name="read-only store",
        strike=protect_store,
        harms=ALWAYS,
        text=f"^{PULL}.*[Rr]ead-only file system",
        cause="^the image store cannot be written: ",
        step="^see `dmesg` for disk errors and make the file system of the image store writable again$",
        attempt="",
    ),
)

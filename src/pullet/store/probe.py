"""Which form of layers this machine can mount: tried once at start by mounting a tiny image.

(A) EROFS straight from the file · (B) EROFS through a loop device · (C) extracted directories, in a user namespace with
overlayfs's attributes in `user.overlay.*`.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
from pathlib import Path

from pullet.base.values import Value
from pullet.oci.digest import DiffID, Digest
from pullet.store.erofs_layers import ErofsLayers, ErofsLayerWriter
from pullet.store.errors import MountError, StoreError
from pullet.store.layer_mounts import ErofsBacking, mount_erofs
from pullet.store.mounts import MNT_DETACH, unmount
from pullet.store.overlay_mount import mount_overlay
from pullet.store.settings import SnapshotterChoice, UnpackLimits

_CONTENT = b"mounted\n"


class ProbeResult(Value):
    """What was chosen. `backing` is None for directories; `explanation` says why, for status.

    `userxattr`: overlayfs keeps its attributes in `user.overlay.*`, as this process may not write `trusted.*`.
    """

    choice: SnapshotterChoice
    backing: ErofsBacking | None
    explanation: str
    userxattr: bool = False


def probe(root: Path, wanted: SnapshotterChoice) -> ProbeResult:
    """Choose a form for the store at `root`.

    Raises:
        StoreError: EROFS is demanded and this machine cannot mount it, or this process may mount nothing at all.
    """
    if wanted is SnapshotterChoice.DIRECTORY:
        return _directories(root, "directories: set in the configuration")
    refusals = []
    for backing, words in ((ErofsBacking.FILE, "from its file"), (ErofsBacking.LOOP, "through a loop device")):
        if wanted is SnapshotterChoice.EROFS_LOOP and backing is not ErofsBacking.LOOP:
            continue
        try:
            _try_mount(root, backing)
        except (MountError, OSError) as error:
            refusals.append(f"EROFS {words}: {error}")
        else:
            return ProbeResult(SnapshotterChoice.EROFS, backing, "; ".join([f"EROFS mounted {words}", *refusals]))
    explanation = "; ".join(refusals)
    if wanted is not SnapshotterChoice.AUTO:
        raise StoreError(f"the configuration demands EROFS layers and they cannot be mounted: {explanation}")
    return _directories(root, f"directories, because {explanation}")


def _directories(root: Path, explanation: str) -> ProbeResult:
    place = root / "probe" / "overlay"
    shutil.rmtree(place, ignore_errors=True)
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir(parents=True)
    userxattr = not _may_write_trusted(place / "lower")
    try:
        mount_overlay(
            place / "merged", [place / "lower"], upper=place / "upper", work=place / "work", userxattr=userxattr
        )
        unmount(place / "merged", MNT_DETACH)
    except MountError as error:
        if error.errno == errno.EPERM:
            raise StoreError(
                f"no overlay can be mounted at {root}, and layers are put together with one: {error}. Without root,"
                " start pullet in a user and a mount namespace of its own: unshare --user --map-root-user --map-auto"
                " --mount …"
            ) from error
        explanation += f"; images can be kept here, but no container can start: {error}"  # as on another overlay
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if userxattr:
        explanation += "; in a user namespace: without device nodes and trusted.* attributes"
    return ProbeResult(SnapshotterChoice.DIRECTORY, None, explanation, userxattr)


def _may_write_trusted(directory: Path) -> bool:
    try:
        os.setxattr(directory, "trusted.overlay.opaque", b"n")
    except PermissionError:
        return False
    return True


def _try_mount(root: Path, backing: ErofsBacking) -> None:
    """Mount a one-file image and read it back."""
    layers = ErofsLayers(root / "probe", UnpackLimits())
    target = root / "probe" / "mount"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("probe")
        info.size = len(_CONTENT)
        tar.addfile(info, io.BytesIO(_CONTENT))
    data = buffer.getvalue()
    diff_id = DiffID(Digest.of(data))
    writer: ErofsLayerWriter = layers.start(len(data))
    try:
        writer.write(data)
        writer.walk(data)
        layer = writer.commit(diff_id)
    except BaseException:
        writer.abort()
        raise
    try:
        mount_erofs(layer.path, target, backing)
        try:
            if (target / "probe").read_bytes() != _CONTENT:
                raise OSError(5, "the probe image reads back wrong")
        finally:
            unmount(target, MNT_DETACH)
    finally:
        layers.dispose(layer.path)

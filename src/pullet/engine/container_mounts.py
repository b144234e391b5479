"""From the mounts of a ContainerConfig to paths of this machine. All blocking."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pullet.cri.errors import CriError, InvalidArgumentError, NotFoundError
from pullet.cri.types import Mount
from pullet.engine.container_images import ContainerImages
from pullet.engine.container_spec import bind_mount
from pullet.ociruntime.runtime_spec import BindMount


def resolve_mounts(owner: str, mounts: Sequence[Mount], images: ContainerImages) -> list[BindMount]:
    """Each mount with its source as a real path; images are mounted for `owner`.

    A host path that is not there becomes a directory, as containerd does.

    Raises:
        InvalidArgumentError: a relative container path.
        NotFoundError, CriError: an image volume that cannot be mounted; text begins `ImageVolumeMountFailed`.
    """
    return [_resolve(owner, number, mount, images) for number, mount in enumerate(mounts)]


def _resolve(owner: str, number: int, mount: Mount, images: ContainerImages) -> BindMount:
    if not mount.container_path.startswith("/"):
        raise InvalidArgumentError(f'mount path "{mount.container_path}" must be absolute')
    if mount.image is not None:
        return bind_mount(mount, str(_image_path(owner, number, mount, images)), is_image=True)
    source = Path(mount.host_path)
    try:
        source.mkdir(mode=0o755, parents=True, exist_ok=True)
    except FileExistsError:
        pass  # a file or a device: mounted as it is
    except OSError as error:
        raise CriError(f'failed to mkdir "{source}": {error.strerror}') from error
    return bind_mount(mount, os.path.realpath(source))


def _image_path(owner: str, number: int, mount: Mount, images: ContainerImages) -> Path:
    assert mount.image is not None
    image = images.find(mount.image.image)
    if image is None:
        raise NotFoundError(f'ImageVolumeMountFailed: image "{mount.image.image}" not found')
    root = images.view(owner, f"mount-{number}", image)
    if not mount.image_sub_path:
        return root
    path = Path(os.path.realpath(root / mount.image_sub_path.lstrip("/")))
    if not path.is_relative_to(os.path.realpath(root)) or not path.exists():
        raise CriError(
            f'ImageVolumeMountFailed: sub path "{mount.image_sub_path}" is not in image "{mount.image.image}"'
        )
    return path


def host_devices() -> list[dict[str, Any]]:
    """Every device node of the machine, for a privileged container. Source: containerd, WithHostDevices."""
    found = []
    for directory, names, files in os.walk("/dev"):
        names[:] = [
            name for name in names if name not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev")
        ]
        for name in files:
            path = os.path.join(directory, name)
            try:
                info = os.lstat(path)
            except OSError:
                continue
            kind = "c" if stat.S_ISCHR(info.st_mode) else "b" if stat.S_ISBLK(info.st_mode) else ""
            if kind and name != "console":
                found.append(
                    {
                        "path": path,
                        "type": kind,
                        "major": os.major(info.st_rdev),
                        "minor": os.minor(info.st_rdev),
                        "fileMode": stat.S_IMODE(info.st_mode),
                        "uid": info.st_uid,
                        "gid": info.st_gid,
                    }
                )
    return found

"""Typed read views of a pod's volumes. Source: kubernetes api/core/v1 types.go, VolumeSource.

`default_mode` and `mode` are file modes as integers (0o644 is 420 in JSON).
"""

from __future__ import annotations

import msgspec

from pullet.kube.container import ObjectFieldSelectorView, QuantityText, ResourceFieldSelectorView
from pullet.kube.view import View

DEFAULT_FILE_MODE = 0o644


class EmptyDirView(View, frozen=True, kw_only=True):
    """A directory that lives as long as the pod; medium Memory is a tmpfs."""

    medium: str = ""
    size_limit: QuantityText | None = None


class HostPathView(View, frozen=True, kw_only=True):
    """A path of the machine; `type` says what must be there or is made."""

    path: str
    type: str = ""


class KeyToPathView(View, frozen=True, kw_only=True):
    """A key and the file it becomes."""

    key: str
    path: str
    mode: int | None = None


class ConfigMapVolumeView(View, frozen=True, kw_only=True):
    """A ConfigMap as files; without items every key."""

    name: str = ""
    items: tuple[KeyToPathView, ...] = ()
    default_mode: int = DEFAULT_FILE_MODE
    optional: bool = False


class SecretVolumeView(View, frozen=True, kw_only=True):
    """A Secret as files; without items every key."""

    secret_name: str = ""
    items: tuple[KeyToPathView, ...] = ()
    default_mode: int = DEFAULT_FILE_MODE
    optional: bool = False


class DownwardAPIFileView(View, frozen=True, kw_only=True):
    """A field of the pod, or a resource of a container, as a file."""

    path: str
    field_ref: ObjectFieldSelectorView | None = None
    resource_field_ref: ResourceFieldSelectorView | None = None
    mode: int | None = None


class DownwardAPIVolumeView(View, frozen=True, kw_only=True):
    """Facts about the pod as files."""

    items: tuple[DownwardAPIFileView, ...] = ()
    default_mode: int = DEFAULT_FILE_MODE


class ServiceAccountTokenView(View, frozen=True, kw_only=True):
    """A bound token as a file; empty audience is the API server's."""

    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class SecretProjectionView(View, frozen=True, kw_only=True):
    """A Secret inside a projected volume."""

    name: str = ""
    items: tuple[KeyToPathView, ...] = ()
    optional: bool = False


class ProjectionView(View, frozen=True, kw_only=True):
    """One source of a projected volume; exactly one is set."""

    secret: SecretProjectionView | None = None
    config_map: SecretProjectionView | None = None
    downward_api: DownwardAPIVolumeView | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: ServiceAccountTokenView | None = None


class ProjectedVolumeView(View, frozen=True, kw_only=True):
    """Several sources in one directory."""

    sources: tuple[ProjectionView, ...] = ()
    default_mode: int = DEFAULT_FILE_MODE


class ImageVolumeView(View, frozen=True, kw_only=True):
    """The content of an image, read-only."""

    reference: str = ""
    pull_policy: str = ""


class VolumeView(View, frozen=True, kw_only=True):
    """A volume; the member that is set says its kind. None set: a kind that pullet does not know."""

    name: str
    empty_dir: EmptyDirView | None = None
    host_path: HostPathView | None = None
    config_map: ConfigMapVolumeView | None = None
    secret: SecretVolumeView | None = None
    downward_api: DownwardAPIVolumeView | None = msgspec.field(default=None, name="downwardAPI")
    projected: ProjectedVolumeView | None = None
    image: ImageVolumeView | None = None

"""From settings to what the image side of a node takes."""

from __future__ import annotations

from pathlib import Path

from pullet.config import Settings
from pullet.credentials.node_config_paths import NodeConfigPaths
from pullet.registry.hosts import HostsConfig, MirrorSettings
from pullet.registry.short_names import ShortNames
from pullet.store.settings import SnapshotterChoice, StoreSettings, UnpackLimits


def node_root(settings: Settings, name: str) -> Path:
    """The directory of one node."""
    return settings.root_path / "nodes" / name


def node_config_paths(root: Path) -> NodeConfigPaths:
    """Where the logins of the node whose directory is `root` are looked for. Blocking."""
    return NodeConfigPaths.as_kubelet(root=root, working_directory=Path.cwd(), home=Path.home())


def hosts_config(settings: Settings, registry_url: str) -> HostsConfig:
    """Where images are fetched: the embedded registry for the hosts it stands in for, then hosts.toml.

    Short names are as in registries.conf.
    """
    mirrors = {host: MirrorSettings(endpoints=(registry_url,)) for host in settings.registry_mirrors}
    return HostsConfig(
        certs_directories=(Path(settings.registry_hosts),),
        mirrors=mirrors,
        short_names=ShortNames(Path(settings.registries_conf) if settings.registries_conf else None),
    )


def store_settings(settings: Settings) -> StoreSettings:
    """The store section."""
    section, limits = settings.store, settings.store.limits
    return StoreSettings(
        snapshotter=SnapshotterChoice(section.snapshotter),
        keep_compressed_blobs=section.keep_compressed_blobs,
        limits=UnpackLimits(
            max_layer_bytes=limits.max_layer_bytes,
            max_ratio=limits.max_ratio,
            max_entries=limits.max_entries,
            max_sparse_bytes=limits.max_sparse_file_bytes,
            device_nodes_allowed=limits.allow_device_nodes,
        ),
    )

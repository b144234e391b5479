"""One file and the command line → settings, each value with its origin.

The file is YAML in Kubernetes' spelling. `kubelet:` takes the fields of a KubeletConfiguration; a file that itself is a
KubeletConfiguration (`kind: KubeletConfiguration`) is taken as that section alone. Unknown keys are errors.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pullet.base.decodable import decodable
from pullet.base.errors import UsageError

if TYPE_CHECKING:  # the kubelet's fields cost a command that needs none of them 5 ms
    from pullet.node.settings import NodeSettings

DEFAULTS = "default"


class StoreLimits(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """`store.limits:` what a layer may ask for before it is refused, while it streams."""

    max_layer_bytes: int = 64 << 30  # uncompressed
    max_ratio: int = 250  # uncompressed to compressed, looked at beyond the first GiB
    max_entries: int = 4_000_000
    max_sparse_file_bytes: int = 1 << 40  # apparent size
    allow_device_nodes: bool = True


class StoreSection(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """`store:` how layers are kept."""

    snapshotter: str = "auto"  # auto | erofs | erofs-loop | directory
    keep_compressed_blobs: bool = False
    limits: StoreLimits = StoreLimits()


class Settings(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Everything `pullet up` can be told."""

    root: str = "/var/lib/pullet"
    node_name: str = ""  # empty: the host name
    nodes: int = 1
    listen_address: str = "127.0.0.1"  # of the API server; 0.0.0.0 or ::: every address of the machine
    port: int = 6443  # of the API server; 0: any free one
    api_for_pods: bool = False  # let pods reach the API server, on their bridge alone; tells them where it is
    registry_port: int = 5000  # of the embedded registry; 0: any free one
    registry_mirrors: tuple[str, ...] = ()  # hosts that the embedded registry stands in for
    registry_hosts: str = "/etc/containerd/certs.d"  # directory of <host>/hosts.toml
    registries_conf: str = "/etc/containers/registries.conf"  # its short names; empty: none
    enable_admission_plugins: tuple[str, ...] = ()
    kubernetes_version: str = "1.36"
    pod_subnet: str = ""  # empty: a 10.x.0.0/16 that nobody here routes to, chosen once
    image_credential_provider_config: str = ""  # file or directory; the programs it names are in the bin directory
    image_credential_provider_bin_dir: str = ""
    allow_other_architectures: bool = False  # run images built for another machine: it has an emulator for them
    oci_runtime: Literal["", "crun", "runc"] = ""  # empty: the first that is there, in this order
    store: StoreSection = StoreSection()
    kubelet: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def root_path(self) -> Path:
        """The directory that holds everything of this pullet."""
        return Path(self.root)

    @property
    def is_open_to_the_network(self) -> bool:
        """Whether the API server can be reached from elsewhere."""
        return not ipaddress.ip_address(self.listen_address).is_loopback

    @property
    def node_names(self) -> list[str]:
        """One name per node: the given one, numbered from 1 where there are several."""
        name = self.node_name or socket.gethostname().lower()
        return [name] if self.nodes == 1 else [f"{name}-{number}" for number in range(1, self.nodes + 1)]

    def node_settings(self) -> NodeSettings:
        """The kubelet section, checked.

        Raises:
            ConfigurationInvalidError: unknown field, wrong type or a broken rule.
        """
        from pullet.node.settings import load_settings as load_node_settings  # here: see above

        return load_node_settings({"kubernetesVersion": self.kubernetes_version, **self.kubelet})


def load_settings(config_file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """The file's values with the flags' on top; a flag that is None was not given.

    Raises:
        UsageError: the file is missing, not YAML, has an unknown key or a value of the wrong type.
    """
    values = dict(read_file(config_file)) if config_file is not None else {}
    values.update(flag_values(flags))
    try:
        settings = msgspec.convert(values, decodable(Settings))
    except msgspec.ValidationError as error:
        where = f"{config_file}: " if config_file is not None else ""
        raise UsageError(f"{where}invalid configuration: {error}") from error
    if settings.kubelet or "kubernetesVersion" in values:  # defaults need no check
        settings.node_settings()
    try:
        _ = ipaddress.ip_address(settings.listen_address)
    except ValueError as error:
        raise UsageError(f"listenAddress: {settings.listen_address!r} is no IP address") from error
    return settings


def flag_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags as the file would spell them; comma separated lists become lists."""
    known = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    for name, value in flags.items():
        if value is None:
            continue
        field = known[name]
        is_list = field.type == tuple[str, ...]
        values[field.encode_name] = [part for part in value.split(",") if part] if is_list else value
    return values


def read_file(path: Path) -> Mapping[str, Any]:
    """The mapping in a configuration file."""
    import yaml  # here: a command without a file should not pay for it

    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not valid YAML: {error.problem}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a configuration is a mapping of names to values")
    return {"kubelet": values} if values.get("kind") == "KubeletConfiguration" else values


def origins(config_file: Path | None, flags: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(name, value, where it came from) of every setting, for `pullet config show`."""
    from_file = read_file(config_file) if config_file is not None else {}
    from_flags = flag_values(flags)
    settings: dict[str, Any] = msgspec.to_builtins(load_settings(config_file, flags))
    kubelet: dict[str, Any] = msgspec.to_builtins(load_settings(config_file, flags).node_settings())
    rows = []
    for name, value in settings.items():
        if name == "kubelet":
            section = from_file.get("kubelet", {})
            rows += [
                (f"kubelet.{key}", _shown(item), str(config_file) if key in section else DEFAULTS)
                for key, item in kubelet.items()
            ]
            continue
        origin = "command line" if name in from_flags else str(config_file) if name in from_file else DEFAULTS
        rows.append((name, _shown(value), origin))
    return rows


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

"""Settings from file and flags, with their origins and their refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from pullet.assembly.image_settings import store_settings
from pullet.base.errors import UsageError
from pullet.config import load_settings, origins
from pullet.store.settings import StoreSettings, UnpackLimits


def write(directory: Path, text: str) -> Path:
    path = directory / "pullet.yaml"
    path.write_text(text)
    return path


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, "port: 7000\nregistryPort: 7001\nregistryMirrors: [docker.io]\n")
    settings = load_settings(path, {"port": 8000, "node_name": None, "enable_admission_plugins": "AlwaysPullImages,"})
    assert (settings.port, settings.registry_port, settings.nodes) == (8000, 7001, 1)
    assert settings.registry_mirrors == ("docker.io",)
    assert settings.enable_admission_plugins == ("AlwaysPullImages",)


def test_every_value_names_its_origin(tmp_path: Path) -> None:
    path = write(tmp_path, "port: 7000\nkubelet: {imageGCHighThresholdPercent: 90}\n")
    rows = {name: (value, origin) for name, value, origin in origins(path, {"nodes": 2})}
    assert rows["port"] == ("7000", str(path))
    assert rows["nodes"] == ("2", "command line")
    assert rows["registryPort"] == ("5000", "default")
    assert rows["kubelet.imageGCHighThresholdPercent"] == ("90", str(path))


def test_a_kubelet_configuration_is_taken_as_it_is(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nserializeImagePulls: false\n",
    )
    assert load_settings(path, {}).node_settings().is_serial is False


def test_several_nodes_are_numbered() -> None:
    assert load_settings(None, {"node_name": "n", "nodes": 2}).node_names == ["n-1", "n-2"]
    assert load_settings(None, {"node_name": "n"}).node_names == ["n"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prot: 1\n", "Object contains unknown field `prot`"),
        ("port: high\n", "Expected `int`, got `str` - at `$.port`"),
        ("a: [1\nb: 2\n", "pullet.yaml:2: not valid YAML: expected ',' or ']', but got ':'"),
        ("- 1\n", "a configuration is a mapping of names to values"),
        (
            "kubelet: {imageGCLowThresholdPercent: 90}\n",
            "imageGCLowThresholdPercent 90 must be less than imageGCHighThresholdPercent 85",
        ),
    ],
)
def test_refusals_say_what_and_where(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_settings(write(tmp_path, text), {})
    assert complaint in str(raised.value)


def test_limits_of_layers_are_the_stores_own_where_nothing_is_said(tmp_path: Path) -> None:
    assert store_settings(load_settings(None, {})) == StoreSettings()
    path = write(tmp_path, "store: {limits: {maxLayerBytes: 1000, maxEntries: 5, allowDeviceNodes: false}}\n")
    limits = store_settings(load_settings(path, {})).limits
    assert (limits.max_layer_bytes, limits.max_entries, limits.device_nodes_allowed) == (1000, 5, False)
    assert limits.max_ratio == UnpackLimits().max_ratio

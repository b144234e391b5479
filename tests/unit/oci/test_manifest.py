from __future__ import annotations

import json
from typing import Any

import pytest

from pullet.oci import mediatype
from pullet.oci.descriptor import Descriptor
from pullet.oci.digest import Digest
from pullet.oci.image_config import decode_image_config
from pullet.oci.manifest import (
    Index,
    Manifest,
    ManifestInvalidError,
    SchemaOneError,
    decode_manifest,
    encode_json,
)
from pullet.oci.platform import Platform

BLOB = str(Digest.of(b"blob"))


def descriptor(media_type: str, size: Any = 4, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": BLOB, "size": size, **more}


def manifest(**changes: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": mediatype.OCI_MANIFEST,
        "config": descriptor(mediatype.OCI_CONFIG, 10),
        "layers": [descriptor(mediatype.OCI_LAYER_GZIP, 20), descriptor(mediatype.OCI_LAYER_ZSTD, 30)],
        **changes,
    }
    return json.dumps({name: value for name, value in document.items() if value is not None}, indent=3).encode()


def test_a_manifest_keeps_its_bytes_beside_its_value() -> None:
    raw = manifest(unknownField={"kept": True})
    document = decode_manifest(raw)
    assert isinstance(document.value, Manifest)
    assert document.raw == raw
    assert document.digest == Digest.of(raw)
    assert document.value.size_bytes == 60
    assert document.value.layers[0].digest == BLOB
    assert isinstance(document.value.layers[0].digest, Digest)


def test_an_index_names_platforms() -> None:
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "manifests": [
                descriptor(mediatype.OCI_MANIFEST, platform={"os": "linux", "architecture": "arm64", "variant": "v8"})
            ],
        }
    ).encode()
    index = decode_manifest(raw, mediatype.OCI_INDEX).value
    assert isinstance(index, Index)
    assert index.manifests[0].platform == Platform(os="linux", architecture="arm64", variant="v8")


@pytest.mark.parametrize(
    ("raw", "media_type", "text"),
    [
        (b"{", "", "manifest is not valid: Input data was truncated"),
        (b"\xff", "", "manifest is not valid: JSON is malformed: invalid character (byte 0)"),
        (manifest(config=None), "", "image manifest is not valid: Object missing required field `config`"),
        (
            manifest(layers=[descriptor(mediatype.OCI_LAYER, "7")]),
            "",
            "image manifest is not valid: Expected `int`, got `str` - at `$.layers[0].size`",
        ),
        (
            manifest(layers=[descriptor(mediatype.OCI_LAYER, -1)]),
            "",
            "image manifest is not valid: Expected `int` >= 0 - at `$.layers[0].size`",
        ),
        (
            manifest(config={"mediaType": "x", "digest": "sha256:xyz", "size": 1}),
            "",
            "image manifest is not valid: invalid checksum digest length - at `$.config.digest`",
        ),
        (manifest(manifests=[]), "", "manifest is not valid: it has both `manifests` and `layers` or `config`"),
        (
            manifest(mediaType=None),
            mediatype.DOCKER_INDEX,
            f"manifest is not valid: its content does not fit its media type {mediatype.DOCKER_INDEX}",
        ),
        (
            manifest(mediaType="text/html"),
            "",
            "manifest is not valid: its content does not fit its media type text/html",
        ),
    ],
)
def test_refusals_say_where(raw: bytes, media_type: str, text: str) -> None:
    with pytest.raises(ManifestInvalidError) as caught:
        decode_manifest(raw, media_type)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (b'{"schemaVersion": 1, "name": "x", "fsLayers": []}', ""),
        (b'{"schemaVersion": 1}', mediatype.OCI_MANIFEST),
        (b"{}", mediatype.DOCKER_SCHEMA1_SIGNED),
    ],
)
def test_schema_1_is_refused_by_name(raw: bytes, media_type: str) -> None:
    with pytest.raises(SchemaOneError, match="Docker schema 1"):
        decode_manifest(raw, media_type)


def test_what_is_made_here_can_be_read_back() -> None:
    made = Manifest(
        schema_version=2,
        config=Descriptor(media_type=mediatype.OCI_CONFIG, digest=Digest(BLOB), size=4),
        layers=(),
    )
    assert decode_manifest(encode_json(made)).value == made


def test_docker_writes_null_for_what_is_not_set() -> None:
    raw = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": None, "Cmd": ["serve"], "Entrypoint": None, "Labels": None, "Hostname": "x"},
            "rootfs": {"type": "layers", "diff_ids": [BLOB]},
            "container_config": {},
        }
    ).encode()
    config = decode_image_config(raw).value
    assert config.defaults.cmd == ("serve",)
    assert config.defaults.env is None
    assert config.diff_ids == (BLOB,)
    assert str(config.platform) == "linux/amd64"


def test_a_config_without_config_has_empty_defaults() -> None:
    config = decode_image_config(b'{"config":null,"rootfs":{"type":"layers","diff_ids":null}}').value
    assert config.defaults.user == ""
    assert config.diff_ids == ()


def test_a_config_with_other_root_file_systems_is_refused() -> None:
    with pytest.raises(ManifestInvalidError, match=r"rootfs.type is 'wcow'"):
        decode_image_config(b'{"rootfs":{"type":"wcow"}}')

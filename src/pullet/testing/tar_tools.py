"""Other tools as writers of layers and as oracles of what these come to: GNU tar, bsdtar, umoci, Python's tarfile."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pullet.testing.gnu_tar import gnu_tar
from pullet.testing.layer_tars import LayerBlob

# by what it writes: whether long names, large ids and times beyond seconds, and attributes come through
WRITERS: Final = (
    "gnu gnu", "gnu oldgnu", "gnu posix", "gnu ustar", "bsd ustar", "bsd pax", "bsd gnutar",
    "python pax", "python gnu", "umoci go",
)  # fmt: skip
SHORT: Final = frozenset({"gnu ustar", "bsd ustar"})  # names of 100 bytes, ids of 18 bits
ATTRIBUTES: Final = frozenset({"gnu posix", "bsd pax", "umoci go"})
_UTF8: Final = {**os.environ, "LC_ALL": "C.UTF-8"}
_PYTHON_FORMATS: Final = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT}


def write_tar(writer: str, source: Path) -> bytes:
    """The tree at `source` as a tar, written by one of WRITERS."""
    tool, _, form = writer.partition(" ")
    match tool:
        case "gnu":
            attributes = ["--xattrs", "--xattrs-include=*"] if form == "posix" else []
            return _run("tar", f"--format={form}", *attributes, "--sort=name", "-C", source, "-cf", "-", ".")
        case "bsd":
            return _run("bsdtar", f"--format={form}", "-C", source, "-cf", "-", ".")
        case "python":
            with TemporaryDirectory() as place:
                target = Path(place, "tar")
                with tarfile.open(target, "w", format=_PYTHON_FORMATS[form]) as tar:
                    tar.add(source, ".")
                return target.read_bytes()
        case _:
            return _go_tar(source)


def _go_tar(source: Path) -> bytes:
    """By Go's archive/tar, which Docker, containerd and buildah write with: umoci inserts the tree as a layer."""
    with TemporaryDirectory() as place:
        _run("umoci", "init", "--layout", f"{place}/o")
        _run("umoci", "new", "--image", f"{place}/o:x")
        _run("umoci", "insert", "--image", f"{place}/o:x", source, "/")
        blobs = Path(place, "o/blobs/sha256")
        index = json.loads(Path(place, "o/index.json").read_bytes())
        manifest = json.loads((blobs / _hex(index["manifests"][0])).read_bytes())
        return gzip.decompress((blobs / _hex(manifest["layers"][-1])).read_bytes())


def _hex(descriptor: dict[str, str]) -> str:
    return descriptor["digest"].partition(":")[2]


def extract_tar(writer: str, root: Path, data: bytes) -> None:
    """Extract with the writer's own tool, GNU tar for Python's."""
    tool, _, _ = writer.partition(" ")
    if tool == "bsd":
        root.mkdir()
        _run("bsdtar", "-xpf", "-", "--same-owner", "--xattrs", "--numeric-owner", "-C", root, data=data)
    elif tool == "umoci":
        umoci_unpack(root, [LayerBlob(data, gzip.compress(data, 1, mtime=0))])
    else:
        gnu_tar(root, [data])


def umoci_unpack(root: Path, layers: Sequence[LayerBlob]) -> None:
    """Apply layers one upon the other by umoci, whiteouts and all."""
    bundle = root.with_name(f"{root.name}.bundle")
    layout = root.with_name(f"{root.name}.layout")
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        blob = LayerBlob(data, data)
        (blobs / blob.descriptor.digest.hex).write_bytes(data)
        return {"mediaType": media_type, "digest": str(blob.descriptor.digest), "size": len(data)}

    config = put(
        json.dumps(
            {"architecture": "amd64", "os": "linux", "config": {},
             "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id) for layer in layers]}}
        ).encode(),
        "application/vnd.oci.image.config.v1+json",
    )  # fmt: skip
    described = [put(layer.blob, layer.media_type) for layer in layers]
    manifest = put(
        json.dumps({"schemaVersion": 2, "config": config, "layers": described}).encode(),
        "application/vnd.oci.image.manifest.v1+json",
    )
    named = {**manifest, "annotations": {"org.opencontainers.image.ref.name": "x"}}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    _run("umoci", "unpack", "--image", f"{layout}:x", bundle)
    (bundle / "rootfs").rename(root)


def _run(*command: object, data: bytes | None = None) -> bytes:
    words = [os.fspath(word) if isinstance(word, Path) else str(word) for word in command]
    done = subprocess.run(words, input=data, capture_output=True, check=False, env=_UTF8)
    if done.returncode:
        raise AssertionError(f"{words}: {done.stderr.decode(errors='replace')}")
    return done.stdout

"""Images in the shape of the recording's: two small layers, the first shared by all, and what pushes them.

An image runs busybox through /entry: no arguments keep it running, `sleep N`, `exit CODE N` (N seconds first) and
`cat FILE N` (then stay N seconds) do what they say, and SIGTERM ends it with code 0.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import random
import shutil
import tarfile
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from tests.golden.registry_process import RegistryProcess

_ENTRY = """\
#!/bin/sh
trap 'exit 0' TERM
stay() { sleep "$1" & wait $!; }
case "$1" in
    exit) stay "$3"; exit "$2" ;;
    cat) cat "$2"; stay "$3" ;;
    sleep) stay "$2" ;;
    *) stay 100000 ;;
esac
"""
SHARED_LAYER = "<layer shared>"
_OCI = {
    "index": "application/vnd.oci.image.index.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "layer": "application/vnd.oci.image.layer.v1.tar+gzip",
}
_DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "layer": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """What to push. `text` is the content of /VERSION, so two images of one name can be told apart."""

    name: str  # nginx:1.17.1, team/app:1.0
    text: str = ""
    is_index: bool = True
    is_docker: bool = False
    command: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()  # in the second layer, besides /VERSION
    is_manifest_first: bool = False  # its platform's manifest sorts before its index, as some recorded image's does
    label: str = ""  # what its digests are called; by default its name
    padding_bytes: int = 0  # of random bytes in the second layer, so that it does not compress


@dataclass(kw_only=True)
class PushedImages:
    """Digest -> `<kind name>` of everything pushed so far."""

    names: dict[str, str] = field(default_factory=dict)

    def digest(self, kind: str, image: str) -> str:
        """The digest called `<kind image>`."""
        return next(digest for digest, name in self.names.items() if name == f"<{kind} {image}>")


class Pusher:
    """Puts images into a registry, as a CI job would."""

    def __init__(self, registry: RegistryProcess, pushed: PushedImages) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=30)
        self._pushed = pushed
        self._headers: dict[str, str] = {}
        if registry.login:
            token = base64.b64encode(":".join(registry.login).encode()).decode()
            self._headers = {"Authorization": f"Basic {token}"}

    def push(self, spec: ImageSpec) -> None:
        """Push the image under its name; its digests get theirs."""
        repository, _, tag = spec.name.partition(":")
        if "/" not in repository:
            repository = f"library/{repository}"
        types = _DOCKER if spec.is_docker else _OCI
        files = {"VERSION": (spec.text or spec.name).encode() + b"\n", **dict(spec.files)}
        if spec.padding_bytes:
            files["padding"] = random.Random(spec.name).randbytes(spec.padding_bytes)
        layers = [_shared_layer(), _layer(files, executable=False)]
        manifests = [
            self._push_platform(repository, spec, architecture, layers, types)
            for architecture in (("amd64", "arm64") if spec.is_index else ("amd64",))
        ]
        if spec.is_index:
            index = {"schemaVersion": 2, "mediaType": types["index"], "manifests": manifests}
            tries = (_json({**index, "annotations": {"try": str(number)}}) for number in count())
            body = next(
                body for body in tries if not spec.is_manifest_first or digest_of(body) > manifests[0]["digest"]
            )
            self._name(spec, "index", body)
        else:
            body = self._last_manifest
        self._put_manifest(repository, tag, body, types["index" if spec.is_index else "manifest"])

    def close(self) -> None:
        self._connection.close()

    def _push_platform(
        self, repository: str, spec: ImageSpec, architecture: str, layers: list[_Layer], types: dict[str, str]
    ) -> dict[str, Any]:
        config = _json(
            {
                "created": "2026-01-01T00:00:00Z",
                "architecture": architecture,
                "os": "linux",
                "config": {"Entrypoint": ["/entry"], "Cmd": list(spec.command), "Env": ["PATH=/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            }
        )
        for blob in [*(layer.blob for layer in layers), config]:
            self._put_blob(repository, blob)
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": types["manifest"],
                "config": _descriptor(types["config"], config),
                "layers": [_descriptor(types["layer"], layer.blob) for layer in layers],
            }
        )
        suffix = "" if architecture == "amd64" else f" for {architecture}"
        self._name(spec, "config", config, suffix)
        self._name(spec, "layer", layers[-1].blob)
        self._name(spec, "manifest", manifest, suffix)
        self._pushed.names.setdefault(digest_of(layers[0].blob), SHARED_LAYER)
        self._last_manifest = manifest
        self._put_manifest(repository, digest_of(manifest), manifest, types["manifest"])
        return {**_descriptor(types["manifest"], manifest), "platform": {"architecture": architecture, "os": "linux"}}

    def _name(self, spec: ImageSpec, kind: str, body: bytes, suffix: str = "") -> None:
        self._pushed.names.setdefault(digest_of(body), f"<{kind} {spec.label or spec.name}{suffix}>")

    def _put_blob(self, repository: str, blob: bytes) -> None:
        if self._send("HEAD", f"/v2/{repository}/blobs/{digest_of(blob)}")[0] == 200:
            return
        _, headers = self._send("POST", f"/v2/{repository}/blobs/uploads/", b"")
        location = headers["Location"].partition(f"127.0.0.1:{self._connection.port}")[2] or headers["Location"]
        target = f"{location}{'&' if '?' in location else '?'}digest={digest_of(blob)}"
        self._send("PUT", target, blob, {"Content-Type": "application/octet-stream"}, want=201)

    def _put_manifest(self, repository: str, reference: str, body: bytes, media_type: str) -> None:
        self._send("PUT", f"/v2/{repository}/manifests/{reference}", body, {"Content-Type": media_type}, want=201)

    def _send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None, want: int = 0
    ) -> tuple[int, http.client.HTTPMessage]:
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        text = response.read()
        if want and response.status != want:
            raise AssertionError(f"{method} {path}: {response.status} {text[:300]!r}")
        return response.status, response.headers


@dataclass(frozen=True, kw_only=True)
class _Layer:
    blob: bytes
    diff_id: str


def digest_of(body: bytes) -> str:
    """sha256:<hex>."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@cache
def _shared_layer() -> _Layer:
    busybox = shutil.which("busybox", path="/bin:/usr/bin")
    assert busybox, "the images of these tests are made from Debian's busybox-static"
    return _layer({"bin/busybox": Path(busybox).read_bytes(), "entry": _ENTRY.encode()}, executable=True)


def _layer(files: dict[str, bytes], *, executable: bool) -> _Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if executable:
            for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            for applet in (
                "sh",
                "sleep",
                "cat",
                "echo",
                "ls",
                "true",
                "false",
                "env",
                "id",
                "wget",
                "nc",
                "date",
                "tar",
                "mkdir",
                "httpd",
            ):
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, "busybox", 0o777
                tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if executable else 0o644
            tar.addfile(entry, io.BytesIO(content))
    tar_bytes = buffer.getvalue()
    return _Layer(blob=gzip.compress(tar_bytes, 1, mtime=0), diff_id=digest_of(tar_bytes))


def _descriptor(media_type: str, body: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(body), "size": len(body)}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

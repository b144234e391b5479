#!/usr/bin/env python3
"""Build src/pullet/apiserver/data/schemas.json.zst: the schemas and protobuf field numbers of the kinds served.

    pip download --no-deps kubernetes-validate -d /tmp/schemas
    scripts/build_openapi.py --schemas /tmp/schemas/kubernetes_validate-*.whl --kubectl "$(command -v kubectl)"

Schemas (with descriptions, merge keys and list types) come from the kubernetes-validate package. Field numbers come
from the file descriptors inside kubectl (1.32 has them). What the package lost on its way (enums, formats) is put back
by the tables below. Run by hand when the Kubernetes version moves; the result is committed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import zstandard

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from pullet.kube.scheme import RESOURCES

OUTPUT = Path(__file__).resolve().parent.parent / "src/pullet/apiserver/data/schemas.json.zst"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
CORE = "io.k8s.api.core.v1."
EXTRA_ROOTS = (
    *(META + kind for kind in ("Status", "DeleteOptions", "WatchEvent", "APIResourceList", "APIGroup", "APIGroupList",
                               "APIVersions", "Patch", "Condition")),
    "io.k8s.api.autoscaling.v1.Scale", "io.k8s.api.policy.v1.Eviction", "io.k8s.api.authentication.v1.TokenRequest",
    "io.k8s.apimachinery.pkg.version.Info",
)  # fmt: skip

PULL_POLICY = {
    "Always": "means that kubelet always attempts to pull the latest image. Container will fail If the pull fails.",
    "IfNotPresent": "means that kubelet pulls if the image isn't present on disk. Container will fail if the image "
    "isn't "
    "present and the pull fails.",
    "Never": "means that kubelet never pulls an image, but only uses a local image. Container will fail if the image "
    "isn't present",
}
DNS_POLICY = {
    "ClusterFirst": "indicates that the pod should use cluster DNS first unless hostNetwork is true, if it is "
    "available, "
    "then fall back on the default (as determined by kubelet) DNS settings.",
    "ClusterFirstWithHostNet": "indicates that the pod should use cluster DNS first, if it is available, then fall "
    "back on the default (as determined by kubelet) DNS settings.",
    "Default": "indicates that the pod should use the default (as determined by kubelet) DNS settings.",
    "None": "indicates that the pod should use empty DNS settings. DNS parameters such as nameservers and search paths "
    "should be defined via DNSConfig.",
}
TERMINATION_MESSAGE_POLICY = {
    "FallbackToLogsOnError": "will read the most recent contents of the container logs for the container status "
    "message when the container exits with an error and the terminationMessagePath has no contents.",
    "File": "is the default behavior and will set the container status message to the contents of the container's "
    "terminationMessagePath when the container exits.",
}
PROTOCOL = {"SCTP": "is the SCTP protocol.", "TCP": "is the TCP protocol.", "UDP": "is the UDP protocol."}
RESTART_POLICY = {"Always": "", "Never": "", "OnFailure": ""}
POD_PHASE = {
    "Failed": "means that all containers in the pod have terminated, and at least one container has terminated in a "
    "failure (exited with a non-zero exit code or was stopped by the system).",
    "Pending": "means the pod has been accepted by the system, but one or more of the containers has not been started. "
    "This includes time before being bound to a node, as well as time spent pulling images onto the host.",
    "Running": "means the pod has been bound to a node and all of the containers have been started. At least one "
    "container is still running or is in the process of being restarted.",
    "Succeeded": "means that all containers in the pod have voluntarily terminated with a container exit code of "
    "0, and "
    "the system is not going to restart any of these containers.",
    "Unknown": "means that for some reason the state of the pod could not be obtained, typically due to an error in "
    "communicating with the host of the pod.",
}
# (kinds, property): allowed values and their meaning, as the real document lists them
ENUMS: dict[tuple[tuple[str, ...], str], dict[str, str]] = {
    (("Container", "EphemeralContainer"), "imagePullPolicy"): PULL_POLICY,
    (("ImageVolumeSource",), "pullPolicy"): PULL_POLICY,
    (("Container", "EphemeralContainer"), "terminationMessagePolicy"): TERMINATION_MESSAGE_POLICY,
    (("PodSpec",), "dnsPolicy"): DNS_POLICY,
    (("PodSpec",), "restartPolicy"): RESTART_POLICY,
    (("ContainerPort", "ServicePort", "EndpointPort"), "protocol"): PROTOCOL,
    (("PodStatus",), "phase"): POD_PHASE,
}


def clean(schema: Any) -> Any:
    """Undo what the JSON-Schema packaging did: nullable types, pointers, apiVersion and kind as enums."""
    if isinstance(schema, list):
        return [clean(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result: dict[str, Any] = {}
    for key, value in schema.items():
        match key:
            case "$ref":
                result[key] = value.removeprefix("#/$defs/")
            case "type" if isinstance(value, list):
                result[key] = next(name for name in value if name != "null")
            case "properties":
                result[key] = {name: clean(item) for name, item in value.items()}
            case "enum":
                continue
            case _:
                result[key] = clean(value)
    return result


def definitions_of(wheel: Path, version: str) -> dict[str, Any]:
    """The cleaned definitions of one Kubernetes version."""
    path = f"kubernetes_validate/kubernetes-json-schema/v{version}.0-local/_definitions.json"
    with zipfile.ZipFile(wheel) as archive:
        found: dict[str, Any] = clean(json.loads(archive.read(path))["$defs"])
    found["io.k8s.apimachinery.pkg.api.resource.Quantity"] |= {"type": "string"}
    found["io.k8s.apimachinery.pkg.api.resource.Quantity"].pop("oneOf", None)
    found["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = {
        "description": "IntOrString is a type that can hold an int32 or a string.  When used in JSON or YAML "
        "marshalling "
        "and unmarshalling, it produces or consumes the inner type.  This allows you to have, for "
        "example, a JSON field "
        "that can accept a name or number.",
        "type": "string",
        "format": "int-or-string",
    }
    for (kinds, name), values in ENUMS.items():
        for kind in kinds:
            schema = found[CORE + kind]["properties"][name]
            schema["enum"] = sorted(values)
            meanings = "\n".join(f' - `"{value}"` {text}'.rstrip() for value, text in sorted(values.items()))
            schema["description"] += f"\n\nPossible enum values:\n{meanings}"
    return found


def closure(definitions: dict[str, Any], roots: list[str]) -> dict[str, Any]:
    """The roots and all they refer to."""
    kept: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = definitions[name]
            waiting += re.findall(r'"\$ref": "([^"]+)"', json.dumps(definitions[name]))
    return dict(sorted(kept.items()))


def kinds_served(definitions: dict[str, Any]) -> list[str]:
    """Definitions of the kinds in the resource table, and their lists; other groups' mentions are dropped."""
    wanted = {(row.group, row.version, kind) for row in RESOURCES for kind in (row.kind, row.list_kind)}
    groups = {(row.group, row.version) for row in RESOURCES}
    names = []
    for name, schema in definitions.items():
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) > 1:
            schema["x-kubernetes-group-version-kind"] = [
                kind for kind in kinds if (kind["group"], kind["version"]) in groups
            ]
        elif any((kind["group"], kind["version"], kind["kind"]) in wanted for kind in kinds):
            names.append(name)
    return names


# ---- protobuf -------------------------------------------------------------------------------------------------------


def varint(data: bytes, at: int) -> tuple[int, int]:
    """One base-128 number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """The (number, value) pairs of a message."""
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value: Any
        match key & 7:
            case 0:
                value, at = varint(data, at)
            case 2:
                size, at = varint(data, at)
                value, at = data[at : at + size], at + size
            case 1:
                value, at = data[at : at + 8], at + 8
            case 5:
                value, at = data[at : at + 4], at + 4
            case other:
                raise ValueError(f"wire type {other}")
        found.append((key >> 3, value))
    return found


TYPES = {1: "double", 3: "int", 5: "int", 8: "bool", 9: "string", 11: "message", 12: "bytes", 14: "int"}


def descriptors_in(binary: bytes) -> list[bytes]:
    """The compressed FileDescriptorProtos of k8s.io packages inside a kubectl binary."""
    found = []
    for match in re.finditer(b"\x1f\x8b\x08", binary):
        inflate = zlib.decompressobj(31)
        try:
            data = inflate.decompress(binary[match.start() : match.start() + 4_000_000])
        except zlib.error:
            continue
        if inflate.eof and data[:1] == b"\n" and b"k8s.io/" in data[2:12]:
            found.append(data)
    return found


def messages_of(descriptor: bytes) -> dict[str, list[list[Any]]]:
    """Messages of one file: rows of number, JSON name, type, repeated, and the type's name."""
    package = next(bytes(value).decode() for number, value in fields(descriptor) if number == 2)
    found: dict[str, list[list[Any]]] = {}

    def take(message: bytes, prefix: str) -> None:
        facts = fields(message)
        name = f"{prefix}.{next(bytes(value).decode() for number, value in facts if number == 1)}"
        rows = []
        for number, value in facts:
            if number == 3:
                take(value, name)
            elif number == 2:
                one = dict(fields(value))
                json_name = bytes(one[1]).decode()
                reference = bytes(one.get(6, b"")).decode().lstrip(".")
                rows.append([one[3], json_name, TYPES[one[5]], int(one.get(4) == 3), reference])
        found[name] = rows

    for number, value in fields(descriptor):
        if number == 4:
            take(value, package)
    return found


def protobuf_table(kubectl: Path, roots: list[str]) -> dict[str, list[list[Any]]]:
    """The messages of the kinds served and all they refer to."""
    messages: dict[str, list[list[Any]]] = {}
    for descriptor in descriptors_in(kubectl.read_bytes()):
        messages |= messages_of(descriptor)
    kept: dict[str, list[list[Any]]] = {}
    waiting = [name for name in roots if name in messages]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = messages[name]
            waiting += [row[4] for row in messages[name] if row[4]]
    return dict(sorted(kept.items()))


def main() -> None:
    """Write the data file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--schemas", type=Path, required=True, help="the kubernetes-validate wheel")
    parser.add_argument("--kubectl", type=Path, required=True, help="a kubectl binary, 1.32 is known to work")
    parser.add_argument("--version", default="1.36", help="Kubernetes version of the schemas")
    options = parser.parse_args()
    definitions = definitions_of(options.schemas, options.version)
    kept = closure(definitions, [*kinds_served(definitions), *EXTRA_ROOTS])
    groups = {(row.group, row.version): row for row in RESOURCES}
    packages = {f"k8s.io.api.{(group or 'core').split('.')[0]}.{version}" for group, version in groups}
    proto_roots = [f"{package}.{row.kind}" for row in RESOURCES for package in packages]
    proto_roots += [f"k8s.io.api.{name}" for name in (
        "autoscaling.v1.Scale", "policy.v1.Eviction", "policy.v1beta1.Eviction",
        "authentication.v1.TokenRequest")]  # fmt: skip
    proto_roots += [f"k8s.io.apimachinery.pkg.apis.meta.v1.{name}" for name in ("DeleteOptions", "Status")]
    proto_roots.append("k8s.io.apimachinery.pkg.runtime.Unknown")
    table = protobuf_table(options.kubectl.resolve(), proto_roots)
    document = {"version": options.version, "definitions": kept, "messages": table}
    data = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    OUTPUT.write_bytes(zstandard.ZstdCompressor(level=19).compress(data))
    print(  # noqa: T201 - a script's result
        f"{len(kept)} definitions, {len(table)} messages, {len(data)} bytes, {OUTPUT.stat().st_size} compressed"
    )


if __name__ == "__main__":
    main()

"""Request bodies → objects: JSON, YAML or protobuf, checked against the schema, shaped as Go would store them.

Three outcomes per field: of the wrong type is a 400 with Go's words; unknown is a 400 (Strict), a warning (Warn) or
nothing (Ignore), and dropped in any case; empty is dropped where the API's Go types would omit it.
Source: apimachinery pkg/runtime/serializer/json, sigs.k8s.io/json, apiserver pkg/endpoints/handlers.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import yaml

from pullet.apiserver.protobuf import PREFIX, ProtobufError, decode_unknown
from pullet.apiserver.schemas import OBJECT_META, Schema, Schemas
from pullet.base.jsonvalue import JsonObject
from pullet.base.values import State
from pullet.kube.field_error import quote
from pullet.kube.meta import format_micro_time, format_time, parse_time
from pullet.kube.quantity import parse_quantity
from pullet.kube.status import BadRequestError, UnsupportedMediaTypeError

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
MAX_DEPTH = 200
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_OR_SCHEMA = re.compile("JSONSchemaPropsOr(Array|Bool)$")  # of these an object is a schema
_DEEP_YAML = re.compile(rb"[\[{]")

# fields whose Go type is a pointer: their zero is a value, not an absence
KEEPS_ZERO = frozenset(
    {
        "activeDeadlineSeconds", "allocateLoadBalancerNodePorts", "allowPrivilegeEscalation", "allowVolumeExpansion",
        "automountServiceAccountToken", "backoffLimit", "backoffLimitPerIndex", "blockOwnerDeletion", "collisionCount",
        "completions", "controller", "defaultMode", "deletionGracePeriodSeconds", "enableServiceLinks", "exitCode",
        "expirationSeconds", "failed", "failedJobsHistoryLimit", "fsGroup", "gracePeriodSeconds", "hostUsers",
        "immutable", "leaseDurationSeconds", "leaseTransitions", "maxFailedIndexes", "maxItems", "maxLength",
        "maxProperties", "maxSurge", "maxUnavailable", "maximum", "minAvailable", "minItems", "minLength",
        "minProperties", "minReplicas", "minimum", "mode", "optional", "orphanDependents", "parallelism", "partition",
        "preserveUnknownFields", "priority",
        "privileged", "progressDeadlineSeconds", "readOnlyRootFilesystem", "ready", "replicas", "revisionHistoryLimit",
        "runAsGroup", "runAsNonRoot", "runAsUser", "serving", "setHostnameAsFQDN", "shareProcessNamespace",
        "stabilizationWindowSeconds", "start", "started", "startingDeadlineSeconds", "storageClassName",
        "successfulJobsHistoryLimit", "supplementalGroups", "suspend", "targetPort", "terminating",
        "terminationGracePeriodSeconds", "timeoutSeconds", "tolerationSeconds", "ttlSecondsAfterFinished", "weight",
        "x-kubernetes-preserve-unknown-fields",
    }
)  # fmt: skip
KEEPS_NULL = frozenset({"lastProbeTime", "eventTime", "firstTimestamp", "lastTimestamp"})

# Go's names of the string types, for error texts
_GO_TYPES = {
    "imagePullPolicy": "v1.PullPolicy", "pullPolicy": "v1.PullPolicy", "restartPolicy": "v1.RestartPolicy",
    "dnsPolicy": "v1.DNSPolicy", "protocol": "v1.Protocol", "terminationMessagePolicy": "v1.TerminationMessagePolicy",
    "phase": "v1.PodPhase", "effect": "v1.TaintEffect", "finalizers": "v1.FinalizerName",
}  # fmt: skip

_MAX_STRICT_ERRORS = 100  # as sigs.k8s.io/json, which stops collecting there


class Decoded(State):
    """An object as it will be stored, and what the client should be warned of."""

    obj: JsonObject
    unknown_fields: list[str] = msgspec.field(default_factory=list)
    duplicate_fields: list[str] = msgspec.field(default_factory=list)

    def enforce(self, field_validation: str, kind: str, version: str) -> list[str]:
        """Apply fieldValidation; the warnings to send.

        Raises:
            BadRequestError: Strict, and there are unknown fields or fields given twice.
        """
        if field_validation not in ("", "Ignore", "Warn", "Strict"):
            raise BadRequestError(
                f"invalid fieldValidation value {quote(field_validation)}: must be Ignore, Warn or Strict"
            )
        if field_validation == "Ignore":
            return []
        texts = [f"duplicate field {quote(path)}" for path in self.duplicate_fields]
        texts += [f"unknown field {quote(path)}" for path in self.unknown_fields]
        texts = texts[:_MAX_STRICT_ERRORS]
        if not texts:
            return []
        if field_validation == "Strict":
            raise BadRequestError(
                f'{kind} in version "{version}" cannot be handled as a {kind}: '
                f"strict decoding error: {', '.join(texts)}"
            )
        return texts


class TypeMismatchError(Exception):
    """A value of the wrong JSON type; the text is Go's JSON decoder's, `converted` that of Go's converter of maps."""

    def __init__(self, text: str, converted: str = "") -> None:
        super().__init__(text)
        self.converted = converted or text


class WrongTypeError(BadRequestError):
    """A body with a value of the wrong type."""

    def __init__(self, kind: str, version: str, mismatch: TypeMismatchError) -> None:
        super().__init__(f'{kind} in version "{version}" cannot be handled as a {kind}: {mismatch}')
        self.mismatch = mismatch


def parse_body(data: bytes, content_type: str, schemas: Schemas) -> Any:
    """The body as JSON values.

    Raises:
        BadRequestError: malformed. UnsupportedMediaTypeError: a format that is not read here.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if data[:4] == PREFIX or media_type == PROTOBUF:
        try:
            return decode_unknown(data, schemas)
        except ProtobufError as error:
            raise BadRequestError(f"the request body is not valid protobuf: {error}") from error
    if media_type == YAML:
        return parse_yaml(data)
    if media_type and media_type not in (JSON, "text/plain", "application/octet-stream", "*/*"):
        raise UnsupportedMediaTypeError.accepting(JSON, YAML, PROTOBUF)
    return parse_json(data)


def parse_json(data: bytes) -> Any:
    """Decode JSON.

    Raises:
        BadRequestError: malformed or nested too deep.
    """
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise BadRequestError(f"the object provided is unrecognized (must be of type Object): {error}") from error
    except (RecursionError, UnicodeDecodeError, OverflowError) as error:
        raise BadRequestError(f"the request body cannot be read: {type(error).__name__}") from error
    check_depth(value)
    return value


def duplicate_fields(data: bytes, content_type: str) -> list[str]:
    """Paths of the fields that a JSON body gives more than once; the last value counts. `data` has been parsed before.

    Not looked for in YAML and protobuf.
    """
    if data[:4] == PREFIX or content_type.partition(";")[0].strip().lower() in (YAML, PROTOBUF):
        return []
    doubled: list[tuple[dict[str, Any], list[str]]] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            names = [name for name, _ in pairs]
            doubled.append((made, [name for at, name in enumerate(names) if name in names[:at]]))
        return made

    value = json.loads(data, object_pairs_hook=collect)
    if not doubled:
        return []
    found: list[str] = []

    def walk(item: Any, path: str) -> None:
        if isinstance(item, dict):
            for made, names in doubled:
                if made is item:
                    found.extend(f"{path}.{name}" if path else name for name in names)
            for key, inner in item.items():
                walk(inner, f"{path}.{key}" if path else key)
        elif isinstance(item, list):
            for index, inner in enumerate(item):
                walk(inner, f"{path}[{index}]")

    walk(value, "")
    return found


def parse_yaml(data: bytes) -> Any:
    """Decode one YAML document as JSON values.

    Raises:
        BadRequestError: malformed, or nested too deep.
    """
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return parse_json(data)
        except BadRequestError:
            pass  # flow YAML also starts with a brace
    if len(_DEEP_YAML.findall(data)) > 5_000 or _indent_depth(data) > MAX_DEPTH:
        raise BadRequestError("error converting YAML to JSON: exceeded max depth")
    try:
        value = yaml.load(data, Loader=_YamlLoader)  # noqa: S506 - a safe loader, with fewer resolvers
        text = msgspec.json.encode(value)
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise BadRequestError(f"error converting YAML to JSON: {error}") from error
    return parse_json(text)


class _YamlLoader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: timestamps stay strings."""


_YamlLoader.yaml_implicit_resolvers = {
    key: [(tag, pattern) for tag, pattern in rows if tag != "tag:yaml.org,2002:timestamp"]
    for key, rows in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _indent_depth(data: bytes) -> int:
    return max((line.count(b"- ") for line in data.splitlines()), default=0)


def check_depth(value: Any) -> None:
    """Refuse nesting beyond `MAX_DEPTH`.

    Raises:
        BadRequestError: nested deeper.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        level = (
            [
                item
                for container in level
                for item in (container.values() if isinstance(container, dict) else container)
                if isinstance(item, (dict, list))
            ]
            if level and isinstance(level[0], (dict, list))
            else []
        )
        if not level:
            return
    raise BadRequestError("the request body is nested too deep: exceeded max depth")


class SchemaDecoder:
    """Checks and shapes one object by its schema."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def decode(self, value: Any, group: str, version: str, kind: str) -> Decoded:
        """Check `value` as an object of the kind.

        Raises:
            BadRequestError: a field of the wrong type.
        """
        definition = self._schemas.name_of(group, version, kind)
        if not isinstance(value, dict):
            raise BadRequestError(
                "the object provided is unrecognized (must be of type Object): couldn't get version/kind"
            )
        if definition is None:
            return Decoded(value)
        walk = _Walk(self._schemas)
        api_version = f"{group}/{version}" if group else version
        try:
            obj = walk.object(value, self._schemas.definitions[definition], _struct(definition), "", "")
        except TypeMismatchError as error:
            raise WrongTypeError(kind, version, error) from error
        obj["apiVersion"], obj["kind"] = api_version, kind
        return Decoded(obj, walk.unknown)

    def decode_metadata(self, value: Any, kind: str, api_version: str) -> Decoded:
        """The metadata of an object whose kind has no schema here; unknown fields are named from `metadata` on.

        Raises:
            BadRequestError: a field of the wrong type.
        """
        if value is None:
            return Decoded({})
        walk = _Walk(self._schemas)
        try:
            obj = walk.value(value, {"$ref": OBJECT_META}, kind, ".metadata", "metadata")
        except TypeMismatchError as error:
            raise WrongTypeError(kind, api_version, error) from error
        return Decoded(obj, walk.unknown)


def _struct(definition: str) -> str:
    return definition.rpartition(".")[2]


def _go_type(definition: str) -> str:
    """`v1.PodSpec` of `io.k8s.api.core.v1.PodSpec`."""
    return ".".join(definition.split(".")[-2:])


def _json_type(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


class _Walk:
    """One pass over one object. `struct` and `go_path` are Go's words for where we are, `path` the API's."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self.unknown: list[str] = []

    def object(self, value: Any, schema: Schema, struct: str, go_path: str, path: str) -> JsonObject:
        properties: dict[str, Schema] = schema["properties"]
        required = schema.get("required", ())
        result: JsonObject = {}
        for name, item in value.items():
            sub_path = f"{path}.{name}" if path else name
            sub_schema = properties.get(name)
            if sub_schema is None:
                self.unknown.append(sub_path)
                continue
            if item is None:
                if name in KEEPS_NULL:
                    result[name] = None
                continue
            shaped = self.value(item, sub_schema, struct, f"{go_path}.{name}", sub_path)
            if shaped or name in required or name in KEEPS_ZERO or self._is_struct(sub_schema):
                result[name] = shaped
        return result

    def _is_struct(self, schema: Schema) -> bool:
        """Whether an empty value is `{}` of a struct, which Go keeps, or any JSON, which has no zero."""
        schema = self._schemas.resolve(schema)
        return schema.get("type", "object") == "object" and "additionalProperties" not in schema

    def value(self, value: Any, schema: Schema, struct: str, go_path: str, path: str) -> Any:
        reference = schema.get("$ref")
        if reference:
            if isinstance(value, dict):
                reference = _OR_SCHEMA.sub("JSONSchemaProps", reference)
            schema = self._schemas.definitions[reference]
        expected = schema.get("type")
        if expected == "object":
            if not isinstance(value, dict):
                self._mismatch(value, struct, go_path, _go_type(reference) if reference else "map[string]string")
            if "properties" in schema:
                return self.object(value, schema, _struct(reference or struct), go_path, path)
            items = schema.get("additionalProperties")
            if items and items is not True:
                return (
                    {
                        key: self.value(item, items, struct, go_path, f"{path}[{key}]")
                        for key, item in value.items()
                        if item is not None
                    }
                    if items.get("type") != "string" or items.get("format")
                    else self._strings(value, struct, go_path)
                )
            return value
        if expected == "array":
            if not isinstance(value, list):
                inner = schema["items"]
                element = _go_type(inner["$ref"]) if "$ref" in inner else str(inner.get("type"))
                self._mismatch(value, struct, go_path, f"[]{element}")
            items = schema["items"]
            return [
                self.value(item if item is not None else _zero(items), items, struct, go_path, f"{path}[{index}]")
                for index, item in enumerate(value)
            ]
        return self._scalar(value, schema, struct, go_path, reference)

    def _strings(self, value: JsonObject, struct: str, go_path: str) -> JsonObject:
        for item in value.values():
            if item is not None and not isinstance(item, str):
                self._mismatch(item, struct, go_path, "string")
        return {key: item or "" for key, item in value.items()}

    def _scalar(self, value: Any, schema: Schema, struct: str, go_path: str, reference: str | None) -> Any:
        expected, form = schema.get("type"), schema.get("format")
        if form == "int-or-string" and isinstance(value, int) and not isinstance(value, bool):
            return value
        if reference and reference.endswith(".Quantity"):
            return self._quantity(value)
        match expected:
            case "string":
                if not isinstance(value, str):
                    self._mismatch(value, struct, go_path, _GO_TYPES.get(go_path.rpartition(".")[2], "string"))
                if form == "date-time":
                    return _time(value, is_micro=bool(reference) and str(reference).endswith(".MicroTime"))
            case "integer":
                if isinstance(value, float) and value.is_integer():
                    value = int(value)
                if isinstance(value, bool) or not isinstance(value, int):
                    self._mismatch(value, struct, go_path, form or "int64")
                if (form == "int32" and not -(2**31) <= value < 2**31) or not -(2**63) <= value < 2**63:
                    raise TypeMismatchError(
                        f"json: cannot unmarshal number {value} into Go struct field {struct}{go_path} "
                        f"of type {form or 'int64'}"
                    )
            case "boolean" if not isinstance(value, bool):
                self._mismatch(value, struct, go_path, "bool")
            case "number" if isinstance(value, bool) or not isinstance(value, (int, float)):
                self._mismatch(value, struct, go_path, "float64")
        return value

    def _quantity(self, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise TypeMismatchError(f"unmarshalerDecoder: {_QUANTITY}")
        try:
            return str(parse_quantity(value))
        except ValueError as error:
            raise TypeMismatchError(str(error)) from error

    def _mismatch(self, value: Any, struct: str, go_path: str, go_type: str) -> None:
        raise TypeMismatchError(
            f"json: cannot unmarshal {_json_type(value)} into Go struct field {struct}{go_path} of type {go_type}",
            _converter_text(value, go_type),
        )


_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


_GO_VALUES = {
    "bool": "bool", "string": "string", "number": "int64", "array": "[]interface {}",
    "object": "map[string]interface {}",
}  # fmt: skip

_GO_BASIC_KINDS = frozenset({"bool", "string", "int", "int32", "int64", "float64"})


def _converter_text(value: Any, go_type: str) -> str:
    """What Go's converter of maps says of `value` where a `go_type` should be.

    Source: apimachinery pkg/runtime/converter.go, fromUnstructured.
    """
    have = "float64" if isinstance(value, float) else _GO_VALUES[_json_type(value)]
    kind = have.partition("[")[0] or "slice"
    if go_type.startswith("map["):
        return f"cannot restore map from {kind}"
    if go_type.startswith("[]"):
        return f"cannot restore slice from {kind}"
    if go_type.startswith("v1.") and go_type not in _GO_TYPES.values():
        return f"cannot restore struct from: {kind}"
    basic = go_type if go_type in _GO_BASIC_KINDS else "string"  # the named types are all strings
    if (have == "int64" and basic != "bool") or (have == "float64" and basic not in ("bool", "string")):
        return f"cannot convert {have} to {go_type}"  # what Go's reflection converts, but JSON does not
    return f"unrecognized type: {basic}"


def _zero(schema: Schema) -> Any:
    if str(schema.get("$ref")).endswith(".JSON"):
        return None
    match schema.get("type", "object"):
        case "string":
            return ""
        case "integer" | "number":
            return 0
        case "boolean":
            return False
        case "array":
            return []
        case _:
            return {}


def _time(text: str, *, is_micro: bool) -> str | None:
    """A time as Go writes it again: in UTC, by the second or microsecond; the zero time is none."""
    moment = parse_time(text) if _RFC3339.fullmatch(text) else None
    if moment is None:
        raise TypeMismatchError(
            f'parsing time {quote(text)} as "2006-01-02T15:04:05Z07:00": cannot parse {quote(text)} as "2006"'
        )
    if moment.year <= 1:
        return None
    return format_micro_time(moment) if is_micro else format_time(moment)

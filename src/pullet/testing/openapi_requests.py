"""Requests made from an OpenAPI v3 document: some right, most a little wrong, some nonsense. Seeded, so repeatable.

Bodies are made from the schemas, or are objects that were once right with a part replaced; patches of all four kinds
carry directives; parameters come from pools of values that decoders trip over.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import yaml

from pullet.base.jsonvalue import JsonObject
from pullet.base.values import Value

Schema = Mapping[str, Any]
_JSON = "application/json"
_TEXTS = (
    "", "a", "b", "x", "default", "web", "-", "a.b", "A_b", "ä", "\x00", "{}", "a/b", "1", "-1", "5%", "1Gi", "Always",
    "http", "10.0.0.1", "2026-01-01T00:00:00Z", "$(X)", "..", "a" * 64, "y" * 300, "nginx:1", "@", "💥", "=,!in()",
)  # fmt: skip
_NUMBERS = (0, 1, 2, 3, 80, -1, 65535, 65536, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30)
_QUANTITIES = ("1", "100m", "1Gi", "1e3", "-1", "1.5Mi", "x", "", "1e999", "0.0000000001", "9" * 40)
_NAMES = ("a", "b", "c", "x", "UPPER", "ä", "a" * 260, "a%2Fb", "..", "kubernetes", "default")
_QUERIES: Mapping[str, Sequence[str]] = {
    "limit": ("0", "1", "2", "-1", "x", "9" * 25, "1.5", ""),
    "continue": ("x", "====", "bm9uc2Vuc2U", base64.b64encode(b'{"version":1,"key":"a"}').decode(), "ä", "eyJ2Ijp7fX0"),
    "resourceVersion": ("0", "1", "-1", "x", "9" * 25, "1.5", "", " 1"),
    "resourceVersionMatch": ("Exact", "NotOlderThan", "x", ""),
    "labelSelector": ("a=b", "a", "!a", "a in (b,c)", "a notin (b)", "=", "a==b,,", "a in (", "ä=b", "(" * 300, "a>1"),
    "fieldSelector": ("metadata.name=a", "metadata.name!=a", "spec.nodeName=", "x=y", "=", "metadata.name", ",", "\\"),
    "watch": ("true", "false", "1", "x"),
    "sendInitialEvents": ("true", "false", "x"),
    "allowWatchBookmarks": ("true", "false", "x"),
    "timeoutSeconds": ("1",),
    "dryRun": ("All", "x", ""),
    "fieldValidation": ("Strict", "Warn", "Ignore", "x", ""),
    "fieldManager": ("m", "ä", "x" * 129, ""),
    "force": ("true", "false", "x"),
    "gracePeriodSeconds": ("0", "1", "-1", "x", "9" * 25, ""),
    "propagationPolicy": ("Foreground", "Background", "Orphan", "x", ""),
    "pretty": ("true",),
}
_DIRECTIVES = ("$patch", "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/")


class FuzzRequest(Value):
    """One request. `is_watch`: a good answer has no end of its own."""

    method: str
    url: str
    content_type: str
    body: bytes
    is_watch: bool

    def __str__(self) -> str:
        return f"{self.method} {self.url} [{self.content_type}] {self.body[:2000]!r}"


class OpenApiRequests:
    """Makes requests for the operations of one document. `known` are objects that were accepted, by kind."""

    def __init__(self, document: JsonObject, seed: int, known: Mapping[str, Sequence[JsonObject]]) -> None:
        self._random = random.Random(seed)
        self._schemas: Mapping[str, Schema] = document["components"]["schemas"]
        self._known = known
        self._operations = [
            (method, path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if method != "parameters"
        ]

    def make(self) -> FuzzRequest:
        """The next request."""
        pick = self._random
        method, path, operation = pick.choice(self._operations)
        name = self._one(_NAMES)
        url = path.replace("{namespace}", "default" if pick.random() < 0.8 else quote(self._one(_NAMES)))
        url = url.replace("{name}", quote(name))
        query = {
            parameter["name"]: self._one(_QUERIES[parameter["name"]])
            for parameter in operation.get("parameters", ())
            if pick.random() < 0.25
        }
        is_watch = query.get("watch") in ("true", "1")
        if is_watch:
            query["timeoutSeconds"] = "1"
        content_type, body = "", b""
        content = operation.get("requestBody", {}).get("content")
        if content and (method != "delete" or pick.random() < 0.5):
            content_type = self._one(tuple(content))
            content_type, body = self._body(content_type, content[content_type]["schema"], operation, name)
            if content_type == "application/apply-patch+yaml" and pick.random() < 0.9:
                query["fieldManager"] = "m"
        text = "&".join(f"{key}={quote(value)}" for key, value in query.items())
        return FuzzRequest(method.upper(), f"{url}?{text}" if text else url, content_type, body, is_watch)

    def _one(self, choices: Sequence[str]) -> str:
        return self._random.choice(choices)

    # bodies -----------------------------------------------------------------------------------------------------------

    def _body(self, content_type: str, schema: Schema, operation: JsonObject, name: str) -> tuple[str, bytes]:
        pick = self._random
        if pick.random() < 0.05:
            return content_type if content_type != "*/*" else _JSON, self._nonsense()
        kind = operation["x-kubernetes-group-version-kind"]
        value: Any
        match content_type:
            case "application/json-patch+json":
                value = [self._operation(kind["kind"]) for _ in range(pick.randrange(4))]
            case "application/apply-patch+yaml":
                value = self._object(kind, self._schema_of(kind), name)
            case "application/merge-patch+json" | "application/strategic-merge-patch+json":
                value = self.value(self._schema_of(kind), 0)
                if "strategic" in content_type and isinstance(value, dict):
                    self._direct(value, 0)
            case _:
                value = self._object(kind, schema, name)
                content_type = (
                    _JSON if pick.random() < 0.85 else self._one(("application/yaml", "", "text/plain", "x/y"))
                )
        if content_type in ("application/yaml", "application/apply-patch+yaml") and pick.random() < 0.5:
            return content_type, yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")
        if pick.random() < 0.02:
            content_type = "application/vnd.kubernetes.protobuf"
        return content_type, msgspec.json.encode(value)

    def _nonsense(self) -> bytes:
        pick = self._random
        match pick.randrange(5):
            case 0:
                return pick.randbytes(pick.randrange(60))
            case 1:
                return b"k8s\x00" + pick.randbytes(pick.randrange(60))
            case 2:
                opening = self._one(("[", "{", '{"a":', "- ", "? ", "&a ", "!!python/x ")).encode()
                return opening * pick.choice((1, 10, 1_000, 50_000))
            case 3:
                return msgspec.json.encode(pick.choice((None, 1, "x", [], [{}], True, 1e308)))
            case _:
                return b'{"metadata":{"name":"a","name":"b"},"kind":"' + pick.randbytes(4) + b'"}'

    def _schema_of(self, kind: JsonObject) -> Schema:
        for schema in self._schemas.values():
            if kind in schema.get("x-kubernetes-group-version-kind", ()):
                return schema
        return {"type": "object"}

    def _object(self, kind: JsonObject, schema: Schema, name: str) -> Any:
        pick = self._random
        known = self._known.get(kind["kind"])
        if known and pick.random() < 0.6:
            value = msgspec.json.decode(msgspec.json.encode(pick.choice(known)))
            for _ in range(pick.randrange(3)):
                self._spoil(value)
        else:
            value = self.value(schema, 0)
        if isinstance(value, dict) and pick.random() < 0.9:
            meta = value.get("metadata")
            if not isinstance(meta, dict):
                meta = value["metadata"] = {}
            meta.pop("namespace", None)
            meta.pop("resourceVersion", None)
            meta |= {"name": name}
            value["kind"] = kind["kind"]
            value["apiVersion"] = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
        return value

    def _spoil(self, value: Any) -> None:
        """Replace or remove one part somewhere inside."""
        pick = self._random
        while True:
            keys: Sequence[Any] = list(value) if isinstance(value, dict) else range(len(value))
            if not keys:
                return
            key = pick.choice(keys)
            inner = value[key]
            if isinstance(inner, (dict, list)) and inner and pick.random() < 0.8:
                value = inner
                continue
            if pick.random() < 0.3:
                del value[key]
            else:
                value[key] = self._any()
            return

    def _any(self) -> Any:
        pick = self._random
        one = pick.choice((*_TEXTS, *_NUMBERS, *_QUANTITIES, None, True, False, 1.5))
        return pick.choice((one, one, one, [one], {"a": one}, [], {}, [None], [[one]]))

    def value(self, schema: Schema, depth: int) -> Any:
        """A value of the schema, mostly."""
        pick = self._random
        if pick.random() < 0.02:
            return self._any()
        reference = schema.get("$ref") or next((each["$ref"] for each in schema.get("allOf", ())), "")
        if reference:
            name = reference.rpartition("/")[2]
            if name.endswith(".Quantity"):
                return self._one(_QUANTITIES)
            schema = self._schemas[name]
        if "enum" in schema and pick.random() < 0.8:
            return pick.choice(schema["enum"])
        if schema.get("format") == "int-or-string":
            return pick.choice((*_NUMBERS, *_TEXTS))
        match schema.get("type"):
            case "object":
                return self._mapping(schema, depth)
            case "array":
                count = 0 if depth > 7 else pick.choice((0, 1, 1, 2))
                return [self.value(schema["items"], depth + 1) for _ in range(count)]
            case "integer":
                return pick.choice(_NUMBERS)
            case "number":
                return pick.choice((0, 1.5, -1, 1e308))
            case "boolean":
                return pick.random() < 0.5
            case "string":
                return self._string(schema.get("format"))
            case _:
                return self._any()

    def _string(self, form: str | None) -> str:
        pick = self._random
        if form == "date-time" and pick.random() < 0.8:
            return self._one(("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z", "0001-01-01T00:00:00Z"))
        if form == "byte" and pick.random() < 0.8:
            return base64.b64encode(pick.randbytes(6)).decode()
        return self._one(_TEXTS)

    def _mapping(self, schema: Schema, depth: int) -> JsonObject:
        pick = self._random
        properties: Mapping[str, Schema] = schema.get("properties") or {}
        if not properties:
            items = schema.get("additionalProperties")
            inner: Schema = items if isinstance(items, Mapping) else {"type": "string"}
            return {self._one(_TEXTS): self.value(inner, depth + 1) for _ in range(pick.randrange(3))}
        wanted = [name for name in schema.get("required", ()) if pick.random() < 0.95]
        if depth < 8:
            wanted += pick.sample(list(properties), min(len(properties), pick.choice((0, 1, 2, 4))))
        for name in ("metadata", "spec", "template") if depth < 4 else ():
            if name in properties:
                wanted.append(name)
        made = {name: self.value(properties[name], depth + 1) for name in wanted if name in properties}
        if pick.random() < 0.03:
            made[self._one(_TEXTS)] = self._any()
        return made

    # patches ----------------------------------------------------------------------------------------------------------

    def _operation(self, kind: str) -> Any:
        pick = self._random
        if pick.random() < 0.05:
            return self._any()
        known = self._known.get(kind)
        path = self._path(pick.choice(known)) if known and pick.random() < 0.8 else self._one(_TEXTS)
        operation: JsonObject = {
            "op": self._one(("add", "replace", "remove", "test", "copy", "move", "x")),
            "path": path,
            "value": self._any(),
            "from": self._path(pick.choice(known)) if known else "/metadata",
        }
        if pick.random() < 0.1:
            del operation[self._one(tuple(operation))]
        return operation

    def _path(self, value: Any) -> str:
        parts = []
        while isinstance(value, (dict, list)) and value and self._random.random() < 0.85:
            key: Any = self._random.choice(list(value) if isinstance(value, dict) else range(len(value)))
            parts.append(str(key).replace("~", "~0").replace("/", "~1"))
            value = value[key]
        if self._random.random() < 0.2:
            parts.append(self._one(("-", "99", "-1", "x", "01", "~", "")))
        return "".join(f"/{part}" for part in parts)

    def _direct(self, value: JsonObject, depth: int) -> None:
        """Strategic directives here and there."""
        pick = self._random
        if pick.random() < 0.3:
            directive = self._one(_DIRECTIVES)
            field = self._one(tuple(value) or ("x",)) if directive.endswith("/") else ""
            choices: Sequence[Any] = (
                "replace",
                "delete",
                "merge",
                "x",
                ["a"],
                [{"name": "a"}],
                [{}],
                None,
                {"a": 1},
                7,
            )
            value[directive + field] = pick.choice(choices)
        for item in tuple(value.values()):
            for inner in item if isinstance(item, list) else (item,):
                if isinstance(inner, dict) and depth < 6:
                    self._direct(inner, depth + 1)

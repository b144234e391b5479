"""Rules on CustomResourceDefinitions: names, versions, columns, subresources. Schemas are looked at in
`definition_schema`.

What all versions have in common the API server keeps, and names in errors, at the top of the spec: `spec.validation`
instead of `spec.versions[0].schema`.
Source: apiextensions-apiserver pkg/apis/apiextensions/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pullet.base.jsonvalue import JsonObject
from pullet.kube.custom_rows import ESTABLISHED, is_condition_true
from pullet.kube.field_error import FieldError, forbidden, invalid, not_supported, required
from pullet.kube.json_path import JsonPathError, parse_json_path
from pullet.kube.meta import dns_1035_label_problems, dns_subdomain_problems
from pullet.kube.structural import member_schema, subschemas
from pullet.policy.definition_schema import validate_schema
from pullet.policy.object_validation import IMMUTABLE_TEXT
from pullet.policy.schema_formats import RECOGNIZED

APPROVAL = "api-approved.kubernetes.io"
_APPROVAL_TEXT = f'protected groups must have approval annotation "{APPROVAL}"'
_APPROVAL_LINK = "see https://github.com/kubernetes/enhancements/pull/1111"
_SCOPES = ("Cluster", "Namespaced")
_STRATEGIES = ("None", "Webhook")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("binary", "byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_SIMPLE_PATH_TEXT = "must be a simple json path starting with ."
_MAX_SELECTABLE = 8

Version = Mapping[str, Any]


def validate_definition(definition: JsonObject) -> list[FieldError]:
    """Everything but what an update may not change."""
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    errors = []
    name = definition["metadata"].get("name") or ""
    if name != f"{names.get('plural') or ''}.{spec.get('group') or ''}":
        errors.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    errors += _group_errors(spec.get("group") or "")
    errors += _one_of("spec.scope", spec.get("scope") or "", _SCOPES)
    errors += _version_errors(spec)
    errors += [
        required(f"spec.names.{part}") for part in ("plural", "singular", "kind", "listKind") if not names.get(part)
    ]
    errors += _name_errors(names)
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        errors.append(invalid("spec.preserveUnknownFields", True, text))
    errors += _conversion_errors(spec.get("conversion") or {})
    return errors + _approval_errors(definition)


def validate_definition_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """What names the kind is for life; a version that may be in the store must stay."""
    spec, before = new.get("spec") or {}, old.get("spec") or {}
    paths: list[tuple[str, ...]] = [("group",), ("names", "plural")]
    if is_condition_true(old, ESTABLISHED):
        paths = [("scope",), ("names", "kind"), *paths]
    errors = [
        invalid(f"spec.{'.'.join(path)}", _at(spec, path), IMMUTABLE_TEXT)
        for path in paths
        if _at(spec, path) != _at(before, path)
    ]
    known = {version.get("name") for version in spec.get("versions") or ()}
    for at, version in enumerate((new.get("status") or {}).get("storedVersions") or ()):
        if version not in known:
            text = (
                f"missing from spec.versions; {version} was previously a storage version, and must remain in "
                f"spec.versions until a storage migration ensures no data remains persisted in {version} and removes "
                f"{version} from status.storedVersions"
            )
            errors.append(invalid(f"status.storedVersions[{at}]", version, text))
    return errors


def definition_warnings(definition: JsonObject) -> list[str]:
    """What a definition asks for and does not get."""
    warnings = []
    for version in (definition.get("spec") or {}).get("versions") or ():
        below = [schema for _, schema in subschemas((version.get("schema") or {}).get("openAPIV3Schema") or {})]
        formats = dict.fromkeys(schema["format"] for schema in below if schema.get("format"))
        warnings += [f'unrecognized format "{name}"' for name in formats if name not in RECOGNIZED]
        if any(schema.get("x-kubernetes-validations") for schema in below):
            name = version.get("name")
            warnings.append(f"x-kubernetes-validations of version {name} are stored, but not evaluated: no CEL here")
        for column in version.get("additionalPrinterColumns") or ():
            for error in _path_errors(
                f"printer column {column.get('name')} stays empty", column.get("jsonPath") or "."
            ):
                warnings.append(str(error))
    return list(dict.fromkeys(warnings))


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = (value or {}).get(name)
    return value


def _one_of(field: str, value: str, allowed: Sequence[str]) -> list[FieldError]:
    if not value:
        return [required(field)]
    return [] if value in allowed else [not_supported(field, value, allowed)]


def _group_errors(group: str) -> list[FieldError]:
    if not group:
        return [required("spec.group")]
    problems = dns_subdomain_problems(group)
    if problems:
        return [invalid("spec.group", group, ",".join(problems))]
    return [] if "." in group else [invalid("spec.group", group, "should be a domain with at least one dot")]


def _name_errors(names: Mapping[str, Any]) -> list[FieldError]:
    errors = []
    for part in ("plural", "singular"):
        problems = dns_1035_label_problems(names[part]) if names.get(part) else []
        if problems:
            errors.append(invalid(f"spec.names.{part}", names[part], ",".join(problems)))
    for part in ("kind", "listKind"):
        problems = dns_1035_label_problems(names[part].lower()) if names.get(part) else []
        if problems:
            text = f"may have mixed case, but should otherwise match: {','.join(problems)}"
            errors.append(invalid(f"spec.names.{part}", names[part], text))
    if names.get("kind") and names["kind"] == names.get("listKind"):
        errors.append(invalid("spec.names.listKind", names["listKind"], "kind and listKind may not be the same"))
    for part in ("shortNames", "categories"):
        for at, name in enumerate(names.get(part) or ()):
            problems = dns_1035_label_problems(name)
            if problems:
                errors.append(invalid(f"spec.names.{part}[{at}]", name, ",".join(problems)))
    return errors


def _version_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    versions: Sequence[Version] = spec.get("versions") or []
    errors = []
    for at, version in enumerate(versions):
        path = f"spec.versions[{at}]"
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            errors.append(required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        problems = dns_1035_label_problems(version.get("name") or "")
        if problems:
            errors.append(invalid(f"{path}.name", version.get("name") or "", ",".join(problems)))
        warning = version.get("deprecationWarning")
        if warning is not None and not version.get("deprecated"):
            errors.append(invalid(f"{path}.deprecationWarning", warning, "can only be set for deprecated versions"))
    found = [version.get("name") for version in versions]
    if len(set(found)) != len(found):
        errors.append(invalid("spec.versions", versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        errors.append(invalid("spec.versions", versions, "must have exactly one version marked as storage version"))
    for at, version in enumerate(versions):
        errors += _part_errors(versions, at, version)
    return errors


def _part_errors(versions: Sequence[Version], at: int, version: Version) -> list[FieldError]:
    """The errors of a version's schema, subresources, columns; those that all versions share are told once."""
    own = f"spec.versions[{at}]"
    errors = []
    for part, shared in (("schema", "spec.validation"), ("subresources", "spec.subresources"),
                         ("additionalPrinterColumns", "spec.additionalPrinterColumns"),
                         ("selectableFields", "spec.selectableFields")):  # fmt: skip
        value = version.get(part)
        is_shared = all(other.get(part) == value for other in versions)
        if not value or (is_shared and at):
            continue
        path = shared if is_shared else f"{own}.{part}"
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        match part:
            case "schema":
                errors += validate_schema(schema, f"{path}.openAPIV3Schema")
            case "subresources":
                errors += _scale_errors(value.get("scale"), path)
            case "selectableFields":
                errors += _selectable_errors(value, schema, path)
            case _:
                for index, column in enumerate(value):
                    errors += _column_errors(column, f"{path}[{index}]")
    return errors


def _scale_errors(scale: Mapping[str, Any] | None, path: str) -> list[FieldError]:
    if scale is None:
        return []
    errors = []
    for name, root, is_needed in (("specReplicasPath", ".spec.", True), ("statusReplicasPath", ".status.", True),
                                  ("labelSelectorPath", ".status.", False)):  # fmt: skip
        value, field = scale.get(name) or "", f"{path}.scale.{name}"
        if not value:
            if is_needed:
                errors.append(required(field))
            continue
        problems = _path_errors(field, value)
        if not problems and not (
            value.startswith(root) or (name == "labelSelectorPath" and value.startswith(".spec."))
        ):
            where = root.rstrip(".") if is_needed else ".spec or .status"
            problems = [invalid(field, value, f"should be a json path under {where}")]
        errors += problems
    return errors


def _path_errors(field: str, path: str) -> list[FieldError]:
    if not path.startswith("."):
        return [invalid(field, path, _SIMPLE_PATH_TEXT)]
    try:
        parse_json_path(path)
    except JsonPathError as error:
        return [invalid(field, path, f"is an invalid JSONPath: {error}")]
    return []


def _column_errors(column: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = [] if column.get("name") else [required(f"{path}.name")]
    kinds = f"must be one of {','.join(_COLUMN_TYPES)}"
    if not column.get("type"):
        errors.append(required(f"{path}.type", kinds))
    elif column["type"] not in _COLUMN_TYPES:
        errors.append(invalid(f"{path}.type", column["type"], kinds))
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        errors.append(invalid(f"{path}.format", column["format"], f"must be one of {','.join(_COLUMN_FORMATS)}"))
    if not column.get("jsonPath"):
        return [*errors, required(f"{path}.JSONPath")]
    if not column["jsonPath"].startswith("."):
        errors.append(invalid(f"{path}.JSONPath", column["jsonPath"], _SIMPLE_PATH_TEXT))
    return errors


def _selectable_errors(fields: Sequence[Mapping[str, Any]], schema: Mapping[str, Any], path: str) -> list[FieldError]:
    errors = []
    for at, field in enumerate(fields):
        text, here = field.get("jsonPath") or "", f"{path}[{at}].jsonPath"
        found: Any = schema
        for name in text.lstrip(".").split("."):
            found = member_schema(found, name) if found is not None else None
        if not text:
            errors.append(required(here))
        elif not re.fullmatch(r"(\.[\w-]+)+", text) or found is None:
            errors.append(invalid(here, text, "is an invalid path: does not refer to a valid field"))
        elif found.get("type") not in ("string", "boolean", "integer"):
            kinds = "must point to a field of type string, boolean or integer"
            errors.append(invalid(here, text, f"{kinds}. Enum string fields and strings with formats are allowed."))
    if len(fields) > _MAX_SELECTABLE:
        errors.append(invalid(path, len(fields), f"must have at most {_MAX_SELECTABLE} items"))
    return errors


def _conversion_errors(conversion: Mapping[str, Any]) -> list[FieldError]:
    strategy = conversion.get("strategy") or ""
    errors = _one_of("spec.conversion.strategy", strategy, _STRATEGIES)
    if strategy == "Webhook":
        text = "conversion webhooks are not called here; under the strategy None versions differ in apiVersion alone"
        errors.append(forbidden("spec.conversion.strategy", text))
    elif conversion.get("webhook"):
        errors.append(forbidden("spec.conversion.webhook", "should not be set when strategy is not set to Webhook"))
    return errors


def _approval_errors(definition: JsonObject) -> list[FieldError]:
    group = (definition.get("spec") or {}).get("group") or ""
    if not re.search(r"(^|\.)(k8s|kubernetes)\.io$", group):
        return []
    field = f"metadata.annotations[{APPROVAL}]"
    value = (definition["metadata"].get("annotations") or {}).get(APPROVAL) or ""
    if not value:
        return [required(field, f"{_APPROVAL_TEXT}, {_APPROVAL_LINK}")]
    if value.startswith("unapproved") or re.match(r"\w+://\S+", value):
        return []
    text = f'{_APPROVAL_TEXT} with either a URL or a reason starting with "unapproved", {_APPROVAL_LINK}'
    return [invalid(field, value, text)]

"""Fields of an event's JSON Schema as fields of the Open Data Contract Standard."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from open_data_contract_standard.model import EnumValue, SchemaProperty

from conf.contracts import Schema
from conf.contracts.compare import condition, expand

_NUMBER_OPTIONS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf")
_OPTIONS = {
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": _NUMBER_OPTIONS,
    "integer": _NUMBER_OPTIONS,
    "array": ("minItems", "maxItems"),
}


def event_fields(schema: Schema, event_types: Collection[str]) -> list[SchemaProperty]:
    """The fields of events of these types; of all events where the schema has no types.

    Raises:
        ContractError: a `$ref` has no target.
    """
    return _properties(_of_types(expand(schema), event_types))


def _of_types(schema: Schema, event_types: Collection[str]) -> dict[str, Any]:
    """An expanded schema without `if`: its branches joined, as far as these event types need them.

    A field of only one branch becomes optional; its description names the condition.
    """
    if "if" not in schema:
        return dict(schema)
    rule = schema["if"]["properties"]["event_type"]["const"]
    branches = {}
    if rule in event_types:
        branches[condition(schema)] = schema["then"]["properties"]
    if set(event_types) - {rule}:
        branches[condition(schema, negated=True)] = schema["else"]["properties"]
    fields = {
        name: _joined({words: b[name] for words, b in branches.items() if name in b})
        for name in _names(branches)
    }
    fields["event_type"] = {"enum": sorted(event_types)}
    return {**schema, "properties": {**schema["properties"], **fields}}


def _names(branches: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for branch in branches.values() for name in branch))


def _joined(variants: Mapping[str, Schema]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name in _names({w: v["properties"] for w, v in variants.items()}):
        having = {w: v["properties"][name] for w, v in variants.items() if name in v["properties"]}
        ((words, field), *_) = having.items()
        condition_text = "" if len(having) == len(variants) else f"Only where {words}."
        texts = [text for text in (field.get("description"), condition_text) if text]
        properties[name] = {**field, "description": " ".join(texts)}
    required = set.intersection(*(set(v.get("required", ())) for v in variants.values()))
    return {"type": "object", "properties": properties, "required": sorted(required)}


def _properties(schema: Schema) -> list[SchemaProperty]:
    required = schema.get("required", ())
    return [_property(n, s, n in required) for n, s in schema.get("properties", {}).items()]


def _property(name: str | None, schema: Schema, required: bool) -> SchemaProperty:
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    type_ = schema.get("type") or ("integer" if isinstance(values[0], int) else "string")
    if isinstance(type_, list):  # it may be null
        type_ = next(name for name in type_ if name != "null")
    is_time = schema.get("format") == "date-time"
    options = {o: _plain(schema[o]) for o in _OPTIONS.get(type_, ()) if o in schema}
    return SchemaProperty(
        name=name,
        physicalType=type_,
        logicalType="timestamp" if is_time else type_,
        logicalTypeOptions=None if is_time else options or None,
        description=schema.get("description") or None,
        required=required or None,
        enum=[EnumValue(value=v) for v in values if v is not None] or None,
        properties=_properties(schema) or None,
        items=_property(None, schema["items"], required=False) if "items" in schema else None,
    )


def _plain(value: Any) -> Any:
    """A number that YAML can hold; schemas are read with decimals."""
    return float(value) if isinstance(value, Decimal) else value

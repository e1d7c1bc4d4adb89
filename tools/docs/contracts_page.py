"""docs/CONTRACTS.md: the contracts of topics and public tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from open_data_contract_standard.model import (
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)

from conf.contracts.odcs import key
from streaming.lake.tables import TABLES
from tools.docs.markdown import code, render

Fields = tuple[tuple[str, ...], ...]
"""Rows of a table of fields, without that of the event type."""

REPLICAS = {f"postgres.{t.copy_of}": t for t in TABLES if t.copy_of}
"""Contract of a table of Postgres -> its replica in the lake."""
EVENT_TYPE = "`event_type`"
RANGES = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "elements"),
    ("minimum", "maximum", ""),
)
BOUNDS = {
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "in steps of {}",
    "format": "a {}",
    "pattern": "like `{}`",
}
FEW = 20
"""A choice of more values is counted and not listed."""


def contracts_page(contracts: Mapping[str, OpenDataContractStandard]) -> str:
    """The page without the notice that it is generated.

    Tables of the lake have no section: docs/TABLES.md has their columns.

    Args:
        contracts: by file name, in the order of the page.
    """
    schemas = [(contract, (contract.schema_ or [])[0]) for contract in contracts.values()]
    described: dict[Fields, str] = {}
    return render(
        "CONTRACTS",
        overview=[
            (f"[{c.name}]({_address(c)})", s.dataGranularityDescription or "", c.version or "")
            for c, s in schemas
        ],
        sections=[_section(c, s, described) for c, s in schemas if _address(c).startswith("#")],
    )


def _address(contract: OpenDataContractStandard) -> str:
    name = contract.name or ""
    page = "" if name.startswith(("topic.", "postgres.")) else "TABLES.md"
    return f"{page}#{name.replace('.', '')}"


def _section(
    contract: OpenDataContractStandard, schema: SchemaObject, described: dict[Fields, str]
) -> dict[str, Any]:
    """One contract; its fields only if no earlier section and no replica in the lake has them.

    Args:
        contract: of a topic or of a Postgres table.
        schema: its only schema.
        described: fields -> the contract that lists them; this one is added.
    """
    own = {p.property: p.value for p in schema.customProperties or []}
    rows = [row for p in schema.properties or [] for row in _rows(p, p.name or "")]
    types = next((row[-1] for row in rows if row[0] == EVENT_TYPE), "")
    fields = tuple(row for row in rows if row[0] != EVENT_TYPE)
    same = described.setdefault(fields, contract.name or "")
    repeated = same != contract.name
    if replica := REPLICAS.get(contract.name or ""):
        known = {f"`{column.name}`" for column in replica.fields}
        rows = [row for row in rows if row[0] not in known]
        more = ", and:" if rows else ""
        listed = f"those of [{replica.name}](TABLES.md#{replica.name.replace('.', '')}){more}"
    else:
        listed = f"as [{same}](#{same.replace('.', '')})" if repeated else ""
    facts = {
        "Key": code(key(schema)),
        "Writer": own.get("writer") and f"`{own['writer']}`",
        "Events": code(d.url or "" for d in schema.authoritativeDefinitions or []),
        "About": "" if repeated else schema.description,
        "Event type": types if repeated else "",
        "Fields": listed,
    }
    return {"name": contract.name, "facts": facts, "fields": [] if repeated else rows}


def _rows(field: SchemaProperty, path: str) -> Iterator[tuple[str, ...]]:
    yield f"`{path}`", f"`{_type(field)}`", "yes" if field.required else "", _meaning(field)
    for inner in field.properties or []:
        yield from _rows(inner, f"{path}.{inner.name}")
    for inner in (field.items.properties or []) if field.items else []:
        yield from _rows(inner, f"{path}[].{inner.name}")


def _type(field: SchemaProperty) -> str:
    """The type of a field; the fields of a structure have rows of their own."""
    if field.items:
        return f"array of {_type(field.items)}"
    return "object" if field.properties else field.physicalType or ""


def _meaning(field: SchemaProperty) -> str:
    options = field.logicalTypeOptions or {}
    ranges = (_range(options.get(low), options.get(high), unit) for low, high, unit in RANGES)
    bounds = (words.format(options[name]) for name, words in BOUNDS.items() if name in options)
    parts = [(field.description or "").removesuffix("."), _choice(field), *ranges, *bounds]
    return "; ".join(part for part in parts if part)


def _choice(field: SchemaProperty) -> str:
    values = [f"`{v.value}`" for v in field.enum or []]
    return ", ".join(values) if len(values) <= FEW else f"one of {len(values)} values"


def _range(low: float | None, high: float | None, unit: str) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f"at least {low:,} {unit}".strip()
    return f"{'up' if low is None else f'{low:,}'} to {high:,} {unit}".strip()

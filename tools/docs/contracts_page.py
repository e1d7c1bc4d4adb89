"""docs/CONTRACTS.md: the contracts of topics and public tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from open_data_contract_standard.model import (
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)

from conf.contracts.odcs import key
from streaming.lake.tables import TABLES
from tools.docs.markdown import code, render

Fields = dict[str, tuple[str, ...]]
"""Rows of a table of fields by their names, without that of the event type."""

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
CONDITION = re.compile(r"^(?P<first>Only where [^;]*)(?:; )?|\. (?P<after>Only where [^;]*)")
FEW = 20
"""A choice of more values is counted and not listed."""


def contracts_page(contracts: Mapping[str, OpenDataContractStandard]) -> str:
    """The page without the notice that it is generated.

    Tables of the lake, and those of Postgres that they replicate, have no section: docs/TABLES.md
    has their columns.

    Args:
        contracts: by file name, in the order of the page.
    """
    schemas = [(contract, (contract.schema_ or [])[0]) for contract in contracts.values()]
    described: dict[str, Fields] = {}
    return render(
        "CONTRACTS",
        overview=[
            (f"[{c.name}]({_address(c)}){_more_fields(c, s)}", c.version or "") for c, s in schemas
        ],
        sections=[_section(c, s, described) for c, s in schemas if _address(c).startswith("#")],
    )


def _address(contract: OpenDataContractStandard) -> str:
    name = contract.name or ""
    replica = REPLICAS.get(name)
    page = "" if name.startswith(("topic.", "postgres.")) and not replica else "TABLES.md"
    return f"{page}#{(replica.name if replica else name).replace('.', '')}"


def _more_fields(contract: OpenDataContractStandard, schema: SchemaObject) -> str:
    """The columns of a Postgres table that its replica lacks, for a cell of the overview."""
    replica = REPLICAS.get(contract.name or "")
    known = {column.name for column in replica.fields} if replica else set()
    more = [p for p in schema.properties or [] if replica and p.name not in known]
    return "".join(f", and `{p.name}` (`{p.physicalType}`)" for p in more)


def _section(
    contract: OpenDataContractStandard, schema: SchemaObject, described: dict[str, Fields]
) -> dict[str, Any]:
    """One contract; of its fields those that no earlier section has.

    Args:
        contract: of a topic, or of a Postgres table without a replica in the lake.
        schema: its only schema.
        described: contract -> its fields; this one is added.
    """
    own = {p.property: p.value for p in schema.customProperties or []}
    rows = [row for p in schema.properties or [] for row in _rows(p, p.name or "")]
    types = next((row[-1] for row in rows if row[0] == EVENT_TYPE), "")
    fields = {row[0]: row for row in rows if row[0] != EVENT_TYPE}
    base = next((name for name, known in described.items() if known.keys() <= fields.keys()), "")
    described[contract.name or ""] = fields
    facts = {
        "Key": code(key(schema)),
        "Writer": own.get("writer") and f"`{own['writer']}`",
        "Events": "" if base else code(d.url or "" for d in schema.authoritativeDefinitions or []),
        "About": "" if base else schema.description,
        "Event type": types if base else "",
    }
    if not base:
        return {"name": contract.name, "facts": facts, "fields": rows}
    added = [row for row in fields.values() if not _is_in(described[base], row)]
    facts |= _conditions(fields, added)
    facts["Fields"] = f"as [{base}](#{base.replace('.', '')}){', and:' if added else ''}"
    return {"name": contract.name, "facts": facts, "fields": added}


def _is_in(known: Fields, row: tuple[str, ...]) -> bool:
    """Whether a field is known, at least under a condition, which makes it optional."""
    old = known.get(row[0], row[:1])
    conditional = CONDITION.search(row[-1]) is not None
    return row == old or (
        conditional and (*row[:2], CONDITION.sub("", row[-1])) == (*old[:2], old[-1])
    )


def _conditions(fields: Fields, added: Collection[tuple[str, ...]]) -> dict[str, str]:
    """Condition -> the fields that it holds for, without the added ones: their rows name it."""
    found: dict[str, list[str]] = {}
    for row in fields.values():
        if row not in added and (condition := CONDITION.search(row[-1])):
            found.setdefault(condition["first"] or condition["after"], []).append(row[0])
    return {when: ", ".join(names) for when, names in found.items()}


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

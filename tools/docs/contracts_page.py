"""docs/CONTRACTS.md: the contracts of topics and public tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from open_data_contract_standard.model import (
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)

from conf.contracts.odcs import key
from tools.docs.markdown import table_lines

HEAD = """\
# Contracts

The public interfaces: the topics, and the tables of silver, gold and the serving database. Other
tables are internal. Each contract is a file `NAME.odcs.yaml` in `conf/contracts`, generated from
the code, in the [Open Data Contract
Standard](https://github.com/bitol-io/open-data-contract-standard), with required fields and allowed
values. Next to them is the JSON Schema of each version of an event.

**The rule.** A new version only adds. Events of an older version remain valid, and a reader of an
older version finds every field with its type. New optional fields, more values and wider bounds are
additive. A removed field, a new required field, another type, fewer values or another key break the
contract. `storelake contracts check` compares the versions of each event, and with `--against REF`
every file with that of a commit, a tag or a folder, and lists what breaks.

**Versions.** `schema_version` of an event names its JSON Schema; all versions listed are accepted,
any other is quarantined. `make docs` raises the version of a contract: the third number for
changed text, the second for additions, the first for breaking changes.
"""

Fields = tuple[tuple[str, ...], ...]
"""Rows of a table of fields, without that of the event type."""

EVENT_TYPE = "`event_type`"
BOUNDS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} elements",
    "maxItems": "at most {} elements",
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "multipleOf": "a multiple of {}",
    "format": "a {}",
    "pattern": "like `{}`",
}


def contracts_page(contracts: Mapping[str, OpenDataContractStandard]) -> str:
    """The page without the notice that it is generated.

    Tables of the lake have no section: docs/TABLES.md has their columns.

    Args:
        contracts: by file name, in the order of the page.
    """
    schemas = [(contract, (contract.schema_ or [])[0]) for contract in contracts.values()]
    overview = [
        (f"[{c.name}]({_address(c)})", s.dataGranularityDescription or "", c.version or "")
        for c, s in schemas
    ]
    lines = [HEAD, *table_lines(("contract", "one row or message is", "version"), overview)]
    described: dict[Fields, str] = {}
    for contract, schema in schemas:
        if _address(contract).startswith("#"):
            lines += _section(contract, schema, described)
    return "\n".join(lines) + "\n"


def _address(contract: OpenDataContractStandard) -> str:
    name = contract.name or ""
    page = "" if name.startswith(("topic.", "postgres.")) else "TABLES.md"
    return f"{page}#{name.replace('.', '')}"


def _section(
    contract: OpenDataContractStandard, schema: SchemaObject, described: dict[Fields, str]
) -> list[str]:
    """One contract; its fields only if no earlier section has the same.

    Args:
        contract: of a topic or of a Postgres table.
        schema: its only schema.
        described: fields -> the contract that lists them; this one is added.
    """
    own = {p.property: p.value for p in schema.customProperties or []}
    rows = [row for p in schema.properties or [] for row in _rows(p, p.name or "")]
    kinds = next((row[-1] for row in rows if row[0] == EVENT_TYPE), "")
    fields = tuple(row for row in rows if row[0] != EVENT_TYPE)
    same = described.setdefault(fields, contract.name or "")
    repeated = same != contract.name
    facts = [
        ("Key", ", ".join(f"`{name}`" for name in key(schema))),
        ("Writer", own.get("writer") and f"`{own['writer']}`"),
        ("Events", ", ".join(f"`{d.url}`" for d in schema.authoritativeDefinitions or [])),
        ("About", "" if repeated else schema.description),
        ("Event type", kinds if repeated else ""),
        ("Fields", f"as [{same}](#{same.replace('.', '')})" if repeated else ""),
    ]
    listed = [f"- {title}: {fact}" for title, fact in facts if fact]
    table = [] if repeated else ["", *table_lines(("field", "type", "always", "meaning"), rows)]
    return ["", f"## {contract.name}", "", *listed, *table]


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
    values = ", ".join(f"`{v.value}`" for v in field.enum or [])
    options = field.logicalTypeOptions or {}
    bounds = [words.format(options[name]) for name, words in BOUNDS.items() if name in options]
    parts = [(field.description or "").removesuffix("."), values, *bounds]
    return "; ".join(part for part in parts if part)

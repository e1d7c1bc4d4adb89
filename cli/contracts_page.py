"""docs/CONTRACTS.md: what others may rely on, made from the contracts themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from open_data_contract_standard.model import (
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)

from cli.grid import grid
from conf.contracts.odcs import key

HEAD = """\
# Contracts

What others may send, and what they may rely on: the topics, and the tables of silver, gold and the
serving database; every other table is ours alone. Each has a file in `conf/contracts`, made from
the code, in the [Open Data Contract
Standard](https://github.com/bitol-io/open-data-contract-standard). Beside them, each version of an
event has its JSON Schema.

**The rule.** A new version only adds. A sender who keeps to an older version is never refused, a
reader who keeps to it never misses a field or meets another type. New optional fields, more values
and wider bounds are additive; a field that goes, a new required one, another type, fewer values,
another key break. `storelake contracts check` compares the versions of each event, and with
`--against REF` every file with that of a commit, a tag or a folder, and names what breaks.

**Versions.** `schema_version` in an event says which JSON Schema it keeps to; all versions listed
are taken, any other is quarantined. The version of a contract is counted on by `storelake docs`: a
third place for words, a second for additions, the first for what breaks.
"""

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
    """The page.

    Args:
        contracts: by file name, in the order of the page.
    """
    things = [(file, contract, (contract.schema_ or [])[0]) for file, contract in contracts.items()]
    rows = [
        (f"[{c.name}](#{_anchor(c)})", t.dataGranularityDescription or "", c.version or "")
        for _, c, t in things
    ]
    lines = [HEAD, *grid(("contract", "one row or message is", "version"), rows)]
    for file, contract, thing in things:
        lines += _section(file, contract, thing)
    return "\n".join(lines) + "\n"


def _anchor(contract: OpenDataContractStandard) -> str:
    return (contract.name or "").replace(".", "")


def _section(file: str, contract: OpenDataContractStandard, thing: SchemaObject) -> list[str]:
    one = "One row" if thing.physicalType == "table" else "One message"
    own = {p.property: p.value for p in thing.customProperties or []}
    facts = [
        (one, thing.dataGranularityDescription),
        ("Key", ", ".join(f"`{name}`" for name in key(thing))),
        ("Writer", own.get("writer") and f"`{own['writer']}`"),
        ("Events", ", ".join(f"`{d.url}`" for d in thing.authoritativeDefinitions or [])),
        ("About", thing.description),
        ("Contract", f"`{file}`, version {contract.version}"),
    ]
    fields = [row for p in thing.properties or [] for row in _rows(p, p.name or "")]
    return [
        "",
        f"## {contract.name}",
        "",
        *(f"- {title}: {fact}" for title, fact in facts if fact),
        "",
        *grid(("field", "type", "always", "meaning"), fields),
    ]


def _rows(field: SchemaProperty, path: str) -> Iterator[tuple[str, ...]]:
    yield f"`{path}`", f"`{_type(field)}`", "yes" if field.required else "", _meaning(field)
    for inner in field.properties or []:
        yield from _rows(inner, f"{path}.{inner.name}")
    for inner in (field.items.properties or []) if field.items else []:
        yield from _rows(inner, f"{path}[].{inner.name}")


def _type(field: SchemaProperty) -> str:
    """Structures open up in rows of their own, so their type is their kind."""
    if field.items:
        return f"array of {_type(field.items)}"
    return "object" if field.properties else field.physicalType or ""


def _meaning(field: SchemaProperty) -> str:
    values = ", ".join(f"`{v.value}`" for v in field.enum or [])
    options = field.logicalTypeOptions or {}
    bounds = [words.format(options[name]) for name, words in BOUNDS.items() if name in options]
    parts = [(field.description or "").removesuffix("."), values, *bounds]
    return "; ".join(part for part in parts if part)

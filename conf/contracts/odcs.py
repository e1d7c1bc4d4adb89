"""Contracts in the Open Data Contract Standard: reading them, and effects of changes on readers.

Their only sender is the product itself, so no message is rejected: breaking changes are a column
that was removed, changed its type or becomes nullable, or another key. Iceberg's own widenings (int
to bigint, more digits) are not breaking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from open_data_contract_standard.model import (
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)
from pydantic import ValidationError

from conf.contracts.compare import Change
from conf.errors import ContractError

SUFFIX = ".odcs.yaml"
MESSAGE_KEY = "messageKey"
_WIDENINGS = {
    ("int", "bigint"),
    ("integer", "bigint"),
    ("smallint", "integer"),
    ("float", "double"),
}
_DECIMAL = re.compile(r"(?:decimal|numeric)\((\d+), ?(\d+)\)")


def read_odcs(text: str, name: str) -> OpenDataContractStandard:
    """A contract as the standard's own model reads it.

    Raises:
        ContractError: the text is no YAML, or no such contract.
    """
    try:
        contract = OpenDataContractStandard.model_validate(yaml.load(text, yaml.CSafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise ContractError(f"{name} is no YAML{place}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its top"
        raise ContractError(f"{name} is no Open Data Contract: {place}: {first['msg']}.") from None
    if contract.kind != "DataContract" or not contract.schema_:
        raise ContractError(f"{name} is no Open Data Contract with a schema.")
    return contract


def compare_odcs(old: OpenDataContractStandard, new: OpenDataContractStandard) -> list[Change]:
    """Every difference that a reader may see; wording and the contract's own version do not count.

    Of a topic the key and the versions are compared: its fields are those of its JSON Schemas.
    """
    return list(_object_changes(old.schema_ or [], new.schema_ or []))


def _object_changes(old: Sequence[SchemaObject], new: Sequence[SchemaObject]) -> Iterator[Change]:
    there = {o.name: o for o in new}
    for before in old:
        name = before.name or "it"
        if before.name not in there:
            yield Change(name, "was removed or renamed: readers miss it.", breaking=True)
            continue
        after = there[before.name]
        if key(before) != key(after):
            sentence = f"has the key {_listed(key(after))} now and had {_listed(key(before))}"
            yield Change(name, f"{sentence}: joins and upserts on the old one fail.", breaking=True)
        if before.physicalType == "topic":
            yield from _version_changes(before, after)
        else:
            yield from _field_changes(before.properties or [], after.properties or [], "")


def _version_changes(old: SchemaObject, new: SchemaObject) -> Iterator[Change]:
    before, after = (
        {d.url: None for d in thing.authoritativeDefinitions or []} for thing in (old, new)
    )
    name = old.name or "it"
    for url in (u for u in before if u not in after):
        yield Change(name, f"no longer takes {url}: who sends that is refused.", breaking=True)
    for url in (u for u in after if u not in before):
        yield Change(name, f"takes {url}, too.", breaking=False)


def key(thing: SchemaObject) -> tuple[str, ...]:
    """What names a row, or a message of a topic."""
    own = [p.value for p in thing.customProperties or [] if p.property == MESSAGE_KEY]
    columns = [p for p in thing.properties or [] if p.primaryKey]
    columns.sort(key=lambda p: p.primaryKeyPosition or 0)
    return tuple(str(name) for name in (*own, *(p.name for p in columns)))


def _field_changes(
    old: Sequence[SchemaProperty], new: Sequence[SchemaProperty], path: str
) -> Iterator[Change]:
    there = {p.name: p for p in new}
    for before in old:
        field = f"{path}{before.name}"
        if before.name not in there:
            yield Change(field, "was removed or renamed: readers miss it.", breaking=True)
        else:
            yield from _changes(before, there[before.name], field)
    known = {p.name for p in old}
    for name in (p.name for p in new if p.name not in known):
        yield Change(f"{path}{name}", "is new.", breaking=False)


def _changes(old: SchemaProperty, new: SchemaProperty, path: str) -> Iterator[Change]:
    if old.required and not new.required:
        yield Change(path, "may be null now: readers that count on it fail.", breaking=True)
    if new.required and not old.required:
        yield Change(path, "is never null now.", breaking=False)
    if old.items and new.items:
        yield from _changes(old.items, new.items, f"{path}[]")
    elif old.properties and new.properties:
        yield from _field_changes(old.properties, new.properties, f"{path}.")
    elif old.physicalType != new.physicalType:
        wider = _is_wider(old.physicalType or "", new.physicalType or "")
        hurt = "." if wider else ": who reads the old type fails."
        sentence = f"is {new.physicalType} now and was {old.physicalType}{hurt}"
        yield Change(path, sentence, breaking=not wider)


def _is_wider(old: str, new: str) -> bool:
    before, after = _DECIMAL.fullmatch(old), _DECIMAL.fullmatch(new)
    if before and after:
        return before[2] == after[2] and int(after[1]) > int(before[1])
    return (old, new) in _WIDENINGS


def _listed(names: Sequence[Any]) -> str:
    return f"({', '.join(map(str, names))})" if names else "none"

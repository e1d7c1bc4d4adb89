"""Fields of parsed structs as Arrow columns, by the kinds of the contract.

A field of a later version may hold anything in an event of an earlier one, and is null there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.fields import ContractField, Kind, contract_fields
from streaming.validation.batch import Array, Lines, Mask, to_mask
from streaming.validation.parsing import AMOUNT, NO_NUMBER, amounts, column, instants, texts

_to_json = msgspec.json.Encoder(decimal_format="number").encode
_EMPTY: Mapping[Kind, pa.DataType] = {"decimal": AMOUNT, "boolean": pa.bool_()}


def struct_columns(
    structs: Sequence[Any], fields: Sequence[ContractField], versions: Sequence[int | None] = ()
) -> tuple[dict[str, Array], Mask]:
    """The fields of each struct as columns, and whether they have their JSON types.

    Args:
        structs: parsed.
        fields: of the structs.
        versions: of the event of each; needed where a field has a later version.
    """
    columns: dict[str, Array] = {}
    fit = np.ones(len(structs), bool)
    newest = max(filter(None, versions), default=0)
    for field in fields:
        if field.since > max(newest, 1):
            columns[field.name] = pa.nulls(len(structs), empty_type(field))
            continue
        values = column(structs, field.name)
        if field.since > 1:
            columns[field.name], fits = _added(values, versions, field)
            fit &= fits
        elif field.is_number:
            columns[field.name], fits = amounts(values)
            fit &= fits
        else:
            columns[field.name] = (instants if field.kind == "instant" else texts)(values)
    return columns, fit


def _added(
    values: Sequence[Any], versions: Sequence[int | None], field: ContractField
) -> tuple[Array, Mask]:
    """A field that a later version added: null in events of earlier ones."""
    if values.count(None) < len(values):
        known = zip(values, versions, strict=True)
        values = [v if v is not None and (n or 0) >= field.since else None for v, n in known]
    return loose_column(values, field)


def loose_column(values: Sequence[Any], field: ContractField) -> tuple[Array, Mask]:
    """JSON values as the column of a field, and which of them have its type, or are null.

    Args:
        values: of any type; fractions are `Decimal`.
        field: of a kind in `_READERS`.
    """
    if values.count(None) == len(values):
        return pa.nulls(len(values), empty_type(field)), np.ones(len(values), bool)
    found = _READERS[field.kind](values, field)
    # The rule of a choice reports another type itself.
    if field.kind == "choice":
        return found, np.ones(len(values), bool)
    absent = np.fromiter((v is None for v in values), bool, len(values))
    return found, absent | to_mask(pc.is_valid(found))


def empty_type(field: ContractField) -> pa.DataType:
    """The type of the column of a field in a message."""
    if field.element:
        parts = [(f.name, empty_type(f)) for f in contract_fields(field.element)]
        return pa.list_(pa.struct(parts))
    return _EMPTY.get(field.kind, pa.string())


def _read_texts(values: Sequence[Any], _: ContractField) -> Array:
    return texts([v if isinstance(v, str) else None for v in values])


def _read_choices(values: Sequence[Any], _: ContractField) -> Array:
    return texts([v if v is None or isinstance(v, str) else _to_json(v).decode() for v in values])


def _read_booleans(values: Sequence[Any], _: ContractField) -> Array:
    return pa.array([v if isinstance(v, bool) else None for v in values], pa.bool_())


def _read_decimals(values: Sequence[Any], _: ContractField) -> Array:
    numbers = [
        msgspec.Raw(str(v).encode())
        if isinstance(v, int | Decimal) and not isinstance(v, bool)
        else NO_NUMBER
        for v in values
    ]
    return amounts(numbers)[0]


def _read_lists(values: Sequence[Any], field: ContractField) -> Array:
    """Lists of objects; null for a value that is no such list, or has a wrong type in it."""
    lists = [v if _is_list_of_objects(v) else None for v in values]
    objects = [one for found in lists for one in found or ()]
    columns, fit = {}, np.ones(len(objects), bool)
    for inner in contract_fields(field.element) if field.element else ():
        columns[inner.name], fits = loose_column([one.get(inner.name) for one in objects], inner)
        fit &= fits
    lines = Lines.of(lists, columns)
    return pc.if_else(pa.array(lines.all(fit)), lines.lists, pa.scalar(None, lines.lists.type))


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


_READERS: Mapping[Kind, Callable[[Sequence[Any], ContractField], Array]] = {
    "text": _read_texts,
    "choice": _read_choices,
    "boolean": _read_booleans,
    "decimal": _read_decimals,
    "list": _read_lists,
}

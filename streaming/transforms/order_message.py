"""Order messages: JSON to structs, and structs to one Arrow column per field of the contract.

The structs have the fields of the contract, each of which may be missing or null: rules report
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts import order_event as contract
from conf.contracts.fields import ContractField, contract_fields
from conf.contracts.order_event import STATUS_CHANGED
from streaming.validation.batch import Array, Lines, Mask, ParsedBatch, is_one_of
from streaming.validation.parsing import (
    NO_NUMBER,
    Int,
    Long,
    Number,
    Parsed,
    amounts,
    column,
    instants,
    texts,
)

_ENVELOPE = [f for f in contract_fields(contract.OrderEvent) if f.kind not in ("integer", "object")]
_ITEM = contract_fields(contract.Item)
_ORDER = list(
    {
        f.name: f
        for struct in (contract.StatusChange, contract.Order)
        for f in contract_fields(struct)
        if f.kind != "list"
    }.values()
)
_KINDS: dict[str, tuple[Any, Any]] = {"integer": (Long | None, None), "money": (Number, NO_NUMBER)}
_ADDABLE = ("text", "choice")


def _struct(name: str, fields: Sequence[ContractField], **types: Any) -> type[msgspec.Struct]:
    """A struct with fields of the contract, and further fields of the given types.

    No cycle can arise, so the garbage collector need not follow it.
    """
    return msgspec.defstruct(
        name,
        [
            *((f.name, *_read_as(f)) for f in fields),
            *((field, kind | None, None) for field, kind in types.items()),
        ],
        module=__name__,
        gc=False,
    )


def _read_as(field: ContractField) -> tuple[Any, Any]:
    """Type and default of a field; one of a later version may hold anything."""
    if field.since == 1:
        return _KINDS.get(field.kind, (str | None, None))
    if field.kind not in _ADDABLE:
        raise TypeError(
            f"order.{field.name}: a later version can add {' and '.join(_ADDABLE)} only"
        )
    return Any, None


Item: Any = _struct("Item", _ITEM)
Order: Any = _struct("Order", _ORDER, items=list[Item | None])
OrderEvent: Any = _struct("OrderEvent", _ENVELOPE, schema_version=Int, order=Order)

_NO_ORDER, _NO_ITEM = Order(), Item()
_to_json = msgspec.json.Encoder(decimal_format="number").encode
decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(OrderEvent)


def order_message(rows: pa.Table, parsed: Parsed[Any]) -> ParsedBatch:
    """Source rows and their `OrderEvent`s -> columns named as in silver, for `order_rules`."""
    events = parsed.events
    orders = [event.order or _NO_ORDER for event in events]
    items = [item or _NO_ITEM for order in orders for item in order.items or ()]
    versions = column(events, "schema_version")
    fields, fits = _columns(orders, _ORDER, versions)
    item_fields, items_fit = _columns(items, _ITEM)
    lines = Lines.of(column(orders, "items"), item_fields)
    envelope, _ = _columns(events, _ENVELOPE)
    is_change = is_one_of(envelope["event_type"], [STATUS_CHANGED])
    return ParsedBatch(
        fields={
            **envelope,
            **fields,
            "types_match": pa.array(parsed.typed & fits & lines.all(items_fit)),
            "schema_version": pa.array(versions, pa.int32()),
            "status": pc.if_else(is_change, fields["new_status"], fields["status"]),
            "items": lines.lists,
            "item_count": pc.list_value_length(lines.lists),
            "key": rows["key"].combine_chunks(),
            "timestamp": rows["timestamp"].combine_chunks(),
        },
        lines=lines,
    )


def _columns(
    structs: Sequence[Any], fields: Sequence[ContractField], versions: Sequence[int | None] = ()
) -> tuple[dict[str, Array], Mask]:
    """The fields of each struct as columns, and whether its amounts are numbers or null.

    Args:
        structs: parsed.
        fields: of the structs.
        versions: of the event of each; needed where a field has a later version.
    """
    columns: dict[str, Array] = {}
    fit = np.ones(len(structs), bool)
    for field in fields:
        values = column(structs, field.name)
        if field.since > 1:
            values, fits = _added(values, versions, field)
            fit &= fits
        if field.kind == "money":
            columns[field.name], fits = amounts(values)
            fit &= fits
        elif field.kind == "integer":
            columns[field.name] = pa.array(values, pa.int64())
        else:
            columns[field.name] = (instants if field.kind == "instant" else texts)(values)
    return columns, fit


def _added(
    values: Sequence[Any], versions: Sequence[int | None], field: ContractField
) -> tuple[list[str | None], Mask]:
    """Texts of a field that a later version added, and whether their types fit.

    Null in events of earlier versions.
    """
    known = [v if (n or 0) >= field.since else None for v, n in zip(values, versions, strict=True)]
    # The rule of a choice reports another type itself.
    fits = [field.kind == "choice" or v is None or isinstance(v, str) for v in known]
    return list(map(_text, known)), np.array(fits, bool)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else _to_json(value).decode()

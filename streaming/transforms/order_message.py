"""Order messages: JSON to structs, and structs to one Arrow column per field of the contract.

The structs have the fields of the contract, each of which may be missing or null: rules report
that.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts import order_event as contract
from conf.contracts.fields import ContractField, contract_fields
from conf.contracts.order_event import IN_STORE, MIXED, STATUS_CHANGED, TILLS
from streaming.transforms.contract_columns import struct_columns
from streaming.validation.batch import Array, Lines, ParsedBatch, is_one_of
from streaming.validation.parsing import NO_NUMBER, Int, Number, Parsed, column

_ENVELOPE = [f for f in contract_fields(contract.OrderEvent) if f.kind not in ("integer", "object")]
_ITEM = contract_fields(contract.ItemV3)
_ORDER = list(
    {
        f.name: f
        for struct in (contract.StatusChange, contract.OrderV3)
        for f in contract_fields(struct)
        if f.name != "items"
    }.values()
)


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
    if field.since > 1:
        return Any, None
    return (Number, NO_NUMBER) if field.is_number else (str | None, None)


Item: Any = _struct("Item", _ITEM)
Order: Any = _struct("Order", _ORDER, items=list[Item | None])
OrderEvent: Any = _struct("OrderEvent", _ENVELOPE, schema_version=Int, order=Order)

_NO_ORDER, _NO_ITEM = Order(), Item()
_CHANNELS = {"store": IN_STORE, IN_STORE: f"{IN_STORE}, of version {TILLS}"}
"""Channels of version 2 that have another name, or none, since."""
decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(OrderEvent, float_hook=Decimal)


def order_message(rows: pa.Table, parsed: Parsed[Any]) -> ParsedBatch:
    """Source rows and their `OrderEvent`s -> columns named as in silver, for `order_rules`."""
    events = parsed.events
    orders = [event.order or _NO_ORDER for event in events]
    found = column(orders, "items")
    items = [item or _NO_ITEM for lines in found for item in lines or ()]
    versions = column(events, "schema_version")
    fields, fits = struct_columns(orders, _ORDER, versions)
    of_items = [v for v, lines in zip(versions, found, strict=True) for _ in lines or ()]
    item_fields, items_fit = struct_columns(items, _ITEM, of_items)
    lines = Lines.of(found, item_fields)
    envelope, _ = struct_columns(events, _ENVELOPE)
    is_change = is_one_of(envelope["event_type"], [STATUS_CHANGED])
    return ParsedBatch(
        fields={
            **envelope,
            **fields,
            "types_match": pa.array(parsed.typed & fits & lines.all(items_fit)),
            "schema_version": pa.array(versions, pa.int32()),
            "status": pc.if_else(is_change, fields["new_status"], fields["status"]),
            "payment_method": _paid_by(fields["payment_method"], fields["payments"]),
            "channel": _sales_channel(fields["channel"], versions),
            "items": lines.lists,
            "item_count": pc.list_value_length(lines.lists),
            "key": rows["key"].combine_chunks(),
            "timestamp": rows["timestamp"].combine_chunks(),
        },
        lines=lines,
    )


def _paid_by(given: Array, payments: pa.ListArray) -> Array:
    """The method of all payments, `mixed` where they have several; as given without payments."""
    if payments.null_count == len(payments):
        return given
    methods = [{p["method"] for p in found or ()} for found in payments.to_pylist()]
    of_all = [MIXED if len(m) > 1 else next(iter(m), None) for m in methods]
    return pc.coalesce(pa.array(of_all, pa.string()), given)


def _sales_channel(channels: Array, versions: Sequence[int | None]) -> Array:
    """Channels as version 3 calls them."""
    if channels.null_count == len(channels):
        return channels
    found = zip(channels.to_pylist(), versions, strict=True)
    return pa.array([_CHANNELS.get(c, c) if (n or 0) < TILLS else c for c, n in found], pa.string())

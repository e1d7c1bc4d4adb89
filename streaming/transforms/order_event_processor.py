"""Order events: parse, judge, enrich. Source rows in, judged rows out; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from conf.stores import Stores
from streaming.source import SOURCE_SCHEMA
from streaming.validation.checks import AnyRule, Array, Lines, Message, is_one_of, relist
from streaming.validation.order_rules import STATUS_CHANGED, order_rules
from streaming.validation.parsing import (
    INSTANT,
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
from streaming.validation.rules import judge


class Item(msgspec.Struct, gc=False):
    """A line of an order, as a message has it."""

    product_id: str | None = None
    name: str | None = None
    category: str | None = None
    quantity: Long | None = None
    unit_price: Number = NO_NUMBER


class Order(msgspec.Struct):
    """The order of an event, or the change of its status."""

    order_id: str | None = None
    customer_id: str | None = None
    branch_id: str | None = None
    status: str | None = None
    payment_method: str | None = None
    currency: str | None = None
    total_price: Number = NO_NUMBER
    created_at: str | None = None
    channel: Any = None
    """A field of version 2: to version 1 it is an unknown one, whatever it holds."""
    items: list[Item | None] | None = None
    old_status: str | None = None
    new_status: str | None = None


class OrderEvent(msgspec.Struct):
    """An order event, as a message has it (conf/contracts)."""

    event_id: str | None = None
    event_type: str | None = None
    event_time: str | None = None
    schema_version: Int | None = None
    source: str | None = None
    order: Order | None = None


LINE = pa.struct(
    [
        ("product_id", pa.string()),
        ("name", pa.string()),
        ("category", pa.string()),
        ("quantity", pa.int32()),
        ("unit_price", pa.decimal128(12, 2)),
    ]
)
SILVER_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id", "event_type")),
        ("event_time", INSTANT),
        *((name, pa.string()) for name in ("order_id", "customer_id", "branch_id", "region")),
        *((name, pa.string()) for name in ("status", "old_status", "payment_method", "currency")),
        ("total_price", pa.decimal128(12, 2)),
        ("created_at", INSTANT),
        ("channel", pa.string()),
        ("local_date", pa.date32()),
        ("local_hour", pa.int32()),
        ("item_count", pa.int32()),
        ("items", pa.list_(LINE)),
        *((name, pa.string()) for name in ("items_json", "source", "version")),
        *SOURCE_SCHEMA,
        ("rules", pa.list_(pa.string())),
    ]
)
"""Rows of `silver.orders`: typed, with the branch's region and local time.

The original message (key, value, headers), `rules`, and `items_json` stay beside it, for the sinks.
Of a rejected row only these mean anything, and what could be read of event_id and order_id.
A status change carries no order: its order columns are null, whatever it brought along, since no
rule has judged them; `status` is its new status.
"""

_NO_ORDER, _NO_ITEM = Order(), Item()
_TEXTS = ("order_id", "customer_id", "branch_id", "payment_method", "currency", "old_status")
_BODY = ("customer_id", "payment_method", "currency", "created_at", "channel", "item_count")
_decoder = msgspec.json.Decoder(OrderEvent)
_to_json = msgspec.json.Encoder(decimal_format="number").encode


def silver_orders(stores: Stores, max_future_skew: timedelta) -> Callable[[pa.Table], pa.Table]:
    """Source rows -> rows of `SILVER_SCHEMA`, one per message.

    Args:
        stores: the known branches.
        max_future_skew: how far event time may lie after the broker's timestamp.
    """
    rules = order_rules([b.branch_id for b in stores.branches], max_future_skew)
    return partial(_silver, stores=stores, rules=rules)


def _silver(rows: pa.Table, stores: Stores, rules: Sequence[AnyRule]) -> pa.Table:
    said, failed = judge(rows, _decoder, rules, order_message)
    fields, is_change = said.fields, is_one_of(said.fields["event_type"], [STATUS_CHANGED])
    body = {name: pc.if_else(is_change, None, fields[name]) for name in _BODY}
    # Only of a good order, since a table cannot hold every amount.
    good = pc.and_(pc.equal(pc.list_value_length(failed), 0), pc.invert(is_change))
    total = pc.if_else(good, fields["total_price"], None)
    items = _lines_of(said, good)
    local = _local(body["created_at"], fields["branch_id"], stores)
    silver = {
        **{name: rows[name] for name in SOURCE_SCHEMA.names},
        **fields,
        **body,
        "old_status": pc.if_else(is_change, fields["old_status"], None),
        "total_price": total.cast(pa.decimal128(12, 2)),
        "region": _region(fields["branch_id"], stores),
        "local_date": local.cast(pa.date32()),
        "local_hour": pc.hour(local).cast(pa.int32()),
        "items": items,
        "items_json": texts([i and _to_json(i).decode() for i in items.to_pylist()]),
        "version": order_version(fields["event_time"], rows),
        "rules": failed,
    }
    return pa.table([silver[name] for name in SILVER_SCHEMA.names], schema=SILVER_SCHEMA)


def order_message(rows: pa.Table, parsed: Parsed[OrderEvent]) -> Message:
    """Source rows and their events, for `order_rules`: each field by its column in silver."""
    events = parsed.events
    orders = [event.order or _NO_ORDER for event in events]
    items = [item or _NO_ITEM for order in orders for item in order.items or ()]
    total, total_fits = amounts(column(orders, "total_price"))
    price, price_fits = amounts(column(items, "unit_price"))
    lines = Lines.of(
        [None if order.items is None else len(order.items) for order in orders],
        {
            **{n: texts(column(items, n)) for n in ("product_id", "name", "category")},
            "quantity": pa.array(column(items, "quantity"), pa.int64()),
            "unit_price": price,
        },
    )
    all_fit = pc.and_(pa.array(parsed.typed & total_fits), lines.all(pa.array(price_fits)))
    kinds = texts(column(events, "event_type"))
    is_change = is_one_of(kinds, [STATUS_CHANGED])
    status = {n: texts(column(orders, n)) for n in ("status", "new_status")}
    return Message(
        fields={
            "types_match": all_fit,
            "event_type": kinds,
            "event_time": instants(column(events, "event_time")),
            "schema_version": pa.array(column(events, "schema_version"), pa.int32()),
            **{n: texts(column(events, n)) for n in ("event_id", "source")},
            **{n: texts(column(orders, n)) for n in _TEXTS},
            "status": pc.if_else(is_change, status["new_status"], status["status"]),
            "channel": texts(map(_channel, events)),
            "total_price": total,
            "created_at": instants(column(orders, "created_at")),
            "items": lines.lists,
            "item_count": pc.list_value_length(lines.lists),
            "key": rows["key"].combine_chunks(),
            "timestamp": rows["timestamp"].combine_chunks(),
        },
        lines=lines,
    )


def _channel(event: OrderEvent) -> str | None:
    said = event.order.channel if event.order and (event.schema_version or 0) >= 2 else None
    return said if said is None or isinstance(said, str) else _to_json(said).decode()


def order_version(event_time: Array, rows: pa.Table) -> Array:
    """Text that sorts as (event_time, topic, partition, position): the newest version wins."""
    at = pc.strftime(event_time.cast(pa.timestamp("us")), "%Y-%m-%dT%H:%M:%S")
    topic, partition, position = (
        rows[name].combine_chunks() for name in ("topic", "partition", "position")
    )
    number = pc.utf8_lpad(partition.cast(pa.string()), 5, "0")
    return pc.binary_join_element_wise(at, topic, number, position, "|")


def _lines_of(said: Message, good: Array) -> pa.ListArray:
    """The lines of good messages as a table holds them; null for the others."""
    kept = good.take(pc.list_parent_indices(said.lines.lists))
    fields = [pc.if_else(kept, said.lines.fields[f.name], None).cast(f.type) for f in LINE]
    lines = relist(pa.StructArray.from_arrays(fields, fields=list(LINE)), said.lines.lists)
    return pc.if_else(good, lines, None)


def _region(branch_ids: Array, stores: Stores) -> Array:
    known, regions = (
        pa.array([getattr(b, name) for b in stores.branches]) for name in ("branch_id", "region")
    )
    return regions.take(pc.index_in(branch_ids, known))


def _local(moments: Array, branch_ids: Array, stores: Stores) -> Array:
    """The clock of the branch; null where the branch is unknown."""
    found = pa.nulls(len(moments), pa.timestamp("us"))
    for zone in {b.timezone for b in stores.branches}:
        there = is_one_of(branch_ids, [b.branch_id for b in stores.branches if b.timezone == zone])
        local = pc.local_timestamp(moments.cast(pa.timestamp("us", zone)))
        found = pc.if_else(there, local, found)
    return found

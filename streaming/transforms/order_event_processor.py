"""Order events: parse, validate, enrich. Source rows in, validated rows out; nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import RETURNED, STATUS_CHANGED, OrderV3
from conf.stores import Stores
from streaming.source import SOURCE_COLUMNS, SOURCE_SCHEMA
from streaming.transforms.arrow_json import to_json
from streaming.transforms.order_columns import CARRIED, DECIMAL, LINE, ORDER_COLUMNS, column_type
from streaming.transforms.order_message import decoder, order_message
from streaming.validation.batch import Array, ParsedBatch, is_one_of, only, or_empty, relist
from streaming.validation.order_account import discount_total
from streaming.validation.order_rules import order_rules
from streaming.validation.rules import AnyRule, validate

_BODY_FIELDS = [f for f in contract_fields(OrderV3) if f.name not in (*CARRIED, "items")]
_EXACT = {f.name: column_type(f) for f in _BODY_FIELDS if f.is_number or f.element}
_BODY = [*(f.name for f in _BODY_FIELDS if f.name not in _EXACT), "item_count"]

RANKS = {
    "order.created": "",
    "order.updated": "~1",
    RETURNED: "~1",
    STATUS_CHANGED: "~2",
    "order.cancelled": "~3",
}
"""Event type -> its place among events of one order and the same event time, as text that sorts."""

SILVER_SCHEMA = pa.schema(
    [
        *(
            (column.name, column.type)
            for column in ORDER_COLUMNS
            if column.name not in SOURCE_COLUMNS
        ),
        *SOURCE_SCHEMA,
        ("rules", pa.list_(pa.string())),
    ]
)
"""Rows of `silver.orders`: typed, with the branch's region and local time.

The original message (key, value, headers), `rules`, and `items_json` are also included, for the
sinks. A rejected row has only these, and event_id and order_id where they could be read. The order
columns of a status change are null, whatever it contains, since no rule has validated them;
`status` is its new status.
"""


def silver_orders(stores: Stores, max_future_skew: timedelta) -> Callable[[pa.Table], pa.Table]:
    """Source rows -> rows of `SILVER_SCHEMA`, one per message.

    Args:
        stores: the known branches.
        max_future_skew: how far event time may be after the broker's timestamp.
    """
    rules = order_rules([b.branch_id for b in stores.branches], max_future_skew)
    return partial(_silver, stores=stores, rules=rules)


def _silver(rows: pa.Table, stores: Stores, rules: Sequence[AnyRule]) -> pa.Table:
    batch, failed = validate(rows, decoder, rules, order_message)
    fields, is_change = batch.fields, pa.array(batch.equal("event_type", STATUS_CHANGED))
    is_order = pc.invert(is_change)
    body = {name: only(is_order, fields[name]) for name in _BODY}
    # Only for good orders, since a table cannot hold every amount.
    good = pc.and_(pc.equal(pc.list_value_length(failed), 0), is_order)
    exact = {n: only(good, fields[n]).cast(kind) for n, kind in _EXACT.items()}
    items = _lines_of(batch, good)
    local = _local(body["created_at"], fields["branch_id"], stores)
    silver = {
        **{name: rows[name] for name in SOURCE_SCHEMA.names},
        **fields,
        **body,
        **{n: or_empty(v) if pa.types.is_list(v.type) else v for n, v in exact.items()},
        "is_return": only(is_order, pa.array(batch.equal("event_type", RETURNED))),
        "discount_total": discount_total(exact["discounts"], items).cast(DECIMAL),
        "payments_json": to_json(exact["payments"]),
        "old_status": only(is_change, fields["old_status"]),
        "region": _region(fields["branch_id"], stores),
        "local_date": local.cast(pa.date32()),
        "local_hour": pc.hour(local).cast(pa.int32()),
        "items": items,
        "items_json": to_json(items),
        "version": order_version(fields["event_type"], fields["event_time"], rows),
        "rules": failed,
    }
    return pa.table([silver[name] for name in SILVER_SCHEMA.names], schema=SILVER_SCHEMA)


def order_version(event_type: Array, event_time: Array, rows: pa.Table) -> Array:
    """Text that sorts as (event_time, `RANKS`, topic, partition, position): the newest wins.

    A rank begins with `~`, which sorts after every character of a topic's name. So versions that
    earlier releases stored, without a rank, remain comparable: as those of an order.created.
    """
    at = event_time.cast(pa.timestamp("us")).cast(pa.string())
    at = pc.utf8_replace_slice(at, 10, 11, "T")
    topic, partition, position = (
        rows[name].combine_chunks() for name in ("topic", "partition", "position")
    )
    rank = pa.array(RANKS.values()).take(pc.index_in(event_type, pa.array(RANKS, pa.string())))
    place = pc.binary_join_element_wise(pc.fill_null(rank, ""), topic, "")
    number = pc.utf8_lpad(partition.cast(pa.string()), 5, "0")
    return pc.binary_join_element_wise(at, place, number, position, "|")


def _lines_of(batch: ParsedBatch, good: Array) -> pa.ListArray:
    """The lines of good messages in the types of the table; null for the others."""
    kept = good.take(pc.list_parent_indices(batch.lines.lists))
    fields = [only(kept, batch.lines.fields[f.name]).cast(f.type) for f in LINE]
    lines = relist(pa.StructArray.from_arrays(fields, fields=list(LINE)), batch.lines.lists)
    return only(good, lines)


def _region(branch_ids: Array, stores: Stores) -> Array:
    known, regions = (
        pa.array([getattr(b, name) for b in stores.branches]) for name in ("branch_id", "region")
    )
    return regions.take(pc.index_in(branch_ids, known))


def _local(moments: Array, branch_ids: Array, stores: Stores) -> Array:
    """Local time of the branch; null where the branch is unknown."""
    found = pa.nulls(len(moments), pa.timestamp("us"))
    for zone in {b.timezone for b in stores.branches}:
        there = is_one_of(branch_ids, [b.branch_id for b in stores.branches if b.timezone == zone])
        local = pc.local_timestamp(moments.cast(pa.timestamp("us", zone)))
        found = pc.if_else(there, local, found)
    return found

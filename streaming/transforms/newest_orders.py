"""Order events -> orders: one row per order with its newest status and its newest body."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from streaming.transforms.order_columns import ORDER_COLUMNS
from streaming.validation.order_account import subtotal

BODY = tuple(column.name for column in ORDER_COLUMNS if column.body and column.staged)
"""Columns of an order's body, but for its items."""

SALE = ("region", "created_at", "local_date", "local_hour", "is_return")
"""Columns of the body that an order keeps from its oldest event with a body, like the branch."""

_EVENT = ("order_id", "branch_id", "status", "version", "event_time", "created_at")
_JSON = ("items", "items_json", "payments_json")
READ = (*_EVENT, *(name for name in BODY if name not in _EVENT), *_JSON)


def newest_orders(rows: pa.Table) -> pa.Table:
    """Reduce good order events to the orders that they are about.

    An order keeps the branch and time of its sale, whichever branch reports what follows.

    Args:
        rows: good rows of `SILVER_SCHEMA`.

    Returns:
        One row per order, sorted by order_id. Of its newest event: status, status_version and
        status_branch_id. Of its newest event with a body: body_version, `BODY`, items and payments
        (JSON), and subtotal (in the order's currency). Of its oldest event with a body, the sale:
        sale_version, sale_branch_id and `SALE`. Columns of the body are null without one. branch_id
        is that of the sale, else of the newest event; first_event_at and last_event_at are event
        times.
    """
    # A version begins with the event time: the oldest row has the first one, the newest the last.
    order = [("order_id", "ascending"), ("version", "ascending")]
    events = rows.select(READ).sort_by(order).combine_chunks()
    ends = _ends(events)
    newest = events.take(pc.subtract(ends, 1))
    starts = pa.concat_arrays([pa.array([0], ends.type), ends])[:-1]
    bodies = events.filter(pc.is_valid(events["created_at"])).combine_chunks()
    last = _ends(bodies)
    first = pa.concat_arrays([pa.array([0], last.type), last])[:-1]
    at = pc.index_in(newest["order_id"], bodies["order_id"].take(first))
    sale = bodies.take(first).take(at).combine_chunks()
    body = bodies.take(pc.subtract(last, 1)).take(at).combine_chunks()
    columns = {
        "order_id": newest["order_id"],
        "branch_id": pc.coalesce(sale["branch_id"], newest["branch_id"]),
        "status": newest["status"],
        "status_version": newest["version"],
        "status_branch_id": newest["branch_id"],
        "first_event_at": events["event_time"].take(starts),
        "last_event_at": newest["event_time"],
        "body_version": body["version"],
        "sale_version": sale["version"],
        "sale_branch_id": sale["branch_id"],
        **{name: (sale if name in SALE else body)[name] for name in BODY},
        "items": body["items_json"],
        "payments": body["payments_json"],
        "subtotal": subtotal(_one_chunk(body["items"])),
    }
    return pa.table(columns)


def _ends(events: pa.Table) -> pa.Array:
    """For each order of sorted events the number of the row after its last one."""
    return pc.run_end_encode(_one_chunk(events["order_id"])).run_ends


def _one_chunk(values: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([pa.array([], values.type), *values.chunks])

"""Order events -> orders: one row per order with its newest status and its newest body."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from streaming.transforms.order_columns import ORDER_COLUMNS
from streaming.validation.order_account import subtotal

BODY = tuple(column.name for column in ORDER_COLUMNS if column.body and column.staged)
"""Columns of an order's body, but for its items."""

_EVENT = ("order_id", "branch_id", "status", "version", "event_time", "created_at")
_JSON = ("items", "items_json", "payments_json")
READ = (
    *_EVENT,
    *(name for name in BODY if name not in _EVENT),
    *_JSON,
)


def newest_orders(rows: pa.Table) -> pa.Table:
    """Reduce good order events to the orders that they are about.

    Args:
        rows: good rows of `SILVER_SCHEMA`.

    Returns:
        One row per order, sorted by order_id: branch_id, status and status_version of its newest
        event; first_event_at and last_event_at; body_version, body_branch_id, `BODY`, items and
        payments (JSON), and subtotal (in the order's currency) of its newest event with a body,
        null without one.
    """
    # A version begins with the event time: the oldest row has the first one, the newest the last.
    order = [("order_id", "ascending"), ("version", "ascending")]
    events = rows.select(READ).sort_by(order).combine_chunks()
    ends = _ends(events)
    newest = events.take(pc.subtract(ends, 1))
    starts = pa.concat_arrays([pa.array([0], ends.type), ends])[:-1]
    bodies = events.filter(pc.is_valid(events["created_at"])).combine_chunks()
    bodies = bodies.take(pc.subtract(_ends(bodies), 1))
    body = bodies.take(pc.index_in(newest["order_id"], bodies["order_id"])).combine_chunks()
    columns = {
        "order_id": newest["order_id"],
        "branch_id": newest["branch_id"],
        "status": newest["status"],
        "status_version": newest["version"],
        "first_event_at": events["event_time"].take(starts),
        "last_event_at": newest["event_time"],
        "body_version": body["version"],
        "body_branch_id": body["branch_id"],
        **{name: body[name] for name in BODY},
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

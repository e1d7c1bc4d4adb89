"""Order events as `silver.orders` has them, with full defaults, for the sinks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa

from streaming.transforms.order_event_processor import SILVER_SCHEMA

Row = dict[str, Any]

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)


def order(number: int, minute: int = 0, **overrides: Any) -> Row:
    """A version of order O-1 as `silver.orders` has it: `number` is its position in the log."""
    at = TEN + minute * MINUTE
    row = {
        "event_id": f"E-{number}",
        "event_type": "order.created",
        "event_time": at,
        "order_id": "O-1",
        "customer_id": "C-1",
        "branch_id": "B01",
        "region": "north",
        "status": "pending",
        "payment_method": "cash",
        "currency": "USD",
        "total_price": Decimal("2.50"),
        "created_at": TEN,
        "is_return": False,
        "schema_version": 1,
        "local_date": TEN.date(),
        "local_hour": 12,
        "item_count": 1,
        "items_json": "[]",
        "topic": "order-events",
        "partition": 0,
        "position": f"{number:020d}",
        "timestamp": at,
    }
    row.update(overrides)
    stamp = row["event_time"].strftime("%Y-%m-%dT%H:%M:%S.%f")
    return {**row, "version": f"{stamp}|{row['topic']}|00000|{row['position']}"}


def change(number: int, minute: int, status: str, **overrides: Any) -> Row:
    """A status change: it carries no body."""
    absent = ("customer_id", "payment_method", "currency", "total_price", "created_at")
    absent += (
        "local_date",
        "local_hour",
        "item_count",
        "items_json",
        "is_return",
        "schema_version",
    )
    nothing = dict.fromkeys(absent)
    kind = {"event_type": "order.status_changed", "status": status}
    return order(number, minute, **{**nothing, **kind, **overrides})


def table(rows: Sequence[Row]) -> pa.Table:
    """The rows; where `value` or `items` is missing, it has the lines of `items_json`."""
    return pa.Table.from_pylist([_with_lines(row) for row in rows], schema=SILVER_SCHEMA)


def _with_lines(row: Row) -> Row:
    text = row["items_json"]
    numbers = ("quantity", "unit_price", "discount")
    lines = text and [
        {**line, **{n: Decimal(str(line[n])) for n in numbers if n in line}}
        for line in json.loads(text)
    ]
    known = {"schema_version": row["schema_version"], "order": {"currency": row["currency"]}}
    message = json.dumps(known)[:-2] + f', "items": {text or "null"}}}}}'
    return {"value": message.encode(), "items": lines, **row}

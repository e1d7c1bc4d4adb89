"""Every accepted order event is counted by the metrics, at its amount, or set aside as late."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from quality.context import AuditContext
from quality.facts import BRANCH_HOURS, HOUR, UTC_TIME, floor, rows_of, within
from quality.reconciliation import LATE_ORDERS, ORDERS, POSITION
from quality.suite import FactSuite, Suite, equal
from quality.suites.accounts import start_of
from streaming.jobs import real_time_metrics

COUNTED = {
    "branch_id": pa.string(),
    "hour": UTC_TIME,
    "orders": pa.int64(),
    "counted": pa.int64(),
    "revenue": pa.decimal128(18, 4),
    "counted_revenue": pa.decimal128(18, 4),
    "example": pa.string(),
}

OFFSETS_SQL = "SELECT topic, partition, position FROM stream_offsets WHERE stream = %(stream)s"
CONTRIBUTIONS_SQL = """
    SELECT order_id, status_version, body_version, total_price
    FROM order_contributions WHERE order_id = ANY (%(orders)s)"""
_COLUMNS = (
    "order_id",
    "branch_id",
    "event_time",
    "total_price",
    "created_at",
    "version",
    *POSITION,
)

Row = Mapping[str, Any]


def counted_suites() -> list[Suite]:
    """The suite of this module."""
    counted = equal(
        "counted",
        "An accepted order event is neither in order_metrics nor set aside as late.",
        "orders",
        "counted",
        "each order is counted in postgres.order_metrics, or in quarantine.late_events",
        unit="orders",
    )
    amount = equal(
        "at_its_amount",
        "Orders are counted in order_metrics at another amount than they came with.",
        "revenue",
        "counted_revenue",
        "total_price is the amount that postgres.order_metrics counts",
    )
    return [
        FactSuite(
            ORDERS.good.name, "metrics", COUNTED, load_counted, (counted, amount), BRANCH_HOURS
        )
    ]


def load_counted(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Per branch and UTC hour of the event: orders among the new rows that the metrics have passed.

    An order is looked at by its newest version among these rows; one of which the metrics know a
    newer version is counted, at an amount that is no longer this one.
    """
    start = start_of(context, context.settings.quality.lookback, ORDERS.good)
    if start is None:
        return
    # First how far the metrics are; what they had set aside by then is there afterwards.
    offsets = context.query(OFFSETS_SQL, {"stream": real_time_metrics.STREAM.name})
    passed = {(r["topic"], r["partition"]): r["position"] for r in offsets}
    rows = rows_of(context, ORDERS.good, _COLUMNS, within(ORDERS.good, start)).to_pylist()
    late = rows_of(context, LATE_ORDERS, POSITION, within(LATE_ORDERS, start)).to_pylist()
    aside = {tuple(row.values()) for row in late}
    orders = _newest(row for row in rows if _is_due(row, passed) and _position(row) not in aside)
    counted = {
        row["order_id"]: row
        for row in context.query(CONTRIBUTIONS_SQL, {"orders": sorted(orders)} if orders else None)
    }
    yield from _sums(orders, counted)


def _position(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in POSITION)


def _is_due(row: Row, passed: Mapping[tuple[str, int], str]) -> bool:
    return bool((row["position"] or "") <= passed.get((row["topic"], row["partition"]), ""))


def _newest(rows: Iterable[Row]) -> dict[str, Row]:
    orders: dict[str, Row] = {}
    for row in rows:
        if None not in (row["order_id"], row["version"], row["event_time"]):
            known = orders.setdefault(row["order_id"], row)
            if row["version"] > known["version"]:
                orders[row["order_id"]] = row
    return orders


def _sums(orders: Mapping[str, Row], counted: Mapping[str, Row]) -> Iterator[dict[str, Any]]:
    hours: dict[tuple[str, datetime], list[tuple[Row, Row | None]]] = defaultdict(list)
    for order_id, order in orders.items():
        known = counted.get(order_id)
        if known is not None and known["status_version"] < order["version"]:
            known = None
        hours[str(order["branch_id"]), floor(order["event_time"], HOUR)].append((order, known))
    for (branch_id, hour), pairs in sorted(hours.items()):
        same = [(o, k) for o, k in pairs if k and k["body_version"] == o["version"]]
        missing = [o["order_id"] for o, k in pairs if k is None]
        wrong = [o["order_id"] for o, k in same if o["total_price"] != k["total_price"]]
        yield {
            "branch_id": branch_id,
            "hour": hour,
            "orders": len(pairs),
            "counted": len(pairs) - len(missing),
            "revenue": sum((o["total_price"] or Decimal(0) for o, _ in same), Decimal(0)),
            "counted_revenue": sum((k["total_price"] or Decimal(0) for _, k in same), Decimal(0)),
            "example": next(iter(missing + wrong), None),
        }

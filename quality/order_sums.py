"""Sums of orders by branch, hour and currency: those of a ledger, and those of order_metrics.

Recomputed from the ledger without any code of the streams. Money is never summed over currencies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg.rows import dict_row

from conf.contracts.order_event import IN_STORE, RETURNED
from simulator.ledger import Entry
from streaming.sinks.postgres import Database

TIES = (
    "order.created", "order.updated", "order.returned", "order.status_changed", "order.cancelled",
)  # fmt: skip
"""Which of two events of one order and the same time comes first."""
COLUMNS = (
    *("order_count", "pending_count", "processing_count", "completed_count", "cancelled_count"),
    *("cash_count", "online_count", "in_store_count", "return_count"),
    *("total_revenue", "net_revenue", "refunds"),
)
"""Of order_metrics."""
_METRICS_SQL = "SELECT * FROM order_metrics WHERE hour = ANY(%s)"
_PAYMENTS_SQL = "SELECT * FROM payments_hourly WHERE hour = ANY(%s)"
_OTHERS_SQL = """
    SELECT branch_id, hour, currency, total_price, status, in_store, is_return, payment_method,
        payments
    FROM order_contributions WHERE hour = ANY(%s) AND order_id <> ALL(%s)"""


class Hour(NamedTuple):
    """A row of order_metrics: where, when (UTC), in what."""

    branch_id: str
    hour: datetime
    currency: str


Sums = Mapping[str, Decimal]
"""Columns of order_metrics; `orders by`, `paid by` and `net by` a method. A missing one is 0."""
HourSums = Mapping[Hour, Sums]


@dataclass(frozen=True)
class CountedOrder:
    """An order or a return, as the metrics count it; payments are method -> amount."""

    hour: Hour
    status: str
    total: Decimal
    is_return: bool
    in_store: bool
    method: str | None
    payments: Mapping[str, Decimal]

    def sums(self) -> Sums:
        """What it adds to its hour; a return lowers the net, and is no order."""
        sold, stands = Decimal(not self.is_return), Decimal(self.status != "cancelled")
        back = (1 - sold) * stands
        return {
            "order_count": sold,
            "return_count": back,
            "in_store_count": sold * self.in_store,
            f"{self.status}_count": sold,
            "cash_count": sold * (self.method == "cash"),
            "online_count": sold * (self.method == "online"),
            "total_revenue": sold * self.total,
            "net_revenue": stands * self.total,
            "refunds": -back * self.total,
            **{f"orders by {method}": sold for method in self.payments},
            **{f"paid by {method}": sold * paid for method, paid in self.payments.items()},
            **{f"net by {method}": stands * paid for method, paid in self.payments.items()},
        }


def sums_of(entries: Sequence[Entry]) -> HourSums:
    """The sums of the orders of a ledger.

    An order counts once, in the hour of its `created_at`, with its newest total, payments and
    status; late events do not count, broken ones neither.
    """
    status: dict[str, str] = {}
    body: dict[str, Entry] = {}
    on_time = (e for e in entries if e.outcome == "accepted" and not e.late)
    for entry in sorted(on_time, key=newest_last):
        status[entry.order_id] = entry.status
        if entry.total_price is not None:
            body[entry.order_id] = entry
    return _add_up(_counted(entry, status[order_id]) for order_id, entry in body.items())


def newest_last(entry: Entry) -> tuple[Any, ...]:
    """Sorts the events of an order: by event time, by meaning where that is the same."""
    return entry.event_time, TIES.index(entry.event_type), entry.position


def _counted(entry: Entry, status: str) -> CountedOrder:
    if entry.created_at is None or entry.currency is None or entry.total_price is None:
        raise ValueError(f"event {entry.event_id} of the ledger has no order")
    methods = [*(entry.payments or ())]
    return CountedOrder(
        Hour(entry.branch_id, _hour(entry.created_at), entry.currency),
        status,
        entry.total_price,
        entry.event_type == RETURNED,
        entry.channel in (None, "store", IN_STORE),
        methods[0] if len(methods) == 1 else entry.payment_method,
        entry.payments or {entry.payment_method or "unknown": entry.total_price},
    )


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)


def _add_up(orders: Iterable[CountedOrder]) -> HourSums:
    sums: _Sums = defaultdict(lambda: defaultdict(Decimal))
    for order in orders:
        _add(sums, order.hour, order.sums())
    return sums


_Sums = defaultdict[Hour, defaultdict[str, Decimal]]
_Row = Mapping[str, Any]


def _add(sums: _Sums, hour: Hour, more: Mapping[str, Decimal], sign: int = 1) -> None:
    for name, value in more.items():
        sums[hour][name] += sign * value


def stored_sums(db: Database, hours: Collection[datetime], ours: Collection[str]) -> HourSums:
    """The sums of some orders in order_metrics and payments_hourly.

    Args:
        db: whose tables are read at one instant.
        hours: UTC.
        ours: ids of the orders; what all others add to their hours is taken off.
    """
    with db.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        metrics = cursor.execute(_METRICS_SQL, (list(hours),)).fetchall()
        payments = cursor.execute(_PAYMENTS_SQL, (list(hours),)).fetchall()
        others = cursor.execute(_OTHERS_SQL, (list(hours), list(ours))).fetchall()
    sums = row_sums(metrics, payments)
    for hour, of_others in _add_up(map(_other, others)).items():
        _add(sums, hour, of_others, -1)
    return sums


def row_sums(metrics: Iterable[_Row], payments: Iterable[_Row]) -> _Sums:
    """The sums in rows of order_metrics and payments_hourly, or of their replicas in gold."""
    sums: _Sums = defaultdict(lambda: defaultdict(Decimal))
    for row in metrics:
        _add(sums, _key(row), {name: row[name] for name in COLUMNS})
    amounts = {"orders": "order_count", "paid": "total_amount", "net": "net_amount"}
    for row in payments:
        method = row["method"]
        _add(sums, _key(row), {f"{n} by {method}": row[c] for n, c in amounts.items()})
    return sums


def _key(row: _Row) -> Hour:
    return Hour(row["branch_id"], _hour(row["hour"]), row["currency"])


def _other(row: _Row) -> CountedOrder:
    method, total = row["payment_method"], row["total_price"]
    payments: dict[str, Decimal] = defaultdict(Decimal)
    for payment in row["payments"] or ([{"method": method, "amount": total}] if method else []):
        payments[payment["method"]] += Decimal(str(payment["amount"]))
    return CountedOrder(
        _key(row), row["status"], total, row["is_return"], row["in_store"], method, payments
    )


def compare_sums(wanted: HourSums, found: HourSums) -> list[str]:
    """One sentence for each hour, branch and currency that differs."""
    return [
        f"order_metrics of {hour.branch_id} at {hour.hour:%Y-%m-%d %H}:00 in {hour.currency}: "
        + "; ".join(different)
        for hour in sorted({*wanted, *found})
        if (different := _differences(wanted.get(hour, {}), found.get(hour, {})))
    ]


def _differences(wanted: Sums, found: Sums) -> list[str]:
    return [
        f"{name} is {found.get(name, 0)}, the ledger has {wanted.get(name, 0)}"
        for name in sorted({*wanted, *found})
        if wanted.get(name, 0) != found.get(name, 0)
    ]

"""The days before a run, beside the same hours of the week or the day before. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

Hour = Mapping[str, Any]
"""A row of gold.store_hourly."""
Days = Mapping[tuple[str, date], Sequence[Hour]]
"""(branch, day of its own calendar) -> its hours, in order."""

SHOWN = 2
"""Days of each branch in the table."""


def group_days(hours: Iterable[Hour], before: datetime) -> Days:
    """The hours before a time (UTC), by branch and day."""
    days: defaultdict[tuple[str, date], list[Hour]] = defaultdict(list)
    for hour in sorted(hours, key=lambda row: row["hour"]):
        if hour["hour"] < before:
            days[hour["branch_id"], hour["local_hour"].date()].append(hour)
    return days


def compare_days(days: Days) -> Iterator[dict[str, Any]]:
    """The newest days of each branch, newest first: figures, and changes against the same hours.

    Yields:
        branch_id, day, until (the hour at which the figures end, by the clock of the branch),
        against (the day compared with, None without one), visitors, orders, conversion_rate,
        revenue, currency, average_order, visitors_change, revenue_change (shares; None: unknown).
    """
    for branch_id in sorted({branch_id for branch_id, _ in days}):
        mine = sorted((day for branch, day in days if branch == branch_id), reverse=True)
        for day in mine[:SHOWN]:
            hours = days[branch_id, day]
            against = next((b for n in (7, 1) if (b := day - timedelta(n)) in mine), None)
            until = hours[-1]["local_hour"].time()
            same = [
                hour
                for hour in days.get((branch_id, against or day), ())
                if against and hour["local_hour"].time() <= until
            ]
            yield _figures(hours) | {
                "day": day,
                "until": hours[-1]["local_hour"] + timedelta(hours=1),
                "against": against,
                "visitors_change": _change(_total(hours, "visitors"), _total(same, "visitors")),
                "revenue_change": _change(_total(hours, "revenue"), _total(same, "revenue")),
            }


def _figures(hours: Sequence[Hour]) -> dict[str, Any]:
    visitors, orders = _total(hours, "visitors"), _total(hours, "orders")
    revenue = _total(hours, "revenue")
    in_currency = orders - _total(hours, "orders_other_currency")
    return {
        "branch_id": hours[0]["branch_id"],
        "visitors": int(visitors),
        "orders": int(orders),
        "conversion_rate": float(_total(hours, "orders_in_store") / visitors) if visitors else None,
        "revenue": revenue,
        "currency": hours[0]["currency"],
        "average_order": revenue / in_currency if in_currency else None,
    }


def _total(hours: Sequence[Hour], column: str) -> Decimal:
    return sum((Decimal(hour[column] or 0) for hour in hours), Decimal(0))


def _change(now: Decimal, before: Decimal) -> float | None:
    return float(now / before - 1) if before else None

"""The truth about a generated past against what gold holds of its hours. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from quality.order_sums import HourSums, compare_sums, row_sums, sums_of
from quality.reconciliation import Difference, Reconciliation
from simulator.ledger import entry_of
from simulator.past.days import PastDay

Visitors = Mapping[tuple[str, datetime], int]
"""(branch, hour in UTC) -> visitors; an hour without any is left out."""


@dataclass(frozen=True)
class BranchHours:
    """Orders and visitors by branch and hour: generated ones, or those in gold."""

    sums: HourSums
    visitors: Visitors

    @property
    def revenue(self) -> Mapping[str, Decimal]:
        """Currency -> value of all orders, cancelled ones included."""
        total: defaultdict[str, Decimal] = defaultdict(Decimal)
        for hour, sums in self.sums.items():
            total[hour.currency] += sums.get("total_revenue", Decimal(0))
        return total


def truth_of(days: Iterable[PastDay]) -> BranchHours:
    """What happened on some days, recomputed without any code of the streams."""
    visitors: Counter[tuple[str, datetime]] = Counter()
    events = []
    for day in days:
        visitors.update(day.visitors)
        events += day.orders
    return BranchHours(sums_of([entry_of(event, n) for n, event in enumerate(events)]), visitors)


def gold_of(
    orders: Sequence[Mapping[str, Any]],
    payments: Sequence[Mapping[str, Any]],
    stores: Sequence[Mapping[str, Any]],
) -> BranchHours:
    """Rows of gold.order_hourly, gold.payments_hourly and gold.store_hourly."""
    visitors = {
        (row["branch_id"], row["hour"].astimezone(timezone.utc)): row["visitors"]
        for row in stores
        if row["visitors"]
    }
    return BranchHours(row_sums(orders, payments), visitors)


def reconcile_past(truth: BranchHours, gold: BranchHours) -> Reconciliation:
    """Compare each branch and hour: counts and sums of orders, payments, and visitors.

    `numbers` has orders, visitors, and the hours of branches that were compared.
    """
    counted = sum(int(sums["order_count"]) for sums in truth.sums.values())
    branch_hours = {(hour.branch_id, hour.hour) for hour in truth.sums} | truth.visitors.keys()
    return Reconciliation().plus(
        *(Difference("unexpected", what) for what in compare_sums(truth.sums, gold.sums)),
        *(Difference("unexpected", what) for what in _visitors(truth.visitors, gold.visitors)),
        orders=counted,
        visitors=sum(truth.visitors.values()),
        hours=len(branch_hours),
    )


def _visitors(truth: Visitors, gold: Visitors) -> list[str]:
    return [
        f"store_hourly of {branch} at {hour:%Y-%m-%d %H}:00: visitors is "
        f"{gold.get((branch, hour), 0)}, {truth.get((branch, hour), 0)} came in"
        for branch, hour in sorted({*truth, *gold})
        if truth.get((branch, hour), 0) != gold.get((branch, hour), 0)
    ]


@dataclass(frozen=True)
class Seeded:
    """The outcome.

    Attributes:
        messages: that this call has sent.
        end: of the past (UTC).
        truth: of all days of the past.
        found: the truth against gold.
    """

    messages: int
    end: datetime
    truth: BranchHours
    found: Reconciliation


def summary(seeded: Seeded) -> str:
    """One sentence about the past, and whether gold has it."""
    numbers = seeded.found.numbers
    revenue = ", ".join(f"{amount:,.2f} {code}" for code, amount in seeded.truth.revenue.items())
    sent = f"{seeded.messages:,} messages sent" if seeded.messages else "Nothing to add"
    result = "gold has exactly that" if seeded.found.ok else "gold differs"
    return (
        f"{sent}. The past until {seeded.end:%Y-%m-%d %H:%M} UTC: {numbers['orders']:,} orders, "
        f"{revenue}, {numbers['visitors']:,} visitors in {numbers['hours']:,} hours of branches; "
        f"{result}."
    )

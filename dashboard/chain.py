"""The chain as a whole: sums over its branches, and one line of money per currency."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from dashboard.board import Snapshot
from dashboard.branches import BranchDay, per_staff_hour, units_per_basket
from dashboard.figures import Compared, Figures, add_up, compare


@dataclass(frozen=True)
class CurrencySales:
    """What was sold in one currency; amounts of two currencies are never added.

    Attributes:
        basket: revenue by orders.
        revenue_per_visitor: of the branches whose currency it is; None without trusted hours.
    """

    currency: str
    orders: int
    revenue: Decimal
    basket: Decimal | None
    revenue_per_visitor: Decimal | None


@dataclass(frozen=True)
class Chain:
    """All branches together, each on its own day.

    Attributes:
        figures: whose money has no meaning in a chain of several currencies; None without an hour.
        hours: so many rows of all branches.
        counted: branches whose visitors are known.
        inside: people in the branches where that is known; None where it is in none.
        inside_of: the number of those branches.
        queues: all queues whose length is known.
        queues_over: those longer than their limit.
        units_per_basket: pieces by order, of the branches whose lines are known.
        per_staff_hour: visitors by staff hours; None without a roster of the day.
        money: one of each currency, that of most orders first.
    """

    branches: int
    figures: Figures | None
    compared: Compared | None
    hours: int
    counted: int
    inside: int | None
    inside_of: int
    queues: int
    queues_over: int
    units_per_basket: float | None
    per_staff_hour: float | None
    money: tuple[CurrencySales, ...]


def chain_of(snapshot: Snapshot, days: Sequence[BranchDay]) -> Chain:
    """The sums of all branches.

    Raises:
        ReadError: orders or hours cannot be read.
    """
    hours = [hour for day in days for hour in day.hours]
    inside = [day.inside.people for day in days if day.inside]
    queues = [queue for day in days for queue in day.queues if queue.length is not None]
    return Chain(
        branches=len(days),
        figures=add_up(hours, snapshot.at) if hours else None,
        compared=compare(hours, snapshot.rows("store_hourly"), snapshot.at),
        hours=len(hours),
        counted=sum(1 for d in days if d.so_far and d.so_far.visitors is not None),
        inside=sum(inside) if inside else None,
        inside_of=len(inside),
        queues=len(queues),
        queues_over=sum(queue.is_over for queue in queues),
        units_per_basket=units_per_basket(snapshot),
        per_staff_hour=per_staff_hour(snapshot, hours),
        money=_money(snapshot, days),
    )


def _money(snapshot: Snapshot, days: Sequence[BranchDay]) -> tuple[CurrencySales, ...]:
    sold: dict[str, tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for row in snapshot.rows("order_metrics"):
        orders, revenue = sold[row.currency]
        sold[row.currency] = orders + row.orders, revenue + row.revenue
    return tuple(
        CurrencySales(
            currency,
            orders,
            revenue,
            revenue / orders if orders else None,
            _per_visitor(currency, snapshot, days),
        )
        for currency, (orders, revenue) in sorted(sold.items(), key=lambda one: -one[1][0])
    )


def _per_visitor(currency: str, snapshot: Snapshot, days: Sequence[BranchDay]) -> Decimal | None:
    own = [hour for day in days if day.branch.currency == currency for hour in day.hours]
    return add_up(own, snapshot.at).revenue_per_visitor

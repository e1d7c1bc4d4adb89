"""Figures of hours: sums, rates of the sums, and how two days compare.

Rates are never means of rates. Conversion and revenue per visitor are taken over the hours whose
own rate is not withheld (`upsert_store_hourly`), so none of them exceeds 100 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from dashboard.opening import HOUR

DAYS_BEFORE = (7, 1)
RUNNING = "the hour is not over"


@dataclass(frozen=True)
class Figures:
    """Sums over hours of one branch, or of branches with one currency.

    Attributes:
        visitors: None where no hour has them.
        revenue: of orders in the currency of the branch.
        other_currency: orders whose money is not in revenue.
        basket: revenue by orders, both in the currency of the branch, of every channel.
        conversion: orders made in the shop by visitors, over the hours whose own rate is not
            withheld.
        withheld: the reason of most of the other hours in which something happened.
        trusted_hours: hours that conversion is taken from.
        revenue_per_visitor: of orders made in the shop, over the same hours.
        capture: visitors by visitors and passers-by, over the hours whose own rate is not withheld.
        most_inside: the most people inside at the end of a minute.
        coverage: mean of the camera coverage, 0..1.
    """

    visitors: int | None
    orders: int
    revenue: Decimal
    other_currency: int
    basket: Decimal | None
    conversion: float | None
    withheld: str | None
    trusted_hours: int
    revenue_per_visitor: Decimal | None
    capture: float | None
    most_inside: int | None
    coverage: float | None


@dataclass(frozen=True)
class Compared:
    """The same hours of two days.

    Attributes:
        days: from the earlier to the later day.
        hours: so many were compared.
    """

    days: int
    hours: int
    now: Figures
    before: Figures


def add_up(hours: Sequence[Any], now: datetime) -> Figures:
    """The figures of rows of `store_hourly`; those of the running hour are not complete at `now`.

    The money of hours of several currencies has no meaning: see `dashboard.chain`.
    """
    trusted = [h for h in hours if h.conversion_withheld is None]
    came = sum(h.visitors for h in trusted)
    spent = sum((h.revenue_in_store for h in trusted), Decimal(0))
    orders, other = sum(h.orders for h in hours), sum(h.orders_other_currency for h in hours)
    revenue = sum((h.revenue for h in hours), Decimal(0))
    covered = [
        h.camera_coverage for h in hours if h.camera_coverage is not None and h.hour + HOUR <= now
    ]
    return Figures(
        visitors=sum(known) if (known := _known(hours, "visitors")) else None,
        orders=orders,
        revenue=revenue,
        other_currency=other,
        basket=revenue / (orders - other) if orders > other else None,
        conversion=sum(h.orders_in_store for h in trusted) / came if came else None,
        withheld=_why_withheld(hours, now),
        trusted_hours=len(trusted),
        revenue_per_visitor=spent / came if came else None,
        capture=_capture(hours),
        most_inside=max(_known(hours, "occupancy_peak"), default=None),
        coverage=sum(covered) / len(covered) if covered else None,
    )


def _known(hours: Sequence[Any], column: str) -> list[int]:
    return [value for h in hours if (value := getattr(h, column)) is not None]


def _why_withheld(hours: Sequence[Any], now: datetime) -> str | None:
    reasons = Counter(
        RUNNING if h.hour + HOUR > now else h.conversion_withheld
        for h in hours
        if h.conversion_withheld and (h.visitors or h.orders_in_store)
    )
    return reasons.most_common(1)[0][0] if reasons else None


def _capture(hours: Sequence[Any]) -> float | None:
    counted = [h for h in hours if h.capture_rate is not None]
    came = sum(h.visitors for h in counted)
    outside = sum(h.passers_by for h in counted)
    return came / (came + outside) if came + outside else None


def compare(mine: Sequence[Any], hours: Sequence[Any], now: datetime) -> Compared | None:
    """Finished hours beside the same ones of the earlier day; None where no hour has both.

    The earlier day is the one a week before where it has figures, else the day before. Of an hour
    that the clock repeats only the first one is compared.

    Args:
        mine: rows of `store_hourly` of the later day, of one branch or of several.
        hours: rows of all days.
        now: an hour that ends later is not finished.
    """
    for days in DAYS_BEFORE:
        before = earlier(hours, days)
        firsts = {(h.branch_id, h.local_hour): h for h in reversed(mine) if h.hour + HOUR <= now}
        both = [key for key in firsts if key in before]
        if both:
            then = [before[key] for key in both]
            return Compared(
                days, len(both), add_up([firsts[key] for key in both], now), add_up(then, now)
            )
    return None


def earlier(hours: Sequence[Any], days: int) -> dict[tuple[str, datetime], Any]:
    """Rows by branch and local hour so many days later; of a repeated hour the first."""
    later = timedelta(days=days)
    return {(h.branch_id, h.local_hour + later): h for h in reversed(hours)}


class FigureChange(NamedTuple):
    """A change of a figure as a sign and as text: never by colour alone."""

    sign: str
    words: str


def change(now: float | Decimal | None, before: float | Decimal | None) -> FigureChange | None:
    """In per cent of what was before; None where that is not known, or nothing."""
    if now is None or not before:
        return None
    share = 100 * (float(now) / float(before) - 1)
    return _signed(share if abs(share) >= 0.05 else 0.0, "%")


def points(now: float | None, before: float | None) -> FigureChange | None:
    """Of two shares: the difference in percentage points."""
    if now is None or before is None:
        return None
    return _signed(round(100 * (now - before), 1), "points")


def _signed(difference: float, unit: str) -> FigureChange:
    if difference == 0:
        return FigureChange("=", "no change")
    sign, direction = ("▲", "up") if difference > 0 else ("▼", "down")
    return FigureChange(sign, f"{direction} {abs(difference):.1f} {unit}")

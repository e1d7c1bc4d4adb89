"""Today of each branch, beside the same hours of a day before.

Only finished hours that have figures on both days are compared. The earlier day is the one a week
before where it has figures, else the day before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from conf.stores import Branch
from dashboard.board import Snapshot

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DAYS_BEFORE = (7, 1)


@dataclass(frozen=True)
class Figures:
    """Sums over hours of one branch.

    Attributes:
        visitors: None where no hour has them.
        revenue: of orders in the currency of the branch.
        other_currency: orders whose money is not in revenue.
        conversion: orders made in the shop by visitors, over the hours whose own rate is not
            withheld.
        withheld: the reason of most of the other hours.
        trusted_hours: hours that conversion is taken from.
        revenue_per_visitor: of orders made in the shop, over the same hours.
        coverage: mean of the camera coverage, 0..1.
    """

    visitors: int | None
    orders: int
    revenue: Decimal
    other_currency: int
    conversion: float | None
    withheld: str | None
    trusted_hours: int
    revenue_per_visitor: Decimal | None
    coverage: float | None


@dataclass(frozen=True)
class Compared:
    """The same hours of two days.

    Attributes:
        day: the one before.
        hours: so many were compared.
    """

    day: date
    hours: int
    now: Figures
    before: Figures


@dataclass(frozen=True)
class BranchToday:
    """What a card shows.

    Attributes:
        hours: rows of `store_hourly` of today, oldest first.
        so_far: all of them together; None without any.
        compared: None where no finished hour has one to be compared with.
        silent: cameras without a recent frame, with the newest minute of each (None: never one).
    """

    branch: Branch
    is_open: bool
    hours: tuple[Any, ...]
    so_far: Figures | None
    compared: Compared | None
    silent: tuple[tuple[str, datetime | None], ...]


def branches_today(snapshot: Snapshot) -> list[BranchToday]:
    """Every branch of the store file, in its order.

    Raises:
        ReadError: hours or cameras cannot be read.
    """
    hours, now = snapshot.rows("store_hourly"), snapshot.at
    seen = {camera.camera_id: camera.minute for camera in snapshot.rows("cameras")}
    stale_after = snapshot.settings.console.stale_after
    return [
        _today(
            branch,
            [hour for hour in hours if hour.branch_id == branch.branch_id],
            [
                (camera.name, seen.get(camera.camera_id))
                for camera in branch.cameras
                if is_silent(seen.get(camera.camera_id), now, stale_after)
            ],
            now,
        )
        for branch in snapshot.stores.branches
    ]


def _today(
    branch: Branch,
    hours: Sequence[Any],
    silent: Sequence[tuple[str, datetime | None]],
    now: datetime,
) -> BranchToday:
    today = now.astimezone(ZoneInfo(branch.timezone)).date()
    mine = tuple(h for h in hours if h.local_hour.date() == today)
    is_open = branch.is_open(now)
    return BranchToday(
        branch=branch,
        is_open=is_open,
        hours=mine,
        so_far=add_up(mine) if mine else None,
        compared=compare(mine, hours, today, now),
        silent=tuple(silent) if is_open else (),
    )


def is_silent(minute: datetime | None, now: datetime, stale_after: timedelta) -> bool:
    """Whether the newest minute with a frame ended too long ago."""
    return minute is None or now - (minute + MINUTE) > stale_after


def compare(
    mine: Sequence[Any], hours: Sequence[Any], today: date, now: datetime
) -> Compared | None:
    """The finished hours of today beside those of a day before."""
    for days in DAYS_BEFORE:
        then = {h.local_hour + timedelta(days=days): h for h in hours}
        pairs = [
            (h, then[h.local_hour]) for h in mine if h.hour + HOUR <= now and h.local_hour in then
        ]
        if pairs:
            return Compared(
                today - timedelta(days=days),
                len(pairs),
                add_up([h for h, _ in pairs]),
                add_up([h for _, h in pairs]),
            )
    return None


def add_up(hours: Sequence[Any]) -> Figures:
    """Sums, and rates of the sums: never means of rates."""
    known = [h.visitors for h in hours if h.visitors is not None]
    trusted = [h for h in hours if h.conversion_withheld is None]
    reasons = Counter(h.conversion_withheld for h in hours if h.conversion_withheld)
    came = sum(h.visitors for h in trusted)
    spent = sum((h.revenue_in_store for h in trusted), Decimal(0))
    covered = [h.camera_coverage for h in hours if h.camera_coverage is not None]
    return Figures(
        visitors=sum(known) if known else None,
        orders=sum(h.orders for h in hours),
        revenue=sum((h.revenue for h in hours), Decimal(0)),
        other_currency=sum(h.orders_other_currency for h in hours),
        conversion=sum(h.orders_in_store for h in trusted) / came if came else None,
        withheld=reasons.most_common(1)[0][0] if reasons else None,
        trusted_hours=len(trusted),
        revenue_per_visitor=spent / came if came else None,
        coverage=sum(covered) / len(covered) if covered else None,
    )


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

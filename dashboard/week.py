"""Weekdays by hours over the weeks before, and the power hours of a branch.

Power hours are the fewest hours of the week that together make half of something: where staff is
needed most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conf.stores import Branch
from dashboard.board import Snapshot

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LEVELS = 5
HALF = 0.5
LEAST_CAME = 10
"""Fewer visitors make no rate of an hour."""
Slot = tuple[int, int]
"""A weekday (0 is Monday) and an hour (0..23)."""


@dataclass(frozen=True)
class Cell:
    """One hour of one weekday.

    Attributes:
        visitors: mean of its days; None where nobody was counted.
        conversion: over its trusted hours; None without them, or with few visitors.
        is_power: whether it is one of the power hours by visitors.
        levels: of visitors and of conversion, 0..4, by the highest of the week.
    """

    visitors: float | None
    conversion: float | None
    is_power: bool
    levels: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Power:
    """The power hours by one measure.

    Attributes:
        slots: so many hours.
        of: hours of the week in which there is anything.
        share: of the sum that they make, 0.5 or a little more.
        spans: hours in a row: "Fri 16-19".
    """

    slots: int
    of: int
    share: float
    spans: tuple[str, ...]


@dataclass(frozen=True)
class Week:
    """The four weeks before of one branch.

    Attributes:
        hours: those that have a row, without a gap.
        cells: of a weekday and hour.
        by_visitors: None without visitors.
        by_revenue: None without revenue.
        conversion_in: conversion in the power hours by visitors; None without trusted hours.
        conversion_outside: in all others.
    """

    hours: range
    cells: Mapping[Slot, Cell]
    by_visitors: Power | None
    by_revenue: Power | None
    conversion_in: float | None
    conversion_outside: float | None


def week_of(snapshot: Snapshot, branch: Branch) -> Week | None:
    """The weeks before the day shown; None without an hour in which something happened.

    Raises:
        ReadError: they cannot be read.
    """
    rows = {
        (row.weekday - 1, row.hour): row
        for row in snapshot.rows("weekday_hours")
        if row.branch_id == branch.branch_id and (row.visitors or row.revenue)
    }
    if not rows:
        return None
    power = power_slots({slot: _mean(row) or 0.0 for slot, row in rows.items()})
    hours = [hour for _, hour in rows]
    return Week(
        hours=range(min(hours), max(hours) + 1),
        cells=_cells(rows, power),
        by_visitors=_power(rows, lambda row: _mean(row) or 0.0),
        by_revenue=_power(rows, lambda row: float(row.revenue)),
        conversion_in=_conversion([row for slot, row in rows.items() if slot in power]),
        conversion_outside=_conversion([row for slot, row in rows.items() if slot not in power]),
    )


def power_slots(values: Mapping[Slot, float]) -> set[Slot]:
    """The fewest slots that make half of the sum, the highest first; none where it is zero."""
    half, found, so_far = HALF * sum(values.values()), set[Slot](), 0.0
    for slot, value in sorted(values.items(), key=lambda one: (-one[1], one[0])):
        if so_far >= half:
            break
        found.add(slot)
        so_far += value
    return found


def _power(rows: Mapping[Slot, Any], measure: Callable[[Any], float]) -> Power | None:
    values = {slot: value for slot, row in rows.items() if (value := measure(row)) > 0}
    slots = power_slots(values)
    if not slots:
        return None
    made = sum(values[slot] for slot in slots) / sum(values.values())
    return Power(len(slots), len(values), made, _spans(slots))


def _spans(slots: set[Slot]) -> tuple[str, ...]:
    """Hours in a row as one span with its end: 16, 17 and 18 are 16-19."""
    runs: list[tuple[int, int, int]] = []
    for weekday, hour in sorted(slots):
        if runs and runs[-1][0] == weekday and runs[-1][2] == hour:
            runs[-1] = weekday, runs[-1][1], hour + 1
        else:
            runs.append((weekday, hour, hour + 1))
    return tuple(f"{WEEKDAYS[weekday]} {first}-{end}" for weekday, first, end in runs)


def _cells(rows: Mapping[Slot, Any], power: set[Slot]) -> dict[Slot, Cell]:
    visitors = {slot: _mean(row) for slot, row in rows.items()}
    rates = {
        slot: _conversion([row]) if row.came >= LEAST_CAME else None for slot, row in rows.items()
    }
    most = [max((v for v in values.values() if v), default=0.0) for values in (visitors, rates)]
    return {
        slot: Cell(
            visitors[slot],
            rates[slot],
            slot in power,
            (level(visitors[slot], most[0]), level(rates[slot], most[1])),
        )
        for slot in rows
    }


def _mean(row: Any) -> float | None:
    """Visitors of one such hour."""
    return row.visitors / row.days if row.days else None


def level(value: float | None, most: float) -> int:
    """The depth of a colour, 0..4; 0 also where there is nothing."""
    return min(int(LEVELS * value / most), LEVELS - 1) if value and most else 0


def _conversion(rows: Sequence[Any]) -> float | None:
    came = sum(row.came for row in rows)
    return sum(row.bought for row in rows) / came if came else None

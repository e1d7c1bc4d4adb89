"""How many come to a branch on a day, and when: weekdays, growth, chance, and a power hour.

The figures are invented, and plausible for a shop in a high street: Saturday has twice the visitors
of a Monday, noon and the hours after work are busy, and demand grows towards the present.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from typing import NamedTuple
from zlib import crc32
from zoneinfo import ZoneInfo

from conf.stores import DAYS, Branch, OpeningHours

PARTIES_AN_HOUR = 12.0
"""Mean of a branch of mean size over the opening hours of a mean day."""
USUAL_HOURS = OpeningHours(opens=time(9), closes=time(20))
"""Of a branch whose store file has none."""
WEEKDAYS = (0.8, 0.8, 0.85, 1.0, 1.25, 1.6, 0.7)
CURVE = (0.5, 0.8, 1.0, 1.4, 1.2, 0.9, 0.9, 1.1, 1.5, 1.4, 0.8)
"""Arrivals in equal parts of the opening hours."""
GROWTH_A_WEEK = 1.015
POWER_DAY, POWER_HOUR, POWER = "sat", 11, 0.9
"""The hour that begins then, by the clock of the branch, has this share of arrivals more."""
LAST_ARRIVAL = timedelta(minutes=25)
"""Before closing: everybody has left by then."""


class Opening(NamedTuple):
    """From when until when a branch is open on a day; UTC."""

    begins: datetime
    ends: datetime


def openings(branch: Branch, day: date) -> list[Opening]:
    """When a branch is open on a day of its own calendar; empty: it is closed."""
    hours = branch.opening_hours or (USUAL_HOURS,)
    return [
        Opening(
            _utc(branch, day, one.opens),
            _utc(branch, day + timedelta(one.closes == time(0)), one.closes),
        )
        for one in sorted(hours, key=lambda one: one.opens)
        if DAYS[day.weekday()] in one.days
    ]


def _utc(branch: Branch, day: date, at: time) -> datetime:
    return datetime.combine(day, at, ZoneInfo(branch.timezone)).astimezone(timezone.utc)


def arrivals(branch: Branch, opening: Opening, weeks: float, rng: random.Random) -> list[datetime]:
    """When parties come, in order (UTC).

    Args:
        branch: some are busier than others, by their id.
        opening: of one day.
        weeks: from that day to the present, in which demand has grown.
        rng: of the day.
    """
    weekday = opening.begins.astimezone(ZoneInfo(branch.timezone)).weekday()
    hours = (opening.ends - opening.begins) / timedelta(hours=1)
    size = 0.75 + crc32(branch.branch_id.encode()) % 51 / 100
    mean = PARTIES_AN_HOUR * hours * size * WEEKDAYS[weekday] * GROWTH_A_WEEK**-weeks
    count = max(0, round(rng.gauss(mean, mean**0.5)))
    arriving = opening.ends - LAST_ARRIVAL - opening.begins
    found = [opening.begins + _share(rng) * arriving for _ in range(count)]
    return sorted([*found, *_more_in_power_hour(branch, opening, found, rng)])


def _share(rng: random.Random) -> float:
    """Of the opening hours that are over when somebody comes."""
    part = rng.choices(range(len(CURVE)), CURVE)[0]
    return (part + rng.random()) / len(CURVE)


def _more_in_power_hour(
    branch: Branch, opening: Opening, found: list[datetime], rng: random.Random
) -> Iterator[datetime]:
    for at in found:
        local = at.astimezone(ZoneInfo(branch.timezone))
        is_power = (DAYS[local.weekday()], local.hour) == (POWER_DAY, POWER_HOUR)
        if is_power and rng.random() < POWER:
            again = local.replace(minute=rng.randrange(60), second=rng.randrange(60))
            if opening.begins <= again < opening.ends - LAST_ARRIVAL:
                yield again.astimezone(timezone.utc)

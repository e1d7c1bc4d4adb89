"""Which day or hour a heat map is of: those that the lake still holds, by the clock of a branch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """A day of a branch, or one of its hours.

    Attributes:
        days: those to choose from, newest first.
        hours: begins of the hours of the day so far, UTC.
        day: the chosen one.
        hour: index of the chosen hour among `hours`; None: all of them.
        start, end: from when to before when, UTC.
    """

    days: tuple[date, ...]
    hours: tuple[datetime, ...]
    day: date
    hour: int | None
    start: datetime
    end: datetime


def choose(
    day: str | None, hour: str | None, now: datetime, zone: str, retention: timedelta
) -> Period:
    """The chosen period; today, and all hours, in place of a choice that does not exist.

    Args:
        day: an ISO date.
        hour: an index among the hours of that day.
        now: with a time zone.
        zone: of the branch.
        retention: how long positions are kept.
    """
    there = ZoneInfo(zone)
    today, first = (at.astimezone(there).date() for at in (now, now - retention))
    days = tuple(today - n * DAY for n in range((today - first).days + 1))
    chosen = {one.isoformat(): one for one in days}.get(day or "", today)
    start, end = (_midnight(one, there) for one in (chosen, chosen + DAY))
    hours = tuple(start + n * HOUR for n in range(int((end - start) / HOUR)))
    past = tuple(one for one in hours if one <= now)
    numbers = {str(n): n for n in range(len(past))}
    number = numbers.get(hour or "")
    if number is not None:
        start, end = past[number], past[number] + HOUR
    return Period(days, past, chosen, number, start, end)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(0), zone).astimezone(timezone.utc)

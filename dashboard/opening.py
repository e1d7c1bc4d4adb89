"""The hours of one day of a branch: those of its clock, and those in which it is open.

Hours begin as those of the tables do: full hours of UTC. An hour belongs to the day on which it
begins by the clock of the branch, so a day has 23 to 25 of them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

from conf.stores import DAYS, Branch

HOUR, STEP = timedelta(hours=1), timedelta(minutes=5)


def counted_since(branch: Branch, now: datetime) -> datetime:
    """From when people inside are counted, UTC: the latest opening of today, else midnight."""
    zone = ZoneInfo(branch.timezone)
    local = now.astimezone(zone)
    begun = [
        hours.opens
        for hours in branch.opening_hours
        if DAYS[local.weekday()] in hours.days and hours.opens <= local.time()
    ]
    since = datetime.combine(local.date(), max(begun, default=time(0)), zone)
    return since.astimezone(timezone.utc)


def hours_of(branch: Branch, day: date) -> list[datetime]:
    """The hours that begin on a day of the branch."""
    zone = ZoneInfo(branch.timezone)
    midnight = datetime.combine(day, time(0), zone).astimezone(timezone.utc)
    first = midnight.replace(minute=0, second=0)
    hours = [first + n * HOUR for n in range(27)]
    return [hour for hour in hours if hour.astimezone(zone).date() == day]


def axis_of(branch: Branch, day: date, busy: Collection[datetime]) -> list[datetime]:
    """The hours of a chart, without a gap: opening hours, and more where something happened.

    Args:
        branch: whose day.
        day: by its clock.
        busy: hours with figures.
    """
    hours = hours_of(branch, day)
    shown = [n for n, hour in enumerate(hours) if hour in busy or _is_open_in(branch, hour)]
    return hours[shown[0] : shown[-1] + 1] if shown else []


def is_closed_day(branch: Branch, day: date) -> bool:
    """Whether the branch has opening hours, and none on this day."""
    return bool(branch.opening_hours) and not any(
        DAYS[day.weekday()] in hours.days for hours in branch.opening_hours
    )


def _is_open_in(branch: Branch, hour: datetime) -> bool:
    """Whether it is open at some time of an hour; without opening hours no hour is special."""
    moments = (hour + n * STEP for n in range(HOUR // STEP))
    return bool(branch.opening_hours) and any(branch.is_open(moment) for moment in moments)

"""Sections of the page Today, and which day it shows."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from conf.stores import Branch
from dashboard.board import ReadError, Snapshot
from dashboard.branches import branch_day, branch_days
from dashboard.chain import chain_of
from dashboard.sections import render
from dashboard.week import WEEKDAYS, week_of

DAY = timedelta(days=1)
FIRST = date(2000, 1, 1)
HOW_COUNTED = (
    "A day is the hours that begin on it where the branch is. Conversion: orders made in the shop "
    "by visitors, over the hours whose visitors are known. In the shop now: entries less exits "
    "since the branch opened, else since midnight, never below zero."
)


def latest_day(branch: Branch) -> date:
    """Today, where the branch is."""
    return datetime.now(ZoneInfo(branch.timezone)).date()


def parse_day(asked: str | None, latest: date) -> tuple[date | None, str]:
    """The day of an address, and why it is not that one; None is today.

    Args:
        asked: a date as ISO 8601 has it; None or empty where the address has none.
        latest: today; later days are not shown.
    """
    if not asked:
        return None, ""
    try:
        day = date.fromisoformat(asked)
    except ValueError:
        return None, f"{asked[:20]!r} is no date such as {latest}: this is today."
    if day > latest:
        return None, f"{day} is in the future: this is today."
    if day < FIRST:
        return None, f"{day} is before {FIRST}: this is today."
    return (None if day == latest else day), ""


def day_picker(branch: Branch, day: date | None, latest: date, fault: str) -> str:
    """A field for the day, with links to those around it."""
    shown = day or latest
    return render(
        "day_picker",
        branch=branch,
        shown=shown,
        latest=latest,
        before=shown - DAY if shown > FIRST else None,
        after=shown + DAY if shown < latest else None,
        fault=fault,
    )


def chain(snapshot: Snapshot) -> str:
    """All branches together."""
    days = branch_days(snapshot)
    return render("chain", chain=chain_of(snapshot, days), is_past=snapshot.day is not None)


def branch_cards(snapshot: Snapshot) -> str:
    """A card of each branch with its figures, beside those of a day before."""
    roster = snapshot.roster
    return render(
        "branches",
        today=branch_days(snapshot),
        now=snapshot.at,
        is_past=snapshot.day is not None,
        roster_fault=roster if isinstance(roster, ReadError) else None,
    )


def hours_table(snapshot: Snapshot, branch: Branch) -> str:
    """The hours of a branch, as numbers."""
    return render("hours", today=branch_day(snapshot, branch))


def week(snapshot: Snapshot, branch: Branch) -> str:
    """Weekday by hour: visitors and conversion, and the power hours."""
    return render("week", week=week_of(snapshot, branch), weekdays=WEEKDAYS, branch=branch)

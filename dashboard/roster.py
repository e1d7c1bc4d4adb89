"""The roster of a chain: a CSV file with who works where, for visitors per staff hour.

Columns: branch_id, start, end (ISO 8601 with an offset from UTC) and staff (people). Lines that
overlap add up.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from dashboard.opening import HOUR

COLUMNS = ["branch_id", "start", "end", "staff"]
FIRST = datetime(2000, 1, 1, tzinfo=timezone.utc)


class RosterError(ValueError):
    """Why a roster cannot be used: one sentence, with the line of the file."""


class RosterLine(BaseModel):
    """So many people at work in one branch from `start` until before `end`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    branch_id: str
    start: Annotated[AwareDatetime, Field(ge=FIRST)]  # a bare number would be seconds since 1970
    end: Annotated[AwareDatetime, Field(ge=FIRST)]
    staff: Annotated[int, Field(ge=0)]


def read_roster(file: Path, branches: Collection[str]) -> tuple[RosterLine, ...]:
    """All lines of a roster.

    Args:
        file: UTF-8, with a head line.
        branches: ids of the branches of the store file.

    Raises:
        RosterError: the file or one of its lines cannot be used.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RosterError(f"roster {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RosterError(f"roster {file} is not UTF-8") from error
    lines = csv.reader(text.splitlines(), strict=True)
    try:
        if next(lines, None) != COLUMNS:
            raise ValueError(f"the columns must be {','.join(COLUMNS)}")
        return tuple(_entry(line, branches) for line in lines if line)
    except (ValueError, csv.Error) as error:
        raise RosterError(f"roster {file}, line {max(lines.line_num, 1)}: {error}") from error


def _entry(line: Sequence[str], branches: Collection[str]) -> RosterLine:
    if len(line) != len(COLUMNS):
        raise ValueError(f"{len(line)} values for {len(COLUMNS)} columns")
    try:
        entry = RosterLine.model_validate(dict(zip(COLUMNS, line, strict=True)))
    except ValidationError as error:
        (first, *_) = error.errors()
        raise ValueError(f"{first['loc'][0]} {first['input']!r}: {first['msg']}") from error
    if entry.branch_id not in branches:
        raise ValueError(f"branch {entry.branch_id!r} is not in the store file")
    if entry.end <= entry.start:
        raise ValueError("end must be later than start")
    return entry


def staff_hours(
    roster: Sequence[RosterLine], branch_id: str, start: datetime, end: datetime
) -> float:
    """Hours worked in a branch between two moments, over all of its people."""
    return sum(
        entry.staff * max(min(entry.end, end) - max(entry.start, start), timedelta(0)) / HOUR
        for entry in roster
        if entry.branch_id == branch_id
    )


def visitors_per_staff_hour(
    roster: Sequence[RosterLine], hours: Sequence[Any], now: datetime
) -> float | None:
    """Visitors by staff hours, over the hours whose visitors are known and that are staffed.

    Args:
        roster: of all branches.
        hours: rows of `store_hourly`.
        now: the running hour is worked until then.
    """
    worked = [
        (h.visitors, staff_hours(roster, h.branch_id, h.hour, min(h.hour + HOUR, now)))
        for h in hours
        if h.visitors is not None
    ]
    came = sum(visitors for visitors, staffed in worked if staffed)
    total = sum(staffed for _, staffed in worked)
    return came / total if total else None

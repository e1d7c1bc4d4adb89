"""One day of each branch, beside the same hours of a day before, and what is so now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from conf.stores import Branch
from dashboard.board import ReadError, Snapshot
from dashboard.figures import Compared, Figures, add_up, compare
from dashboard.opening import is_closed_day
from dashboard.roster import visitors_per_staff_hour

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class QueueNow:
    """One queue of the valid layout.

    Attributes:
        length: mean people over the frames of its newest minute; None: not known.
        limit: of the store file, in people.
    """

    camera: str
    zone_id: str
    length: float | None
    limit: int | None

    @property
    def is_over(self) -> bool:
        """Whether it is longer than its limit."""
        return self.limit is not None and self.length is not None and self.length > self.limit


@dataclass(frozen=True)
class BranchDay:
    """What a card shows.

    Attributes:
        day: by the clock of the branch.
        hours: rows of `store_hourly` of the day, oldest first.
        so_far: all of them together; None without any.
        compared: None where no finished hour has one to be compared with.
        units_per_basket: pieces by order; None where no lines are known.
        per_staff_hour: visitors by staff hours; None without a roster of the day.
        inside: its row of `people_inside`; None in the past, and where its entrances are silent.
        queues: all of it now, the one nearest to its limit first; empty in the past.
        silent: cameras without a recent frame, with the newest minute of each (None: never one).
    """

    branch: Branch
    day: date
    is_open: bool
    is_closed_day: bool
    hours: tuple[Any, ...]
    so_far: Figures | None
    compared: Compared | None
    units_per_basket: float | None
    per_staff_hour: float | None
    inside: Any | None
    queues: tuple[QueueNow, ...]
    silent: tuple[tuple[str, datetime | None], ...]

    @property
    def compared_day(self) -> date | None:
        """The day before that it is compared with."""
        return self.day - timedelta(days=self.compared.days) if self.compared else None


def branch_days(snapshot: Snapshot) -> list[BranchDay]:
    """Every branch of the store file, in its order.

    Raises:
        ReadError: hours or cameras cannot be read.
    """
    return [branch_day(snapshot, branch) for branch in snapshot.stores.branches]


def branch_day(snapshot: Snapshot, branch: Branch) -> BranchDay:
    """The day shown of one branch.

    Raises:
        ReadError: hours or cameras cannot be read.
    """
    now, is_past = snapshot.at, snapshot.day is not None
    day = snapshot.day or now.astimezone(ZoneInfo(branch.timezone)).date()
    hours = [h for h in snapshot.rows("store_hourly") if h.branch_id == branch.branch_id]
    mine = tuple(h for h in hours if h.local_hour.date() == day)
    is_open = branch.is_open(now)
    return BranchDay(
        branch=branch,
        day=day,
        is_open=is_open,
        is_closed_day=is_closed_day(branch, day),
        hours=mine,
        so_far=add_up(mine, now) if mine else None,
        compared=compare(mine, hours, now),
        units_per_basket=units_per_basket(snapshot, branch),
        per_staff_hour=per_staff_hour(snapshot, mine),
        inside=None if is_past else _inside(snapshot, branch),
        queues=() if is_past else queues_now(snapshot, branch),
        silent=_silent(snapshot, branch) if is_open and not is_past else (),
    )


def is_silent(minute: datetime | None, now: datetime, stale_after: timedelta) -> bool:
    """Whether the newest minute with a frame ended too long ago."""
    return minute is None or now - (minute + MINUTE) > stale_after


def queues_now(snapshot: Snapshot, branch: Branch) -> tuple[QueueNow, ...]:
    """The queues of the layouts that hold now, the one nearest to its limit first.

    Raises:
        ReadError: queues cannot be read.
    """
    rows = {(q.camera_id, q.zone_id): q for q in snapshot.rows("queue_minute")}
    found = [
        QueueNow(
            camera.name,
            zone.zone_id,
            _length(rows.get((camera.camera_id, zone.zone_id)), snapshot),
            zone.limit,
        )
        for camera in branch.cameras
        if (layout := snapshot.stores.layout_at(camera, snapshot.at))
        for zone in layout.zones
        if zone.kind == "queue"
    ]
    return tuple(sorted(found, key=_urgency, reverse=True))


def _length(row: Any | None, snapshot: Snapshot) -> float | None:
    stale_after = snapshot.settings.console.stale_after
    recent = row is not None and not is_silent(row.minute, snapshot.at, stale_after)
    return row.length_mean if row is not None and recent else None


def _urgency(queue: QueueNow) -> tuple[bool, float]:
    length = queue.length or 0.0
    return queue.length is not None, length / queue.limit if queue.limit else length / 1000


def _inside(snapshot: Snapshot, branch: Branch) -> Any | None:
    """None while one of the entrances is silent: who uses it is not seen."""
    rows = {row.branch_id: row for row in snapshot.rows("people_inside")}
    entrances = {
        camera.name for camera in branch.cameras if snapshot.stores.has_line(camera, "entrance")
    }
    silent = {name for name, _ in _silent(snapshot, branch)}
    return None if entrances & silent else rows.get(branch.branch_id)


def _silent(snapshot: Snapshot, branch: Branch) -> tuple[tuple[str, datetime | None], ...]:
    seen = {camera.camera_id: camera.minute for camera in snapshot.rows("cameras")}
    return tuple(
        (camera.name, seen.get(camera.camera_id))
        for camera in branch.cameras
        if is_silent(seen.get(camera.camera_id), snapshot.at, snapshot.settings.console.stale_after)
    )


def units_per_basket(snapshot: Snapshot, branch: Branch | None = None) -> float | None:
    """Pieces by order of a branch, or of all.

    None also where they cannot be read: a slow query may not take the card away.
    """
    rows = snapshot.answers["units"]
    if isinstance(rows, ReadError):
        return None
    own = [row for row in rows if branch is None or row.branch_id == branch.branch_id]
    orders = sum(row.orders for row in own)
    return float(sum(row.units for row in own)) / orders if orders else None


def per_staff_hour(snapshot: Snapshot, hours: Sequence[Any]) -> float | None:
    """Visitors by staff hours; None without a roster that can be used."""
    roster = snapshot.roster
    if roster is None or isinstance(roster, ReadError):
        return None
    return visitors_per_staff_hour(roster, hours, snapshot.at)

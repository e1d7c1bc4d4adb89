"""The map of a branch: what each camera looks at, with its lines and zones and what happens there.

Lines and zones come from the store file, in shares of the picture; the mean dwell time is the depth
of a colour and also text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from conf.stores import Branch, Line, Point, Zone
from conf.stores.reach import entry_arrow
from dashboard.board import Snapshot
from dashboard.branches import is_silent

WIDTH, HEIGHT = 800, 600
FLAT, ARROW = 110, 46
QUEUE_MINUTES = timedelta(minutes=15)
"""An older minute is not how long a queue is now."""


@dataclass(frozen=True)
class ZoneNow:
    """One zone.

    Attributes:
        dwell: its row of `zone_dwell_hourly`; None without a finished visit today.
        queue: its row of `queue_minute`; None where it is no queue, or nothing is known.
        heat: mean dwell as a share of the longest one on the page, 0..1.
        points: of the polygon, as SVG has them.
        label_at: where its name stands.
        is_flat: whether only one line of text fits in.
    """

    zone: Zone
    dwell: Any | None
    queue: Any | None
    heat: float
    points: str
    label_at: tuple[int, int]
    is_flat: bool


@dataclass(frozen=True)
class LineNow:
    """One line of a way in, and where in is: from its middle to the side that is entered."""

    line: Line
    a: tuple[int, int]
    b: tuple[int, int]
    middle: tuple[int, int]
    inside: tuple[int, int]


@dataclass(frozen=True)
class CameraNow:
    """One camera.

    Attributes:
        layout: its version; None before the first one is valid.
        seen: the newest minute with a frame.
        silent: whether that is too long ago for a branch that is open.
    """

    camera_id: str
    name: str
    layout: int | None
    seen: datetime | None
    silent: bool
    people_peak: int | None
    zones: tuple[ZoneNow, ...]
    lines: tuple[LineNow, ...]


def cameras_now(snapshot: Snapshot, branch: Branch) -> list[CameraNow]:
    """Every camera of a branch with the layout that holds now.

    Raises:
        ReadError: what it shows cannot be read.
    """
    now, stale_after = snapshot.at, snapshot.settings.console.stale_after
    seen = {c.camera_id: c for c in snapshot.rows("cameras")}
    ours = {camera.camera_id for camera in branch.cameras}
    dwells = [d for d in snapshot.rows("zone_dwell_hourly") if d.camera_id in ours]
    longest = max((d.dwell_mean or 0 for d in dwells), default=0)
    dwell = {(d.camera_id, d.zone_id): d for d in dwells}
    queues = {
        (q.camera_id, q.zone_id): q
        for q in snapshot.rows("queue_minute")
        if now - q.minute < QUEUE_MINUTES
    }
    found = []
    for camera in branch.cameras:
        layout, one = snapshot.stores.layout_at(camera, now), seen.get(camera.camera_id)
        minute = one.minute if one else None
        zones, lines = (layout.zones, layout.lines) if layout else ((), ())
        keys = [(camera.camera_id, zone.zone_id) for zone in zones]
        found.append(
            CameraNow(
                camera_id=camera.camera_id,
                name=camera.name,
                layout=layout.version if layout else None,
                seen=minute,
                silent=branch.is_open(now) and is_silent(minute, now, stale_after),
                people_peak=one.people_peak if one else None,
                zones=tuple(
                    _zone(zone, dwell.get(key), queues.get(key), longest)
                    for zone, key in zip(zones, keys, strict=True)
                ),
                lines=tuple(_line(line) for line in lines if line.kind != "passing"),
            )
        )
    return found


def _zone(zone: Zone, dwell: Any | None, queue: Any | None, longest: float) -> ZoneNow:
    corners = [_at(point) for point in zone.polygon]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    return ZoneNow(
        zone=zone,
        dwell=dwell if dwell and dwell.visits else None,
        queue=queue,
        heat=(dwell.dwell_mean or 0) / longest if dwell and longest else 0.0,
        points=" ".join(f"{x},{y}" for x, y in corners),
        label_at=((min(xs) + max(xs)) // 2, (min(ys) + max(ys)) // 2),
        is_flat=max(ys) - min(ys) < FLAT,
    )


def _line(line: Line) -> LineNow:
    (x, y), (to_x, to_y) = entry_arrow(line, WIDTH, HEIGHT, ARROW)
    middle, inside = (round(x), round(y)), (round(to_x), round(to_y))
    return LineNow(line, _at(line.a), _at(line.b), middle, inside)


def _at(point: Point) -> tuple[int, int]:
    return round(point[0] * WIDTH), round(point[1] * HEIGHT)

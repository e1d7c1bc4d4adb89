"""Boxes and traces of the last seconds, from the newest commits of `silver.detections`.

Each branch is read once for all browsers, and only while one of them shows it. What is kept is the
last `TRACE` of it, in memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

from conf.stores import Branch, Point, Zone
from dashboard.board import ReadError
from dashboard.live_lake import DetectionsReader
from streaming.transforms.silver_detections import PERSON, normal_label
from udfs.geometry import contains

TRACE = timedelta(seconds=10)
PRESENT = timedelta(seconds=1)
"""Somebody whose last box is older than this, by the clock of the camera, has left."""
QUIET = timedelta(seconds=6)
"""So long after the last rows nobody is in the picture: some commits and looks."""
BEHIND = timedelta(minutes=1)
"""Positions older than this when they arrive are not shown as the present."""

COLUMNS = (
    *("camera_id", "run_id", "track_id", "class", "captured_at"),
    *("x1", "y1", "x2", "y2", "image_width", "image_height"),
)


class Box(NamedTuple):
    """Somebody at a time (UTC), in shares of the picture; the feet are the bottom centre."""

    at: datetime
    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def feet(self) -> Point:
        """Where somebody stands."""
        return (self.x1 + self.x2) / 2, self.y2


Track: TypeAlias = tuple[Box, ...]
"""The boxes of one person, oldest first; at least one."""


@dataclass(frozen=True)
class CameraTracks:
    """People before one camera.

    Attributes:
        newest: capture of its newest frame with somebody in it, UTC.
        arrived: when that was read, by the database's clock.
        size: width and height of the picture in pixels.
        tracks: of the last `TRACE`, by run and track id; ids are not shown.
    """

    newest: datetime
    arrived: datetime
    size: tuple[int, int]
    tracks: Mapping[tuple[str, str], Track] = field(default_factory=dict)

    @property
    def is_behind(self) -> bool:
        """Whether its rows came too late to be the present."""
        return self.arrived - self.newest > BEHIND

    def is_current(self, at: datetime) -> bool:
        """Whether it shows the present."""
        return at - self.arrived <= QUIET and not self.is_behind

    @property
    def present(self) -> list[Track]:
        """Those who are still in the picture."""
        return [one for one in self.tracks.values() if self.newest - one[-1].at <= PRESENT]

    def people_in(self, zone: Zone) -> int:
        """How many of them stand in a zone, staff included."""
        return sum(contains(zone.polygon, track[-1].feet) for track in self.present)


@dataclass(frozen=True)
class LiveView:
    """One branch.

    Attributes:
        at: by the clock of the database, UTC; None before the first answer.
        cameras: camera id -> its people, where anybody has been seen.
        error: why the lake cannot be read.
        snapshot_id: up to which the table was read.
    """

    at: datetime | None = None
    cameras: Mapping[str, CameraTracks] = field(default_factory=dict)
    error: ReadError | None = None
    snapshot_id: int | None = None


class LiveTracks:
    """The newest view of each branch, renewed on request when it is too old.

    Args:
        detections: the table.
        refresh_seconds: least time between two looks at a branch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        detections: DetectionsReader,
        refresh_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._detections, self._every, self._clock = detections, refresh_seconds, clock
        self._lock = threading.Lock()
        self._views: dict[str, tuple[float, LiveView]] = {}

    def fresh(self, branch: Branch) -> LiveView:
        """The view of a branch. Blocks; call it from a thread."""
        with self._lock:
            looked, view = self._views.get(branch.branch_id, (float("-inf"), LiveView()))
            if self._clock() - looked >= 0.9 * self._every:
                if self._clock() - looked > QUIET.total_seconds():
                    view = LiveView(view.at)
                try:
                    view = self._renewed(branch, view)
                except ReadError as error:
                    view = LiveView(view.at, error=error)
                self._views[branch.branch_id] = (self._clock(), view)
            return view

    def _renewed(self, branch: Branch, before: LiveView) -> LiveView:
        iceberg, at = self._detections.load()
        current = iceberg.current_snapshot()
        last = last_read(iceberg, before.snapshot_id, at - QUIET) if current else None
        if current is None or current.snapshot_id == last:
            return replace(before, at=at, error=None, snapshot_id=last)
        scan = iceberg.incremental_append_scan(
            from_snapshot_id_exclusive=last,
            row_filter=EqualTo(term="branch_id", value=branch.branch_id),
            selected_fields=COLUMNS,
        )
        try:
            rows = scan.to_arrow()
        except OSError as error:
            raise self._detections.unreadable(error) from error
        return LiveView(at, follow(before.cameras, rows, at), None, current.snapshot_id)


def last_read(iceberg: Table, snapshot_id: int | None, since: datetime) -> int | None:
    """The snapshot after which to read: that one; without it the last one before `since` (UTC).

    None: all of the table is younger. Commits have the clocks of who writes them.
    """
    last = None
    for snapshot in ancestors_of(iceberg.current_snapshot(), iceberg.metadata):
        is_old = snapshot_id is None and snapshot.timestamp_ms < since.timestamp() * 1000
        if snapshot.snapshot_id == snapshot_id or is_old:
            return snapshot.snapshot_id
        last = snapshot.parent_snapshot_id
    return last


def follow(
    known: Mapping[str, CameraTracks], rows: pa.Table, at: datetime
) -> dict[str, CameraTracks]:
    """Tracks with the people of new rows (`COLUMNS`), and without what is too old.

    Args:
        known: camera id -> its people before.
        rows: of one branch, in any order.
        at: when the rows were read, UTC.
    """
    people = rows.filter(pc.equal(normal_label(rows["class"]), PERSON))
    cameras = dict(known)
    for camera_id in pc.unique(people["camera_id"]).to_pylist():
        seen = people.filter(pc.equal(people["camera_id"], camera_id))
        newest = pc.max(seen["captured_at"]).as_py()
        recent = seen.filter(pc.greater(seen["captured_at"], pa.scalar(newest - TRACE)))
        before = known[camera_id].tracks if camera_id in known else {}
        cameras[camera_id] = _with(before, recent.sort_by("captured_at").to_pylist(), newest, at)
    return cameras


def _with(
    before: Mapping[tuple[str, str], Track],
    rows: Sequence[Mapping[str, Any]],
    newest: datetime,
    at: datetime,
) -> CameraTracks:
    tracks = {key: list(track) for key, track in before.items()}
    for row in rows:
        box = Box(row["captured_at"], row["x1"], row["y1"], row["x2"], row["y2"])
        tracks.setdefault((row["run_id"], row["track_id"]), []).append(box)
    kept = {
        key: tuple(box for box in track if newest - TRACE < box.at <= newest)
        for key, track in tracks.items()
    }
    size = (rows[-1]["image_width"], rows[-1]["image_height"])
    return CameraTracks(newest, at, size, {key: track for key, track in kept.items() if track})

"""Reader of what lake and Postgres hold of the frames of a run, without Spark."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

import pyarrow as pa

from quality.frame_reconciliation import (
    FootfallMinute,
    FrameEvent,
    ObservedFrames,
    parse_frame,
)
from quality.order_observer import (
    CLOCK_SLACK,
    Minutes,
    RunStart,
    footfall_minutes,
    since,
)
from quality.reconciliation import DETECTIONS, POSITION, position_ids
from streaming.lake.protocol import EVERYTHING, Lake
from streaming.lake.tables import Table
from streaming.sinks.postgres import Database

_NOTHING = FootfallMinute()


@dataclass(frozen=True)
class FrameObserver:
    """Reads what lake and Postgres hold of the frames of a run."""

    db: Database
    lake: Lake
    start: RunStart | None = None

    def counted(self, *cameras: str) -> int:
        """Frames that footfall_minute counts, late ones included; no camera means all of them."""
        rows = self.minutes().items()
        return sum(
            row.frames + row.late_frames for key, row in rows if not cameras or key[0] in cameras
        )

    def minutes(self) -> Minutes:
        """What footfall_minute has counted of the run, without minutes of nothing."""
        if self.start is None:
            return footfall_minutes(self.db, datetime.min.replace(tzinfo=timezone.utc))
        now, before = footfall_minutes(self.db, self.start.at - CLOCK_SLACK), self.start.minutes
        gained = {
            key: FootfallMinute(
                *(a - b for a, b in zip(row, before.get(key, _NOTHING), strict=True))
            )
            for key, row in now.items()
        }
        return {key: row for key, row in gained.items() if row != _NOTHING}

    def bronze(self) -> list[FrameEvent]:
        """The frames in bronze.detections, in the order of their run and index."""
        rows = self._rows(DETECTIONS.received, "value")
        columns = (rows["value"], rows["topic"], position_ids(rows))
        messages = zip(*(column.to_pylist() for column in columns), strict=True)
        frames = [frame for one in messages if (frame := parse_frame(*one)) is not None]
        return sorted(frames, key=lambda f: (f.run_id, f.frame_index))

    def read(self) -> ObservedFrames:
        """Read everything, whole."""
        return ObservedFrames(
            bronze=self.bronze(),
            boxes=self.boxes(),
            quarantined=self.quarantined(),
            minutes=self.minutes(),
        )

    def boxes(self) -> list[str]:
        """The ids of the boxes in silver.detections."""
        names = ("camera_id", "run_id", "frame_index", "track_id")
        rows = self._rows(DETECTIONS.good, *names)
        columns = (rows[name].to_pylist() for name in names)
        return ["/".join(map(str, box)) for box in zip(*columns, strict=True)]

    def is_behind(self, published: int, *cameras: str) -> bool:
        """Whether some of the published frames are not yet counted, in bronze or silver."""
        rejected = set(self.quarantined())
        if self.counted(*cameras) + len(rejected) < published:
            return True
        frames = [f for f in self.bronze() if not cameras or f.camera_id in cameras]
        boxes = {box for f in frames if f.message_id not in rejected for box in f.boxes}
        return len(frames) < published or not boxes <= set(self.boxes())

    def quarantined(self) -> list[str]:
        """The ids of the messages in quarantine.detections."""
        return list(position_ids(self._rows(DETECTIONS.quarantined)).to_pylist())

    def crossings(self, camera_id: str) -> dict[str, int]:
        """Direction (entry, exit) -> crossings of the camera's entrances."""
        rows = self.db.fetch(
            "SELECT direction, count(*) AS n FROM line_crossings "
            "WHERE camera_id = %s AND kind = 'entrance' AND NOT withdrawn GROUP BY 1",
            (camera_id,),
        )
        return {"entry": 0, "exit": 0} | {row["direction"]: row["n"] for row in rows}

    def _rows(self, table: Table, *columns: str) -> pa.Table:
        """Rows of the run's messages."""
        pruned = self.start is not None and table.time_column == "timestamp"
        where = since(self.start) if pruned and self.start else EVERYTHING
        rows = self.lake.read(table.name, (*POSITION, *columns), where)
        if self.start is None:
            return rows
        at = zip(*(rows[name].to_pylist() for name in POSITION), strict=True)
        return rows.filter(pa.array([not self.start.is_before(*one) for one in at], pa.bool_()))

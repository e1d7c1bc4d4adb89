"""What brokers, lake and Postgres hold of what cameras saw, in a house where nothing else was.

Readers of their own, without Spark; the Postgres side is another client.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import And, EqualTo

from streaming.lake.protocol import EVERYTHING, Lake, Where
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    GOLD_FOOTFALL_MINUTE,
    GOLD_STORE_HOURLY,
    QUARANTINE_DETECTIONS,
    SILVER_DETECTIONS,
    Table,
)
from streaming.sinks.postgres import Database
from verification.cameras.truth import Measured, Span

KEYED = (SILVER_DETECTIONS, GOLD_FOOTFALL_MINUTE, GOLD_STORE_HOURLY)


@dataclass(frozen=True)
class Frame:
    """One event as bronze holds it, with how many people it shows; key: run_id, frame_index."""

    topic: str
    run_id: str
    frame_index: int
    captured_at: datetime
    people: int


@dataclass(frozen=True)
class Evidence:
    """What was found of a run, repeated rows repeated.

    Attributes:
        bronze: camera -> frames.
        silver: camera -> rows of silver.detections, one a box.
        counted: camera -> frames that footfall_minute counts, late ones included.
        late: frames that came when their place in their run was passed.
        quarantined: messages in quarantine.detections.
        twice: table -> keys that it holds more than once.
    """

    bronze: Mapping[str, Sequence[Frame]]
    silver: Mapping[str, int]
    counted: Mapping[str, int]
    late: int
    quarantined: int
    twice: Mapping[str, int]


def find_faults(
    found: Evidence, published: Mapping[str, int], topics: Mapping[str, str]
) -> list[str]:
    """What was lost, is there twice, or went another way; one sentence each.

    Args:
        found: of the run.
        published: camera -> events that its broker acknowledged.
        topics: camera -> where they went.
    """
    faults = []
    for camera_id, sent in published.items():
        frames = found.bronze.get(camera_id, ())
        for what, number in (
            ("rows in bronze", len(frames)),
            ("different frames in bronze", len({(f.run_id, f.frame_index) for f in frames})),
            ("frames counted", found.counted.get(camera_id, 0)),
        ):
            if number != sent:
                faults.append(f"{camera_id}: {sent} frames published, {number} {what}")
        boxes, rows = sum(f.people for f in frames), found.silver.get(camera_id, 0)
        if boxes != rows:
            faults.append(f"{camera_id}: {boxes} boxes in bronze, {rows} in silver")
        # Pulsar names a partition by a topic of its own.
        if ways := {f.topic.split("-partition-")[0] for f in frames} - {topics[camera_id]}:
            faults.append(f"{camera_id}: came over {', '.join(sorted(ways))}")
    if strangers := found.bronze.keys() - published.keys():
        faults.append(f"cameras that nobody played: {', '.join(sorted(strangers))}")
    if found.late:
        faults.append(f"{found.late} frames came too late to be followed")
    if found.quarantined:
        faults.append(f"{found.quarantined} frames in quarantine")
    faults += [f"{n} keys more than once in {table}" for table, n in found.twice.items() if n]
    return faults


@dataclass(frozen=True)
class Trail:
    """Where to look."""

    db: Database
    lake: Lake

    def counted(self, cameras: Sequence[str]) -> int:
        """Frames that footfall_minute counts, late ones included."""
        return _number(
            self.db,
            "SELECT coalesce(sum(frames + late_frames), 0)::bigint AS n FROM footfall_minute "
            "WHERE camera_id = ANY(%s)",
            (list(cameras),),
        )

    def bronze(self) -> dict[str, list[Frame]]:
        """Camera -> its frames, in the order of their index."""
        frames: dict[str, list[Frame]] = {}
        rows = self._read(BRONZE_DETECTIONS, "topic", "value")
        for topic, value in zip(*(c.to_pylist() for c in rows.columns), strict=True):
            event = json.loads(value)
            at = datetime.fromisoformat(event["captured_at"].replace("Z", "+00:00"))
            frames.setdefault(event["camera_id"], []).append(
                Frame(topic, event["run_id"], event["frame_index"], at, len(event["detections"]))
            )
        return {c: sorted(found, key=lambda f: f.frame_index) for c, found in frames.items()}

    def lake_is_behind(self, camera_id: str, published: int) -> bool:
        """Whether bronze or silver lack something of so many frames."""
        frames = self.bronze().get(camera_id, [])
        return len(frames) < published or self._objects(camera_id) < sum(f.people for f in frames)

    def _objects(self, camera_id: str) -> int:
        return int(self._read(SILVER_DETECTIONS, "camera_id", camera_id=camera_id).num_rows)

    def gold_is_behind(self, branch_id: str, orders: int) -> bool:
        """Whether the gold tables do not yet say all that Postgres and the tills say."""
        minutes = self._read(GOLD_FOOTFALL_MINUTE, "frames", "late_frames", "entries", "exits")
        there = [sum(column.to_pylist()) for column in minutes.columns]
        row = self.db.fetch(
            "SELECT coalesce(sum(frames), 0)::bigint AS frames, "
            "coalesce(sum(late_frames), 0)::bigint AS late, "
            "coalesce(sum(entries), 0)::bigint AS entries, "
            "coalesce(sum(exits), 0)::bigint AS exits FROM footfall_minute"
        )[0]
        entries, _ = self._footfall(branch_id)
        sold, visitors = self._hours(branch_id)
        return there != list(row.values()) or (sold, visitors) != (orders, entries)

    def measured(self, branch_id: str, start: datetime) -> Measured:
        """What the gold tables and zone_visits say of a branch; spans are seconds since `start`."""
        entries, exits = self._footfall(branch_id)
        orders, visitors = self._hours(branch_id)
        visits: dict[str, list[Span]] = {}
        for row in self.db.fetch(
            "SELECT camera_id, zone_id, entered_at, exited_at FROM zone_visits "
            "WHERE branch_id = %s AND NOT withdrawn AND NOT is_staff",
            (branch_id,),
        ):
            span = tuple((row[k] - start).total_seconds() for k in ("entered_at", "exited_at"))
            visits.setdefault(f"{row['camera_id']}/{row['zone_id']}", []).append((span[0], span[1]))
        return Measured(entries, exits, orders / visitors if visitors else None, visits)

    def crossings(self, camera_id: str) -> dict[str, int]:
        """Direction -> crossings of the camera's lines."""
        rows = self.db.fetch(
            "SELECT direction, count(*) AS n FROM line_crossings "
            "WHERE camera_id = %s AND NOT withdrawn GROUP BY 1",
            (camera_id,),
        )
        return {"entry": 0, "exit": 0} | {row["direction"]: row["n"] for row in rows}

    def people(self, camera_id: str, least_frames: int) -> int:
        """Tracks of a camera that were in so many frames."""
        rows = self._read(SILVER_DETECTIONS, "run_id", "track_id", camera_id=camera_id)
        seen = Counter(zip(*(c.to_pylist() for c in rows.columns), strict=True))
        return sum(frames >= least_frames for frames in seen.values())

    def gather(self) -> Evidence:
        """All that a run has to answer for."""
        frames = self.bronze()
        late = "SELECT coalesce(sum(late_frames), 0)::bigint AS n FROM footfall_minute"
        return Evidence(
            bronze=frames,
            silver={camera_id: self._objects(camera_id) for camera_id in frames},
            counted={camera_id: self.counted([camera_id]) for camera_id in frames},
            late=_number(self.db, late),
            quarantined=self.lake.read(QUARANTINE_DETECTIONS.name, ("topic",)).num_rows,
            twice={table.name: self._twice(table) for table in KEYED},
        )

    def _twice(self, table: Table) -> int:
        rows = self._read(table, *table.key)
        keys = Counter(zip(*(c.to_pylist() for c in rows.columns), strict=True))
        return sum(times > 1 for times in keys.values())

    def _footfall(self, branch_id: str) -> tuple[int, int]:
        rows = self._read(GOLD_FOOTFALL_MINUTE, "entries", "exits", branch_id=branch_id)
        entries, exits = (sum(column.to_pylist()) for column in rows.columns)
        return entries, exits

    def _hours(self, branch_id: str) -> tuple[int, int]:
        """Orders and visitors of all hours."""
        rows = self._read(GOLD_STORE_HOURLY, "orders", "visitors", branch_id=branch_id)
        orders, visitors = (sum(v or 0 for v in column.to_pylist()) for column in rows.columns)
        return orders, visitors

    def _read(self, table: Table, *columns: str, **where: str) -> pa.Table:
        """Some columns of a table, in that order."""
        wanted: Where = EVERYTHING
        for name, value in where.items():
            wanted = And(wanted, EqualTo(term=name, value=value))
        return self.lake.read(table.name, columns, wanted).select(columns)


def _number(db: Database, query: str, parameters: Any = None) -> int:
    return int(db.fetch(query, parameters)[0]["n"])

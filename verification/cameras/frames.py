"""What cameras measured, as lake and Postgres have it: the figures beside a reconciliation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
from pyiceberg.expressions import And, EqualTo

from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import reconcile_cameras
from quality.reconciliation import Difference
from streaming.lake.protocol import EVERYTHING, Where
from streaming.lake.tables import (
    GOLD_FOOTFALL_MINUTE,
    GOLD_STORE_HOURLY,
    SILVER_DETECTIONS,
    Table,
)
from verification.cameras.truth import Measured, Span


class CameraObserver(FrameObserver):
    """Reads figures of cameras in a deployment where nothing else was."""

    def faults(self, published: Mapping[str, int], topics: Mapping[str, str]) -> list[str]:
        """What was lost, is there twice, or was sent another way; one sentence each.

        Args:
            published: camera -> events that its broker acknowledged.
            topics: camera -> where they were sent.
        """
        doubled = [
            Difference("doubled", f"more than once in {table.name}", self._doubled_keys(table))
            for table in (GOLD_FOOTFALL_MINUTE, GOLD_STORE_HOURLY)
        ]
        return reconcile_cameras(published, topics, self.read()).plus(*doubled).faults

    def gold_is_behind(self, branch_id: str, orders: int) -> bool:
        """Whether the gold tables lack something of what Postgres and the tills have."""
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
        """Figures of a branch in the gold tables and zone_visits; spans: seconds since `start`."""
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

    def people(self, camera_id: str, least_frames: int) -> int:
        """Tracks of a camera that were in so many frames."""
        rows = self._read(SILVER_DETECTIONS, "run_id", "track_id", camera_id=camera_id)
        seen = Counter(zip(*(c.to_pylist() for c in rows.columns), strict=True))
        return sum(frames >= least_frames for frames in seen.values())

    def _doubled_keys(self, table: Table) -> list[str]:
        rows = self._read(table, *table.key)
        keys = Counter(zip(*(c.to_pylist() for c in rows.columns), strict=True))
        return ["/".join(map(str, key)) for key, times in keys.items() if times > 1]

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

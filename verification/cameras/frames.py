"""What cameras measured, as lake and Postgres have it: the figures beside a reconciliation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from pyiceberg.expressions import EqualTo

from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import FootfallMinute, reconcile_cameras, sum_minutes
from quality.reconciliation import Difference
from streaming.lake.protocol import EVERYTHING, Where
from streaming.lake.tables import GOLD_FOOTFALL_MINUTE, GOLD_STORE_HOURLY, Table
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
        counted = self._sums(GOLD_FOOTFALL_MINUTE, FootfallMinute._fields)
        (entries,) = self._sums(GOLD_FOOTFALL_MINUTE, ("entries",), branch_id)
        hours = self._sums(GOLD_STORE_HOURLY, ("orders", "visitors"), branch_id)
        return counted != sum_minutes(self.minutes()) or hours != (orders, entries)

    def measured(self, branch_id: str, start: datetime) -> Measured:
        """Figures of a branch in the gold tables and zone_visits; spans: seconds since `start`."""
        entries, exits, groups, passers_by = self._sums(
            GOLD_FOOTFALL_MINUTE, ("entries", "exits", "groups", "passers_by"), branch_id
        )
        orders, visitors = self._sums(GOLD_STORE_HOURLY, ("orders", "visitors"), branch_id)
        visits: dict[str, list[Span]] = {}
        for row in self.db.fetch(
            "SELECT camera_id, zone_id, entered_at, exited_at FROM zone_visits "
            "WHERE branch_id = %s AND NOT withdrawn AND NOT is_staff",
            (branch_id,),
        ):
            span = tuple((row[k] - start).total_seconds() for k in ("entered_at", "exited_at"))
            visits.setdefault(f"{row['camera_id']}/{row['zone_id']}", []).append((span[0], span[1]))
        conversion = orders / visitors if visitors else None
        return Measured(entries, exits, groups, passers_by, conversion, visits)

    def people(self, camera_id: str, least_frames: int) -> int:
        """Tracks of a camera that were in so many frames."""
        frames = (frame for frame in self.bronze() if frame.camera_id == camera_id)
        seen = Counter((f.run_id, box.track_id) for f in frames for box in f.detections)
        return sum(frames >= least_frames for frames in seen.values())

    def _doubled_keys(self, table: Table) -> list[str]:
        rows = self.lake.read(table.name, table.key)
        keys = Counter(zip(*(rows[name].to_pylist() for name in table.key), strict=True))
        return ["/".join(map(str, key)) for key, times in keys.items() if times > 1]

    def _sums(
        self, table: Table, columns: Sequence[str], branch_id: str | None = None
    ) -> tuple[int, ...]:
        where: Where = EqualTo(term="branch_id", value=branch_id) if branch_id else EVERYTHING
        rows = self.lake.read(table.name, columns, where)
        return tuple(sum(number or 0 for number in rows[name].to_pylist()) for name in columns)

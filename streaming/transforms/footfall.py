"""Line crossings: state per track, counts per camera and minute.

A track's side of a line is confirmed once its anchor is farther than `MARGIN` from it; a change of
the confirmed side, with a way that meets the line between its ends, is one crossing. A track that
trembles on the line is therefore not counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from conf.stores import Line, Stores
from udfs.geometry import passes_between, signed_distance

MARGIN = 0.01
"""Share of the picture on either side of a line where a side is not yet decided."""

OUTPUT_DDL = """
    branch_id string, camera_id string, run_id string, captured_at timestamp, entries bigint,
    exits bigint, crossings array<struct<track_id: string, line_id: string, direction: string>>,
    topic string, partition int, position string"""
"""One row per new frame; topic, partition and position are those of its message."""

Sight = tuple[int, float, float]
"""Confirmed side (-1 left, 0 undecided, 1 right), and the anchor where it was last seen."""


def follow(line: Line, before: Sight | None, x: float, y: float) -> tuple[Sight, str | None]:
    """One step of one track at one line: its new sight, and 'entry', 'exit' or None."""
    distance = signed_distance(line.a, line.b, (x, y))
    side = 0 if abs(distance) < MARGIN else (1 if distance > 0 else -1)
    if before is None:
        return (side, x, y), None
    old_side, old_x, old_y = before
    if side == 0:
        # Undecided: keep the side and the point where it was still clear.
        return before if old_side else (0, x, y), None
    if old_side in (0, side):
        return (side, x, y), None
    if passes_between(line.a, line.b, (old_x, old_y), (x, y)):
        return (side, x, y), "entry" if side > 0 else "exit"
    return (side, x, y), None


class LineCrossings(StatefulProcessor):
    """Keyed by (branch_id, camera_id, run_id); frames in, one row per new frame out.

    State: per (track, line) the last `Sight`, forgotten `ttl` after its last frame; the index of
    the newest frame, so that a frame that comes again counts once. Frames of one run arrive in
    order, since a camera is one key of the topic.
    """

    def __init__(self, stores: Stores, ttl: timedelta) -> None:
        self._lines = {c.camera_id: c.lines for b in stores.branches for c in b.cameras}
        self._ttl_ms = int(ttl.total_seconds() * 1000)

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state; Spark calls this once per partition."""
        self._sights = handle.getMapState(
            "sights",
            "track_id string, line_id string",
            "side int, x double, y double",
            self._ttl_ms,
        )
        self._newest = handle.getValueState("newest", "frame_index bigint", self._ttl_ms)

    def handleInputRows(  # noqa: N802
        self,
        key: tuple[str, str, str],
        rows: Iterator[Any],
        timerValues: Any,  # noqa: ARG002, N803
    ) -> Iterator[Row]:
        """Follow every track through the new frames of one camera run."""
        branch_id, camera_id, run_id = key
        newest = self._newest.get() if self._newest.exists() else None
        after = newest[0] if newest else -1
        frames: dict[int, Any] = {}
        # A frame that was sent again counts where it came first: its position is its identity.
        for row in sorted(rows, key=lambda r: str(r.position)):
            if row.frame_index > after:
                frames.setdefault(row.frame_index, row)
        for index in sorted(frames):
            frame = frames[index]
            crossings = self._crossings(self._lines.get(camera_id, ()), frame)
            yield Row(
                branch_id=branch_id,
                camera_id=camera_id,
                run_id=run_id,
                captured_at=frame.captured_at,
                entries=sum(c["direction"] == "entry" for c in crossings),
                exits=sum(c["direction"] == "exit" for c in crossings),
                crossings=crossings,
                topic=frame.topic,
                partition=frame.partition,
                position=frame.position,
            )
        if frames:
            self._newest.update((max(frames),))

    def _crossings(self, lines: Iterable[Line], frame: Row) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for line in lines:
            for person in frame.people:
                at = (person["track_id"], line.line_id)
                seen = self._sights.getValue(at) if self._sights.containsKey(at) else None
                before = tuple(seen) if seen is not None else None
                sight, direction = follow(line, before, person["x"], person["y"])
                self._sights.updateValue(at, sight)
                if direction:
                    found.append(
                        {
                            "track_id": person["track_id"],
                            "line_id": line.line_id,
                            "direction": direction,
                        }
                    )
        return found

    def close(self) -> None:
        """Nothing is held outside the state."""


def to_crossings(frames: pa.Table, layout_version: int) -> pa.Table:
    """Rows of `OUTPUT_DDL` -> `silver.line_crossings`, one row per crossing."""
    crossings = frames["crossings"].combine_chunks()
    found = frames.take(pc.list_parent_indices(crossings)).rename_columns(
        {"captured_at": "crossed_at"}
    )
    for name, column in zip(
        crossings.type.value_type.names, pc.list_flatten(crossings).flatten(), strict=True
    ):
        found = found.append_column(name, column)
    return found.append_column(
        "layout_version", pa.array([layout_version] * len(found), pa.int32())
    )


def count_crossings(stores: Stores, ttl: timedelta) -> Callable[[DataFrame], DataFrame]:
    """Frames (`to_frames`) -> rows of `OUTPUT_DDL`."""

    def apply(frames: DataFrame) -> DataFrame:
        return frames.groupBy("branch_id", "camera_id", "run_id").transformWithState(
            statefulProcessor=LineCrossings(stores, ttl),
            outputStructType=OUTPUT_DDL,
            outputMode="update",
            timeMode="ProcessingTime",
        )

    return apply

"""Frames that came in, and frames that footfall counted: per camera and minute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from quality.context import AuditContext
from quality.facts import MINUTE, UTC_TIME, rows_of, within
from quality.frame_reconciliation import parse_frame
from quality.reconciliation import DETECTIONS, POSITION
from quality.suite import FactSuite, Suite, null
from quality.suites.accounts import start_of, up_to
from streaming.jobs import footfall
from streaming.progress import Progress

FRAMES = {
    "branch_id": pa.string(),
    "camera_id": pa.string(),
    "minute": UTC_TIME,
    "differs": pa.string(),
}

# One statement, so that minutes and positions are of one snapshot.
FRAMES_SQL = """
    SELECT NULL AS topic, NULL::integer AS partition, NULL AS position, branch_id, camera_id,
        minute, frames, late_frames, updated_at
    FROM footfall_minute WHERE minute >= %(start)s
    UNION ALL
    SELECT topic, partition, position, NULL, NULL, NULL, NULL, NULL, NULL
    FROM stream_offsets WHERE stream = %(stream)s"""


_Frame = tuple[str, datetime]
"""Id and time of a frame: a camera may number its frames again."""


class _Minute(NamedTuple):
    branch_id: str
    camera_id: str
    minute: datetime


def frame_suites() -> list[Suite]:
    """The suite of this module."""
    counted = null(
        "counted",
        "The frames of a minute in bronze, less the quarantined ones, are not those that footfall "
        "has counted.",
        "differs",
        "frames is the number of good frames in bronze.detections",
    )
    table, unit = "postgres.footfall_minute", "camera minutes"
    return [FactSuite(table, "frames", FRAMES, load_frames, (counted,), unit)]


def load_frames(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Per camera and minute that is wholly among the new messages: where the numbers differ.

    A repeated frame counts once. One that comes when its place in the run is long passed is late,
    and may or may not count, so that the number lies between the frames and these with them.
    """
    start = start_of(context, context.settings.quality.lookback, DETECTIONS.received)
    if start is None:
        return
    lake = [context.progress(t.name) for t in (DETECTIONS.received, DETECTIONS.good)]
    rejected_up_to = context.progress(DETECTIONS.quarantined.name)
    rows = context.query(FRAMES_SQL, {"start": start, "stream": footfall.STREAM.name})
    passed = {(r["topic"], r["partition"]): r["position"] for r in rows if r["topic"]}
    counted = {
        _Minute(r["branch_id"], r["camera_id"], r["minute"]): r for r in rows if not r["topic"]
    }
    bronze = rows_of(
        context,
        DETECTIONS.received,
        (*POSITION, "timestamp", "value"),
        within(DETECTIONS.received, start),
    )
    quarantine = rows_of(
        context, DETECTIONS.quarantined, POSITION, within(DETECTIONS.quarantined, start)
    )
    handled = {
        at: max(lake[1].get(at, ""), rejected_up_to.get(at, ""))
        for at in {*lake[1], *rejected_up_to}
    }
    until = _complete_until(bronze, passed, (lake[0], handled))
    good = up_to(bronze, passed).join(quarantine, list(POSITION), join_type="left anti")
    frames, ahead = _frames(good)
    first = start + MINUTE + max(ahead, timedelta(0))
    yield from _compare(frames, counted, first, until)


def _complete_until(
    bronze: pa.Table, passed: Progress, places: tuple[Progress, ...]
) -> datetime | None:
    """The time until which the lake has all that footfall has read; None when it has all of it.

    Where the lake is behind, what it lacks arrived after the newest message that it has.
    """
    newest = bronze.group_by(["topic", "partition"]).aggregate([("timestamp", "max")]).to_pylist()
    arrived = {(r["topic"], r["partition"]): r["timestamp_max"] for r in newest}
    bounds = []
    for at, position in passed.items():
        if at not in arrived:
            continue
        for place in places:
            if place.get(at, "") < position:
                here = up_to(bronze, {at: place.get(at, "")})
                bounds.append(pc.max(here["timestamp"]).as_py() or bronze["timestamp"][0].as_py())
    return min(bounds, default=None)


def _frames(rows: pa.Table) -> tuple[dict[_Minute, set[_Frame]], timedelta]:
    """The frames per camera and minute; and how far clocks of cameras are ahead of ours."""
    found: dict[_Minute, set[_Frame]] = defaultdict(set)
    ahead = timedelta(0)
    for value, arrived in zip(
        rows["value"].to_pylist(), rows["timestamp"].to_pylist(), strict=True
    ):
        frame = parse_frame(value)
        if frame is not None:
            found[_Minute(frame.branch_id, *frame.minute)].add((frame.id, frame.captured_at))
            ahead = max(ahead, frame.captured_at - arrived)
    return found, ahead


def _compare(
    frames: dict[_Minute, set[_Frame]],
    counted: dict[_Minute, dict[str, Any]],
    first: datetime,
    until: datetime | None,
) -> Iterator[dict[str, Any]]:
    for key in sorted(frames.keys() | counted.keys()):
        row = counted.get(key, {"frames": 0, "late_frames": 0, "updated_at": key.minute + MINUTE})
        if key.minute < first or (until is not None and row["updated_at"] >= until):
            continue
        came, most = len(frames.get(key, ())), row["frames"] + row["late_frames"]
        differs = None if row["frames"] <= came <= most else f"{came} came, {row['frames']} counted"
        yield {**key._asdict(), "differs": differs}

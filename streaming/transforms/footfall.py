"""Runs `tracks` in Spark: frames in, one row per message out; and these rows as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Row
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle

from conf.stores import Layout, Stores
from streaming.transforms.tracks import (
    CameraRun,
    CameraState,
    Effects,
    Rules,
    counts_again,
    layouts_by_camera,
)

if TYPE_CHECKING:
    import pandas as pd

CAMERA = ("branch_id", "camera_id")
RUN = (*CAMERA, "run_id")

OUTPUT_DDL = """
    branch_id string, camera_id string, run_id string, captured_at bigint, frames bigint,
    late_frames bigint, people bigint,
    crossings array<struct<track_id: string, line_id: string, kind: string, direction: string,
        crossed_at: bigint, is_staff: boolean, layout_version: int, group_id: string,
        group_entered_at: bigint>>,
    visits array<struct<track_id: string, zone_id: string, kind: string, entered_at: bigint,
        exited_at: bigint, is_open: boolean, is_staff: boolean, layout_version: int>>,
    queues array<struct<zone_id: string, captured_at: bigint, people: bigint>>,
    staff array<string>, topic string, partition int, position string"""
"""One row per message of a good frame; times are microseconds since 1970 in UTC.

crossings, visits, queues and staff are detected with the message and may concern an earlier frame;
`visits` of the last message of a batch also has those that are still open.
"""

_TIMES = ("captured_at", "crossed_at", "entered_at", "exited_at", "group_entered_at")


CROSSING_KEY = ("camera_id", "run_id", "track_id", "line_id", "crossed_at")
VISIT_KEY = ("camera_id", "run_id", "track_id", "zone_id", "entered_at")


class _Frame(msgspec.Struct, gc=False):
    """`frame` of `silver_detections.FRAMES_SCHEMA`."""

    index: int
    at: int
    arrived: int
    ids: list[str]
    xs: list[float]
    ys: list[float]
    widths: list[float]
    ratio: float


_decoder = msgspec.json.Decoder(_Frame)


def parse_frame(text: str) -> _Frame:
    """The frame of one message."""
    return _decoder.decode(text)


class TrackingOutput(NamedTuple):
    """Rows of `OUTPUT_DDL` as tables; times are timestamps in UTC.

    Attributes:
        counts: branch_id, camera_id, captured_at, frames, late_frames, people; entries and exits
            are 0: the database counts those crossings that are new to it.
        crossings: with branch_id, camera_id, run_id; one row for each `CROSSING_KEY`, the first.
        visits: the same, one row for each `VISIT_KEY`, the newest.
        queues: branch_id, camera_id, zone_id, captured_at, people.
        staff: branch_id, camera_id, run_id, track_id.
    """

    counts: pa.Table
    crossings: pa.Table
    visits: pa.Table
    queues: pa.Table
    staff: pa.Table


def track_frames(
    key: tuple[str, ...], frames: Iterable[Any], run: CameraRun, *, is_final: bool = True
) -> Iterator[dict[str, Any]]:
    """Frames of one run (`silver_detections.FRAMES_SCHEMA`), in order -> rows of `OUTPUT_DDL`.

    Args:
        key: branch_id, camera_id, run_id.
        frames: one or more.
        run: its state, which is updated.
        is_final: whether the last row also has the open visits.
    """
    row: dict[str, Any] = {}
    for frame in frames:
        if row:
            yield row
        seen = parse_frame(frame.frame)
        heights = [width * seen.ratio for width in seen.widths]
        people = list(zip(seen.ids, seen.xs, seen.ys, seen.widths, heights, strict=True))
        effects = run.receive(seen.index, seen.at, people)
        row = _row(key, seen.at, len(people), effects, frame)
    if row and is_final:
        over = {(v[0], v[1], v[3]) for v in row["visits"] if not v[5]}
        still = [tuple(v) for v in run.open_visits() if (v[0], v[1], v[3]) not in over]
        row["visits"] = row["visits"] + still
    if row:
        yield row


def _row(
    key: tuple[str, ...], at: int, people: int, effects: Effects, frame: Any
) -> dict[str, Any]:
    return dict(zip(RUN, key, strict=True)) | {
        "captured_at": at,
        "frames": int(effects.is_new),
        "late_frames": int(effects.is_late),
        "people": people,
        "crossings": [tuple(c) for c in effects.crossings],
        "visits": [tuple(v) for v in effects.visits],
        "queues": [tuple(q) for q in effects.queues],
        "staff": effects.staff,
        "topic": frame.topic,
        "partition": frame.partition,
        "position": frame.position,
    }


class FollowTracks(StatefulProcessor):
    """Keyed by (branch_id, camera_id); messages in, one row per message out.

    State: the text of a `CameraState`, one value, so one read and one write per batch and camera,
    whatever the number of people. It expires runs by itself: Spark plans its timers and its TTL
    again with each batch, for a quarter of the JVM's time (docs/adr/0012). Messages of a camera
    keep the order of the topic, where they have the same key.
    """

    def __init__(self, layouts: Mapping[str, tuple[Layout, ...]], rules: Rules) -> None:
        self._layouts, self._rules = layouts, rules

    def init(self, handle: StatefulProcessorHandle) -> None:
        """Open the state; Spark calls this once per partition."""
        self._state = handle.getValueState("camera", "text string")

    def handleInputRows(  # noqa: N802
        self,
        key: tuple[str, str],
        rows: Iterator[Any],
        timerValues: Any,  # noqa: ARG002, N803
    ) -> Iterator[Row]:
        """Follow every track through the new frames of one camera."""
        if key[0] is None:  # rejected messages: silver_detections keeps them
            return
        before = self._state.get() if self._state.exists() else None
        text = before[0] if before else None
        camera = CameraState(self._layouts.get(key[1], ()), self._rules, text)
        # By run, each in the order of the topic: runs are independent.
        in_order = sorted(rows, key=attrgetter("run_id", "partition", "position"))
        for run_id, frames in groupby(in_order, key=attrgetter("run_id")):
            of_run = list(frames)
            seen_at = max(parse_frame(frame.frame).arrived for frame in of_run)
            for row in track_frames((*key, run_id), of_run, camera.run(run_id, seen_at)):
                yield Row(**row)
        for run_id, at, effects in camera.end_expired():
            yield Row(**_row((*key, run_id), at, 0, effects, in_order[-1]))
        self._state.update((camera.to_text(),))

    def close(self) -> None:
        """Nothing to close."""


def follow_tracks(stores: Stores, rules: Rules) -> Callable[[DataFrame], DataFrame]:
    """Frames (`silver_detections.FRAMES_SCHEMA`) of a stream -> rows of `OUTPUT_DDL`."""

    def apply(frames: DataFrame) -> DataFrame:
        return frames.groupBy(*CAMERA).transformWithState(
            statefulProcessor=FollowTracks(layouts_by_camera(stores), rules),
            outputStructType=OUTPUT_DDL,
            outputMode="update",
            timeMode="None",
        )

    return apply


def follow_whole_runs(stores: Stores, rules: Rules) -> Callable[[DataFrame], DataFrame]:
    """The same for whole runs, as if no frame had been late.

    `newest` of a frame: when the newest message of its camera arrived, in microseconds since 1970.
    """
    layouts, expire = layouts_by_camera(stores), rules.expire / timedelta(microseconds=1)

    def follow(key: tuple[str, ...], frames: pd.DataFrame) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415 - on the executors

        run = CameraRun(layouts.get(key[1], ()), rules)
        in_order = by_index(frames.sort_values(["partition", "position"]).itertuples(index=False))
        rows = list(track_frames(key, in_order, run))
        if (
            max(parse_frame(frame.frame).arrived for frame in in_order)
            < in_order[0].newest - expire
        ):
            rows.append(_row(key, run.clock, 0, run.end(), in_order[-1]))
        return pd.DataFrame(rows)

    def apply(frames: DataFrame) -> DataFrame:
        return frames.groupBy(*RUN).applyInPandas(follow, OUTPUT_DDL)

    return apply


def by_index(frames: Iterable[Any]) -> list[Any]:
    """Frames of one run by their index; where the camera counts again, after those before that."""
    count, last, newest = 0, -1, 0
    numbered = []
    for frame in frames:
        seen = parse_frame(frame.frame)
        if counts_again(seen.index, seen.at, last, newest):
            count, last = count + 1, -1
        last, newest = max(last, seen.index), max(newest, seen.at)
        numbered.append((count, seen.index, frame))
    return [frame for _, _, frame in sorted(numbered, key=itemgetter(0, 1))]


def to_output(rows: pa.Table) -> TrackingOutput:
    """Rows of `OUTPUT_DDL`, in order -> tables."""
    counts = rows.select([*CAMERA, "captured_at", "frames", "late_frames", "people"])
    for direction in ("entries", "exits"):
        counts = counts.append_column(direction, pa.repeat(0, len(rows)))
    return TrackingOutput(
        _timed(counts),
        _unique(_unnest(rows, "crossings", RUN), CROSSING_KEY, "min"),
        _unique(_unnest(rows, "visits", RUN), VISIT_KEY, "max"),
        _unnest(rows, "queues", CAMERA),
        _unnest(rows, "staff", RUN),
    )


def _unique(rows: pa.Table, key: tuple[str, ...], which: Literal["min", "max"]) -> pa.Table:
    """One row for each key: the first of its rows (min), or the last (max)."""
    numbered = rows.append_column("number", pa.array(range(len(rows)), pa.int64()))
    kept = numbered.group_by(key).aggregate([("number", which)])[f"number_{which}"]
    return rows.take(kept.combine_chunks().sort())


def _unnest(rows: pa.Table, name: str, keep: tuple[str, ...]) -> pa.Table:
    """One row per element of a list column, with the columns `keep` of its row."""
    lists = rows[name].combine_chunks()
    found = rows.select(keep).take(pc.list_parent_indices(lists))
    elements = pc.list_flatten(lists)
    if not pa.types.is_struct(elements.type):
        return found.append_column("track_id", elements)
    for field, column in zip(elements.type.names, elements.flatten(), strict=True):
        found = found.append_column(field, column)
    return _timed(found)


def _timed(rows: pa.Table) -> pa.Table:
    for name in _TIMES:
        if name in rows.column_names:
            at = rows.column_names.index(name)
            rows = rows.set_column(at, name, rows[name].cast(pa.timestamp("us", "UTC")))
    return rows

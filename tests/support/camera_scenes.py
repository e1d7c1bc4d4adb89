"""Scenes before B01-entrance as detection events, and the results of tracking without Spark.

The line of B01-entrance is at x = 0.65; who crosses it from left to right has entered. Its
queue is between x = 0.35 and 0.6, and between y = 0.25 and 0.5. See `conf/stores/demo.toml`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pyarrow as pa

from conf.stores import Stores
from streaming.transforms.footfall import (
    CROSSING_KEY,
    RUN,
    VISIT_KEY,
    to_output,
    track_frames,
)
from streaming.transforms.silver_detections import frames, validated_detections
from streaming.transforms.tracks import CameraState, Rules, layouts_by_camera
from tests.support.builders import as_json, detection, detection_event
from tests.support.messages import Sent, to_rows

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
CAMERA_ID = "B01-entrance"
SKEW = timedelta(hours=1)
Person = tuple[Any, float, float]
"""track_id and the position of the feet; the scene has the times."""

TEXT, COUNT, FLAG = pa.string(), pa.int64(), pa.bool_()
_LAYOUT = {"is_staff": FLAG, "layout_version": pa.int32()}
_CROSSING = dict.fromkeys(("track_id", "line_id", "kind", "direction"), TEXT)
_GROUP = {"group_id": TEXT, "group_entered_at": COUNT}
_VISIT = dict.fromkeys(("track_id", "zone_id", "kind"), TEXT)
OUTPUT_SCHEMA = pa.schema(
    {
        **dict.fromkeys(RUN, TEXT),
        **dict.fromkeys(("captured_at", "frames", "late_frames", "people"), COUNT),
        "crossings": pa.list_(pa.struct(_CROSSING | {"crossed_at": COUNT} | _LAYOUT | _GROUP)),
        "visits": pa.list_(
            pa.struct(_VISIT | {"entered_at": COUNT, "exited_at": COUNT, "is_open": FLAG} | _LAYOUT)
        ),
        "queues": pa.list_(pa.struct({"zone_id": TEXT, "captured_at": COUNT, "people": COUNT})),
        "staff": pa.list_(TEXT),
    }
)
"""`footfall.OUTPUT_DDL` in Arrow, without the position."""


def box(x: float, y: float, width: float) -> tuple[float, float, float, float]:
    """The box of somebody whose feet are at (x, y), three times as high in pixels as wide."""
    height = min(y, 3 * width * 4 / 3)
    return max(x - width / 2, 0), y - height, min(x + width / 2, 1), y


def scene(
    *people: Sequence[Person],
    fps: float = 5.0,
    label: str = "person",
    width: float = 0.08,
    **fields: Any,
) -> list[dict[str, Any]]:
    """One event for each frame: `fps` frames a second from 10:00, everybody with that label.

    Args:
        people: of each frame.
        fps: infinite: all frames have one time stamp.
        label: the class of all objects.
        width: of everybody's box.
        fields: of all events.
    """
    return [
        detection_event(
            frame_index=index,
            captured_at=f"{TEN + timedelta(seconds=index / fps):%Y-%m-%dT%H:%M:%S.%fZ}",
            detections=[
                detection(
                    **{"track_id": track, "class": label},
                    bbox=[round(v, 6) for v in box(x, y, width)],
                )
                for track, x, y in here
            ],
            **fields,
        )
        for index, here in enumerate(people)
    ]


def way(track: Any, *xs: float, y: float = 0.6) -> list[list[Person]]:
    """Frames of one person who is at each x in turn."""
    return [[(track, x, y)] for x in xs]


def steps(start: float, end: float, count: int) -> list[float]:
    """`count` places at equal distances, both ends included."""
    return [start + (end - start) * n / (count - 1) for n in range(count)]


def together(*ways: Sequence[Sequence[Person]]) -> list[list[Person]]:
    """Several ways in one picture, each from the first frame on."""
    length = max(len(one) for one in ways)
    return [[p for one in ways if n < len(one) for p in one[n]] for n in range(length)]


@dataclass(frozen=True)
class ParsedFrame:
    """The used columns of a row of `silver_detections.FRAMES_SCHEMA`."""

    frame: str
    topic: str = "detections"
    partition: int = 0
    position: str = ""


@dataclass
class Seen:
    """Stored rows of a scene: one for each key, the first of a crossing, the last of a visit.

    Attributes:
        crossings: `footfall.CROSSING_KEY` -> the row.
        visits: `footfall.VISIT_KEY` -> the row.
        queue: the queue length of each frame.
        rejected: number of frames that failed a rule.
        keys: track, line and time of every crossing in order, repeated ones included.
        names: after each batch, the names of all tracks that may continue.
    """

    crossings: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    visits: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    rejected: int = 0
    keys: list[tuple[Any, ...]] = field(default_factory=list)
    names: list[list[str]] = field(default_factory=list)

    def count(self, direction: str) -> int:
        return sum(c["direction"] == direction for c in self.crossings.values())

    @property
    def counts(self) -> tuple[int, int]:
        """Entries and exits."""
        return self.count("entry"), self.count("exit")

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Store the rows of one batch."""
        self.keys += [(c[0], c[1], c[4]) for row in rows for c in row["crossings"]]
        output = to_output(pa.Table.from_pylist(rows, schema=OUTPUT_SCHEMA))
        for row in output.crossings.to_pylist():
            self.crossings.setdefault(tuple(row[name] for name in CROSSING_KEY), row)
        for row in output.visits.to_pylist():
            self.visits[tuple(row[name] for name in VISIT_KEY)] = row
        self.queue += output.queues["people"].to_pylist()


def follow(stores: Stores, events: Iterable[dict[str, Any]], *, cuts: Sequence[int] = ()) -> Seen:
    """The rows that the stream stores for the events of one run of B01-entrance.

    Args:
        stores: the chain of the demo.
        events: in the order of the topic.
        cuts: numbers of messages before which another batch begins.
    """
    sent = list(events)
    good = parsed(stores, sent)
    seen = follow_frames(stores, good, cuts=cuts)
    seen.rejected = len(sent) - len(good)
    return seen


def parsed(stores: Stores, events: Iterable[dict[str, Any]]) -> list[ParsedFrame]:
    """The good frames of the events, in the order of the topic."""
    rows = to_rows("detections", [Sent(as_json(event)) for event in events])
    validated = frames(validated_detections(stores, SKEW)(rows)).to_pylist()
    return [ParsedFrame(row["frame"]) for row in validated if row["frame"]]


def follow_frames(stores: Stores, run: Sequence[ParsedFrame], *, cuts: Sequence[int] = ()) -> Seen:
    """The same for parsed frames; the state is converted to text and back between batches."""
    seen, text = Seen(), None
    for begin, end in pairwise([0, *sorted(cuts), len(run)]):
        camera = CameraState(layouts_by_camera(stores)[CAMERA_ID], Rules(), text)
        rows = track_frames(("B01", CAMERA_ID, "run-1"), run[begin:end], camera.run("run-1", 0))
        seen.add(list(rows))
        text = camera.to_text()
        seen.names.append([t[0] for k in ("live", "lost") for t in _tracks(text, k)])
    return seen


def _tracks(text: str, which: str) -> list[list[Any]]:
    ((_, state),) = json.loads(text).values()
    return list(state[which].values())

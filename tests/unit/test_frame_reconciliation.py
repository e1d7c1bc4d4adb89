"""Every published frame is everywhere, once: in bronze, in silver and in its minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
from msgspec.structs import replace as change

from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import (
    FootfallMinute,
    FrameEvent,
    ObservedFrames,
    TrackedBox,
    parse_frame,
    reconcile_cameras,
    reconcile_frames,
)
from quality.order_observer import RunStart
from streaming.source import SOURCE_SCHEMA
from tests.support.builders import as_json, detection, detection_event

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
ENTRANCE, TILL = "B01-entrance", "B01-till"
TOPICS = {ENTRANCE: "detections", TILL: "persistent://retail/metadata/events"}
PUBLISHED = {ENTRANCE: 3, TILL: 2}


def frames(camera_id: str, count: int, people: int = 2) -> list[FrameEvent]:
    topic = TOPICS[camera_id] + ("-partition-1" if camera_id == TILL else "")
    boxes = tuple(TrackedBox(f"person-{n}") for n in range(people))
    return [
        FrameEvent(
            *("B01", camera_id, "run", index, NOON + timedelta(seconds=index / 5), boxes),
            topic,
            f"{topic}/0/{index}",
        )
        for index in range(count)
    ]


SENT = [*frames(ENTRANCE, 3), *frames(TILL, 2, 1)]


def perfect(sent: Sequence[FrameEvent]) -> ObservedFrames:
    """Tables that hold exactly what was sent."""
    minutes = Counter(frame.minute for frame in sent)
    return ObservedFrames(
        bronze=sent,
        boxes=[box for frame in sent for box in frame.boxes],
        quarantined=[],
        minutes={minute: FootfallMinute(count) for minute, count in minutes.items()},
    )


WHOLE = perfect(SENT)


def faults(found: ObservedFrames) -> list[str]:
    return reconcile_cameras(PUBLISHED, TOPICS, found).faults


def test_a_run_of_which_all_is_there_once_has_no_faults() -> None:
    assert faults(WHOLE) == []
    found = reconcile_frames(SENT, WHOLE)
    assert found.ok
    assert found.numbers == {
        "bronze_frames": 5,
        "silver_rows": 8,
        "frames_counted": 5,
        "quarantined": 0,
        "entries": 0,
        "exits": 0,
    }


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (
            replace(WHOLE, boxes=WHOLE.boxes[1:]),
            "missing: boxes in silver.detections: 1 (such as B01-entrance/run/0/person-0)",
        ),
        (
            replace(WHOLE, boxes=[*WHOLE.boxes, WHOLE.boxes[0]]),
            "more than once in silver.detections: 1 (such as B01-entrance/run/0/person-0)",
        ),
        (
            replace(WHOLE, boxes=[*WHOLE.boxes, "B01-till/run/1/nobody"]),
            "boxes that nobody sent in silver.detections: 1 (such as B01-till/run/1/nobody)",
        ),
        (
            replace(WHOLE, bronze=[change(f, stored_topic="detections") for f in SENT]),
            "B01-till: came over other topics: 1 (such as detections)",
        ),
        (replace(WHOLE, quarantined=["detections/0/9"]), "published, yet quarantined: 1"),
        (
            perfect([*SENT, change(SENT[0], camera_id="B03-entrance")]),
            "cameras that nobody played: 1 (such as B03-entrance)",
        ),
    ],
)
def test_what_does_not_hold_is_one_sentence(found: ObservedFrames, fault: str) -> None:
    (sentence,) = faults(found)
    assert sentence.startswith(fault)


def test_a_frame_that_is_lost_everywhere_is_missed_by_what_was_published() -> None:
    assert faults(perfect(SENT[1:])) == [
        "B01-entrance: 3 frames published, 2 rows in bronze",
        "B01-entrance: 3 frames published, 2 different frames in bronze",
        "B01-entrance: 3 frames published, 2 frames counted, late or quarantined",
    ]


def test_a_frame_that_bronze_lost_is_named_when_the_sent_frames_are_known() -> None:
    found = reconcile_frames(SENT, replace(WHOLE, bronze=SENT[1:]))
    assert found.faults == ["missing: frames in bronze.detections: 1 (such as B01-entrance/run/0)"]
    assert found.ids("missing") == {"B01-entrance/run/0"}


def test_a_frame_in_the_place_of_another_is_no_substitute() -> None:
    found = reconcile_cameras(PUBLISHED, TOPICS, replace(WHOLE, bronze=[SENT[1], *SENT[1:]]))
    assert "B01-entrance: 3 frames published, 2 different frames in bronze" in found.faults
    assert found.ids("doubled") == {"B01-entrance/run/1"}


def test_a_minute_that_counts_a_frame_less_or_a_late_one_is_named() -> None:
    minute = (ENTRANCE, NOON)
    lost = replace(WHOLE, minutes={**WHOLE.minutes, minute: FootfallMinute(2)})
    differs, counted = faults(lost)
    assert differs.startswith("minutes of footfall_minute with another number of frames: 1 (such")
    assert counted == "B01-entrance: 3 frames published, 2 frames counted, late or quarantined"
    late = replace(WHOLE, minutes={**WHOLE.minutes, minute: FootfallMinute(2, 1)})
    assert "1 frames came too late to be followed" in faults(late)


def test_a_camera_without_any_frame_is_reported_as_lost() -> None:
    assert len(faults(perfect([]))) == 6


def test_a_frame_is_read_from_its_event_and_anything_else_is_none() -> None:
    event = detection_event(captured_at="2024-05-01T12:00:00.200000Z", detections=[detection()])
    frame = parse_frame(as_json(event), "detections", "detections/0/7")
    assert frame is not None
    assert frame.captured_at == NOON + timedelta(seconds=0.2)
    assert frame.minute == (event["camera_id"], NOON)
    assert (frame.stored_topic, frame.message_id) == ("detections", "detections/0/7")
    assert len(frame.boxes) == 1
    bad = as_json({**event, "captured_at": "2024-05-01T12:00:00"})
    for value in (None, b"", b"[]", b"7", b"[" * 5000, b"\xff", bad):
        assert parse_frame(value) is None


# -- what lake and Postgres hold of one run --------------------------------------------------------


class Stored:
    """A lake and a serving database with one message per offset of the topic `detections`."""

    def __init__(self, offsets: range, counted: int) -> None:
        self.offsets, self.counted = offsets, counted

    def read(self, table: str, columns: Sequence[str], _where: object) -> pa.Table:
        if table == "quarantine.detections":
            return SOURCE_SCHEMA.empty_table().select(columns)
        rows = [self._row(offset) for offset in self.offsets]
        return pa.table({name: [row[name] for row in rows] for name in columns})

    def _row(self, offset: int) -> dict[str, Any]:
        event = detection_event(frame_index=offset, detections=[detection()])
        value = {"value": as_json(event), "track_id": event["detections"][0]["track_id"]}
        at = {"topic": "detections", "partition": 0, "position": f"{offset:020d}"}
        return {**event, **value, **at}

    def fetch(self, _sql: str, _parameters: object) -> list[dict[str, Any]]:
        row = {"camera_id": ENTRANCE, "minute": NOON, "frames": self.counted}
        return [{**row, "late_frames": 0, "entries": 0, "exits": 0}]


def test_a_run_is_what_topics_and_tables_gained_since_its_start() -> None:
    stored: Any = Stored(range(10), counted=10)
    whole = FrameObserver(stored, stored)
    assert [frame.frame_index for frame in whole.bronze()] == list(range(10))
    assert (len(whole.read().boxes), whole.counted(), whole.counted(TILL)) == (10, 10, 0)

    before = {(ENTRANCE, NOON): FootfallMinute(6)}
    for start in (
        RunStart(NOON, {("detections", 0): 7}, minutes=before),  # Kafka: the next offset
        RunStart(NOON, {}, {("detections", 0): f"{6:020d}"}, before),  # the newest one there
    ):
        run = FrameObserver(stored, stored, start)
        assert [frame.frame_index for frame in run.bronze()] == [7, 8, 9]
        assert (len(run.read().boxes), run.counted()) == (3, 4)
        assert not run.is_behind(3)
        assert run.is_behind(5)

"""Events fit the contract, and contain nothing else."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import conf
from inference_service.detections import Detections
from inference_service.events import EventBuilder, RunIdentity, Runtime, encode
from inference_service.frames import Frame

NOON = datetime(2026, 1, 5, 12, 0, 0, 250_000, tzinfo=timezone.utc)
CONTRACT = json.loads(
    (Path(conf.__file__).parent / "contracts" / "detection_event.v1.json").read_text()
)
VALIDATOR = jsonschema.Draft202012Validator(
    CONTRACT, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
)
BUILDER = EventBuilder("B01", "B01-entrance", Runtime("fake", "script", "bytetrack", "cpu"))


def event(*boxes: list[float], at: datetime = NOON) -> dict[str, Any]:
    """The event of a 200 x 100 picture, as it comes out of the wire format."""
    n = len(boxes)
    ids = tuple(str(i + 1) for i in range(n))
    seen = Detections(np.reshape(boxes, (n, 4)), np.full(n, 0.9), ("person",) * n, ids)
    frame = Frame(np.zeros((100, 200, 3), np.uint8), 7, at)
    built = json.loads(encode(BUILDER.build(frame, "run", seen, 1.23456)))
    VALIDATOR.validate(built)
    return built


def test_an_event_fits_the_contract() -> None:
    one = event([20, 10, 60, 90])
    assert one["captured_at"] == "2026-01-05T12:00:00.250000Z"
    assert one["image"] == {"width": 200, "height": 100}
    (seen,) = one["detections"]
    assert seen.pop("track_id")
    assert seen == {"class": "person", "confidence": 0.9, "bbox": [0.1, 0.1, 0.3, 0.9]}
    assert one["runtime"]["inference_ms"] == 1.235
    assert BUILDER.key == b"B01/B01-entrance"


def test_an_empty_picture_makes_an_event_too() -> None:
    assert event()["detections"] == []


def test_boxes_are_clipped_to_the_picture() -> None:
    assert event([-20, -5, 260, 120])["detections"][0]["bbox"] == [0, 0, 1, 1]


def test_boxes_without_area_inside_the_picture_are_dropped() -> None:
    outside, flat, thin = [210, 0, 230, 50], [0, 50, 40, 50], [10, 10, 10.0001, 50]
    assert len(event(outside, flat, thin, [0, 0, 10, 10])["detections"]) == 1


def test_times_are_written_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    assert event(at=NOON.astimezone(east))["captured_at"] == "2026-01-05T12:00:00.250000Z"


def test_every_event_has_its_own_id() -> None:
    assert event()["event_id"] != event()["event_id"]


def track_id(builder: EventBuilder, run_id: str = "run") -> str:
    """The id in the event of the tracker's id 1."""
    seen = Detections(np.array([[20.0, 10.0, 60.0, 90.0]]), np.ones(1), ("person",), ("1",))
    frame = Frame(np.zeros((100, 200, 3), np.uint8), 7, NOON)
    return str(builder.build(frame, run_id, seen, 1.0)["detections"][0]["track_id"])


@pytest.mark.requirement("V8")
def test_a_track_keeps_its_id_through_a_run_and_no_longer() -> None:
    elsewhere = EventBuilder("B01", "B01-till", BUILDER.runtime, BUILDER._salt)
    restarted = EventBuilder("B01", "B01-entrance", BUILDER.runtime)

    assert track_id(BUILDER) == track_id(BUILDER)
    ids = [track_id(BUILDER), track_id(BUILDER, "tomorrow"), track_id(elsewhere)]
    assert len({*ids, track_id(restarted), "1"}) == 5


@pytest.mark.requirement("V8")
def test_the_secret_of_the_ids_is_in_no_event_and_in_no_log() -> None:
    assert BUILDER._salt.hex() not in json.dumps(event([20, 10, 60, 90]))
    assert "salt" not in repr(BUILDER)


def test_detections_without_track_ids_are_refused() -> None:
    frame = Frame(np.zeros((10, 10, 3), np.uint8), 0, NOON)
    with pytest.raises(ValueError, match="tracker"):
        BUILDER.build(frame, "run", Detections.people([[0, 0, 5, 5]], [0.9]), 1)


def taken(at: datetime, size: tuple[int, int] = (10, 10)) -> Frame:
    return Frame(np.zeros((*size, 3), np.uint8), 0, at)


def test_a_run_ends_at_midnight_in_utc_and_its_id_is_random() -> None:
    run, other = RunIdentity(), RunIdentity()
    first = run.run_id
    assert first != other.run_id
    assert not run.roll(taken(NOON))
    assert not run.roll(taken(NOON + timedelta(hours=11)))
    assert run.run_id == first
    assert run.roll(taken(NOON + timedelta(hours=12)))
    assert run.run_id != first


def test_a_clock_that_jumps_back_begins_a_new_run() -> None:
    run = RunIdentity()
    first = run.run_id
    run.roll(taken(NOON))
    assert not run.roll(taken(NOON))
    assert run.roll(taken(NOON - timedelta(seconds=1)))
    assert run.run_id != first


def test_a_picture_of_another_size_begins_a_new_run() -> None:
    run = RunIdentity()
    first = run.run_id
    run.roll(taken(NOON))
    assert run.roll(taken(NOON + timedelta(seconds=1), size=(20, 10)))
    assert run.run_id != first

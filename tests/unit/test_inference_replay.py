"""Recorded events are published again at any speed, with a report of what is no event."""

from __future__ import annotations

import json
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from conf.errors import StorelakeError
from inference_service.publishers.memory import MemoryEventPublisher
from inference_service.replay import (
    AS_FAST_AS_POSSIBLE,
    SHOWN,
    RecordingError,
    Shift,
    open_recording,
    play,
)

pytestmark = pytest.mark.requirement("V5")

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def line(number: int, **changes: Any) -> bytes:
    """One event a second; two cameras take turns."""
    event = {
        "event_id": f"e-{number}",
        "schema_version": 1,
        "branch_id": "B01",
        "camera_id": "B01-till" if number % 2 else "B01-entrance",
        "run_id": "monday",
        "frame_index": number,
        "captured_at": (NOON + timedelta(seconds=number)).isoformat(),
        "detections": [],
        **changes,
    }
    return json.dumps(event).encode()


def record(folder: Path, *lines: bytes) -> Path:
    path = folder / "recorded.ndjson"
    path.write_bytes(b"".join(one + b"\n" for one in lines))
    return path


class Clock:
    """Time that passes only while the replay waits."""

    def __init__(self, stop: threading.Event) -> None:
        self.seconds, self._stop = 100.0, stop
        self.waits: list[float] = []
        stop.wait = self.wait  # type: ignore[method-assign, assignment]

    def __call__(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.seconds += seconds
        return self._stop.is_set()


def test_without_a_shift_every_line_is_published_as_it_stands(tmp_path: Path) -> None:
    lines = [line(n, more="Straße") for n in range(4)]
    publisher = MemoryEventPublisher()
    recording = open_recording(record(tmp_path, *lines))
    assert play(recording, publisher, speed=AS_FAST_AS_POSSIBLE) == 4
    keys = [b"B01/B01-entrance", b"B01/B01-till"] * 2
    assert publisher.messages == list(zip(keys, lines, strict=True))


@pytest.mark.parametrize(("speed", "pause"), [(1.0, 1.0), (10.0, 0.1), (0.5, 2.0)])
def test_events_keep_their_distance_divided_by_the_speed(
    tmp_path: Path, speed: float, pause: float
) -> None:
    stop = threading.Event()
    clock = Clock(stop)
    recording = open_recording(record(tmp_path, *map(line, range(4))))
    play(recording, MemoryEventPublisher(), speed=speed, stopping=stop, clock=clock)
    assert clock.waits == pytest.approx([pause] * 3)


def test_as_fast_as_possible_waits_for_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    clock = Clock(stop)
    recording = open_recording(record(tmp_path, *map(line, range(4))))
    play(recording, MemoryEventPublisher(), speed=AS_FAST_AS_POSSIBLE, stopping=stop, clock=clock)
    assert clock.waits == []


def test_a_clock_that_jumped_back_in_the_recording_stops_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    clock = Clock(stop)
    path = record(tmp_path, line(5), line(0), line(6))
    publisher = MemoryEventPublisher()
    play(open_recording(path), publisher, stopping=stop, clock=clock)
    assert [json.loads(v)["frame_index"] for _, v in publisher.messages] == [5, 0, 6]
    assert clock.waits == pytest.approx([5, 1])


@pytest.mark.parametrize(
    ("speed", "first"), [(1.0, 0), (2.0, -10), (AS_FAST_AS_POSSIBLE, -20), (0.5, 0)]
)
def test_shifted_to_now_no_frame_lies_in_the_future_and_distances_remain(
    tmp_path: Path, speed: float, first: int
) -> None:
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)
    recording = open_recording(record(tmp_path, *(line(n) for n in (0, 5, 20))))
    publisher = MemoryEventPublisher()
    play(
        recording,
        publisher,
        speed=AS_FAST_AS_POSSIBLE,
        shift=Shift.to_now(recording, speed, now),
    )
    times = [json.loads(v)["captured_at"] for _, v in publisher.messages]
    start = now + timedelta(seconds=first)
    expected = [start + timedelta(seconds=n) for n in (0, 5, 20)]
    assert times == [at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for at in expected]


@pytest.mark.requirement("V8")
def test_a_shifted_replay_is_a_run_of_its_own(tmp_path: Path) -> None:
    path = record(tmp_path, line(0), line(1), line(2, run_id="tuesday"))
    recording = open_recording(path)
    shift = Shift.to_now(recording, 1.0, NOON)
    publisher = MemoryEventPublisher()
    play(recording, publisher, speed=AS_FAST_AS_POSSIBLE, shift=shift)
    events = [json.loads(value) for _, value in publisher.messages]
    runs = [event["run_id"] for event in events]
    assert runs[0] == runs[1] != runs[2]
    assert not {"monday", "tuesday"} & {*runs}
    assert len({event["event_id"] for event in events} | {"e-0", "e-1", "e-2"}) == 6
    assert [event["frame_index"] for event in events] == [0, 1, 2]


def test_broken_lines_are_skipped_and_reported_with_number_and_reason(tmp_path: Path) -> None:
    odd = line(5, frame_index=float("nan"))
    path = record(
        tmp_path,
        line(0),
        b'{"event_id": "cut',
        b"[]",
        b"",
        line(1, captured_at="yesterday"),
        line(2, captured_at="2024-05-01T12:00:00"),
        line(3, camera_id=None),
        line(4, captured_at="0001-01-01T00:00:00+10:00"),
        b"[" * 100_000,
        odd,
        line(6),
    )
    recording = open_recording(path)
    assert [(fault.line, fault.reason) for fault in recording.faults] == [
        (2, 'not JSON, perhaps cut off: {"event_id": "cut'),
        (3, "not a JSON object"),
        (5, "captured_at is no time: yesterday"),
        (6, "captured_at has no time zone"),
        (7, "camera_id is missing, or no text"),
        (8, "captured_at is no time: 0001-01-01T00:00:00+10:00"),
        (9, f"not JSON, perhaps cut off: {'[' * SHOWN}"),
        (10, f"not JSON, perhaps cut off: {odd[:SHOWN].decode()}"),
    ]
    publisher = MemoryEventPublisher()
    assert play(recording, publisher, speed=AS_FAST_AS_POSSIBLE) == 2


@pytest.mark.parametrize("odd", [b"1e999", b'"\\ud800"'])
def test_a_line_that_could_not_be_written_again_is_skipped(tmp_path: Path, odd: bytes) -> None:
    path = record(tmp_path, line(0), line(1)[:-1] + b', "odd": ' + odd + b"}", line(2))
    recording = open_recording(path)
    assert [fault.line for fault in recording.faults] == [2]
    shift = Shift.to_now(recording, AS_FAST_AS_POSSIBLE, NOON)
    publisher = MemoryEventPublisher()
    assert play(recording, publisher, speed=AS_FAST_AS_POSSIBLE, shift=shift) == 2


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "it is empty"), (b"\xff\xfe pixels", "line 1: not JSON"), (None, "cannot be read")],
)
def test_a_file_without_an_event_is_one_sentence(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "recorded.ndjson"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=why):
        open_recording(path)


def test_a_stopped_replay_ends_where_it_is(tmp_path: Path) -> None:
    stop = threading.Event()
    recording = open_recording(record(tmp_path, *map(line, range(5))))
    publisher = MemoryEventPublisher()

    def report(count: int) -> None:
        if count == 2:
            stop.set()

    assert play(recording, publisher, speed=1_000, stopping=stop, report=report) == 2


def test_the_command_reports_what_it_skips_before_it_needs_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = MemoryEventPublisher()
    monkeypatch.setattr("inference_service.publishers.open_publisher", lambda *_, **__: publisher)
    path = record(tmp_path, line(0), b"{", line(1))
    done = CliRunner().invoke(app, ["replay", str(path), "--as-fast-as-possible"])
    assert done.exit_code == 0, done.output
    assert "line 2 is skipped: not JSON" in done.output
    assert "2 of 2 events published, 2 acknowledged" in done.output
    assert publisher.closed


def test_a_replay_to_a_file_names_the_option_that_replay_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORELAKE_INFERENCE__PUBLISHER", "ndjson")
    done = CliRunner().invoke(app, ["replay", str(record(tmp_path, line(0)))])
    assert isinstance(done.exception, StorelakeError)
    assert "pass --broker kafka or pulsar" in str(done.exception)


def test_the_command_ends_with_one_sentence_where_there_is_no_file(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["replay", str(tmp_path / "nowhere.ndjson")])
    assert isinstance(done.exception, StorelakeError)

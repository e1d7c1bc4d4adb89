"""Plays recorded events again, at any speed and without a model.

A recording is NDJSON, as `--publisher ndjson` writes it: one event a line. It is read twice: first
to check every line and to find its first and last moment, then to publish, in order of the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import msgspec

from conf.errors import StorelakeError
from inference_service.events import encode
from inference_service.publishers import EventPublisher

AS_FAST_AS_POSSIBLE = float("inf")
MOST_FAULTS = 1_000
SHOWN = 60  # characters of a broken line


class RecordingError(StorelakeError):
    """The recording cannot be read, or has no event in it."""


@dataclass(frozen=True)
class SkippedLine:
    """A line that is no event: its number, from 1, and what is wrong."""

    line: int
    reason: str


@dataclass(frozen=True)
class Recorded:
    """One event as it stands in the file.

    Attributes:
        value: its line.
        event: the same, parsed.
        captured_at: when the frame was taken, UTC.
        key: of the message: what is ordered, is one camera.
    """

    value: bytes
    event: dict[str, Any]
    captured_at: datetime
    key: bytes


@dataclass
class Recording:
    """What the first reading found.

    Attributes:
        path: the file.
        events: good lines.
        first, last: the earliest and the latest moment, UTC.
        skipped: broken lines.
        faults: the first `MOST_FAULTS` of them.
    """

    path: Path
    events: int
    first: datetime
    last: datetime
    skipped: int = 0
    faults: list[SkippedLine] = field(default_factory=list)


def open_recording(path: Path) -> Recording:
    """Read a recording through.

    Raises:
        RecordingError: it cannot be read, or none of its lines is an event.
    """
    found: Recording | None = None
    faults: list[SkippedLine] = []
    skipped = 0
    for line in _lines(path):
        if isinstance(line, SkippedLine):
            skipped += 1
            faults += [line] * (skipped <= MOST_FAULTS)
        elif found is None:
            found = Recording(path, 1, line.captured_at, line.captured_at)
        else:
            found.events += 1
            found.first = min(found.first, line.captured_at)
            found.last = max(found.last, line.captured_at)
    if found is None:
        why = f"line {faults[0].line}: {faults[0].reason}" if faults else "it is empty"
        raise RecordingError(f"{path} has no event in it ({why}).")
    found.skipped, found.faults = skipped, faults
    return found


def _lines(path: Path) -> Iterator[Recorded | SkippedLine]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                value = line.strip()
                if value:
                    yield _read(value, number)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}.") from error


def _read(value: bytes, number: int) -> Recorded | SkippedLine:
    try:
        event = msgspec.json.decode(value)  # only what can be encoded again, as in `Shift`
    except (ValueError, RecursionError):
        start = value[:SHOWN].decode("utf-8", "replace")
        return SkippedLine(number, f"not JSON, perhaps cut off: {start}")
    if not isinstance(event, dict):
        return SkippedLine(number, "not a JSON object")
    for name in ("branch_id", "camera_id", "captured_at", "run_id"):
        if not isinstance(event.get(name), str):
            return SkippedLine(number, f"{name} is missing, or no text")
    try:
        captured_at = datetime.fromisoformat(event["captured_at"].replace("Z", "+00:00"))
        if captured_at.tzinfo is None:
            return SkippedLine(number, "captured_at has no time zone")
        captured_at = captured_at.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return SkippedLine(number, f"captured_at is no time: {event['captured_at'][:SHOWN]}")
    key = f"{event['branch_id']}/{event['camera_id']}".encode()
    return Recorded(value, event, captured_at, key)


@dataclass
class Shift:
    """Moves a recording to the present: a new run whose last frame is taken when it is sent.

    All times move by the same amount, so that walking speeds are kept in a fast replay, and no time
    is in the future. Events and runs get new ids: else sinks would treat them as repetitions, and
    track ids could be joined across days.
    """

    by: timedelta
    runs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def to_now(cls, recording: Recording, speed: float, now: datetime) -> Shift:
        """The shift of a replay that starts now."""
        ahead = (recording.last - recording.first) * max(0.0, 1 - 1 / speed)
        return cls(now - recording.first - ahead)

    def apply(self, one: Recorded) -> bytes:
        """The event as a new line."""
        captured_at = one.captured_at + self.by
        return encode(
            {
                **one.event,
                "event_id": str(uuid4()),
                "run_id": self.runs.setdefault(one.event["run_id"], uuid4().hex),
                "captured_at": captured_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
        )


def play(
    recording: Recording,
    publisher: EventPublisher,
    *,
    speed: float = 1.0,
    shift: Shift | None = None,
    stopping: Event | None = None,
    report: Callable[[int], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Publish a recording; returns how many events were handed to the publisher.

    Args:
        recording: of `open_recording`.
        publisher: closed by the caller.
        speed: of the recording's own time; `AS_FAST_AS_POSSIBLE` waits for nothing.
        shift: None publishes every line as it stands.
        stopping: once set, the rest is not sent.
        report: called with the number of events so far.
        clock: seconds.

    Raises:
        PublishError: an event was not taken.
        RecordingError: the file changed meanwhile.
    """
    stop = stopping or Event()
    started, count = clock(), 0
    for one in _lines(recording.path):
        if isinstance(one, SkippedLine):
            continue
        due = started + (one.captured_at - recording.first).total_seconds() / speed
        while not stop.is_set() and (wait := due - clock()) > 0:
            stop.wait(wait)
        if stop.is_set():
            break
        publisher.publish(one.key, shift.apply(one) if shift else one.value)
        count += 1
        report(count)
    return count

"""One picture with its place and time, and what every source of pictures promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from conf.errors import StorelakeError
from inference_service.detections import Image


class SourceError(StorelakeError):
    """A source cannot be opened; the message is one sentence for the operator."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture.

    Attributes:
        image: BGR, shape (height, width, 3), uint8.
        index: position in the source, from 0; grows, with gaps where pictures were left out.
        captured_at: when it was taken, aware, in UTC.
    """

    image: Image
    index: int
    captured_at: datetime


class FrameSource(Protocol):
    """A stream of pictures, read once by one thread.

    Attributes:
        name: how to speak of it in logs: never with a password.
        live: it cannot be paused, so a reader that falls behind must leave pictures out.
        fps: pictures a second that come out, as far as it is known.
        reconnects: how often it was lost and opened again.
        unreadable: pictures so far that could not be decoded, and were left out.
    """

    name: str
    live: bool
    fps: float
    reconnects: int
    unreadable: int

    def __iter__(self) -> Iterator[Frame]:
        """Pictures in order, until the end or `close`."""
        ...

    def close(self) -> None:
        """End the iteration soon; from any thread, any number of times."""
        ...


class Picker:
    """Chooses pictures by their time: at most `fps` a second, evenly, and of these every Nth.

    The first one is chosen; fps None means no limit. Returning to the pace after a gap takes one
    picture at most.
    """

    def __init__(self, fps: float | None, every: int = 1) -> None:
        self._interval = 1 / fps if fps else 0.0
        self._every = every
        self._due = 0.0
        self._chosen = 0

    def wants(self, seconds: float) -> bool:
        """Whether the next picture is chosen; `seconds` since the first one, rising."""
        # A quarter early: stamps are rounded, and cameras do not keep time exactly.
        if seconds < self._due - self._interval / 4:
            return False
        self._due = max(self._due + self._interval, seconds)
        self._chosen += 1
        return (self._chosen - 1) % self._every == 0

"""One person in one picture after another: position, size, and state at each line and zone.

Coordinates and sizes are shares of the picture, times are microseconds since 1970 in UTC. The
measure of all distances is a body: the width of a standing person's box. It is the larger of the
width of the box and a third of its height, so that neither the edge of the picture nor a shelf
before the legs makes it much smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Person = tuple[str, float, float, float, float]
"""track_id, anchor (x, y), and the length of a body along x and along y, of one person in one
frame."""


class Spot(NamedTuple):
    """Position of a person's feet at a time, and the length of a body along x and along y."""

    x: float
    y: float
    at: int
    width: float
    height: float


class LineState(NamedTuple):
    """State of a track at a line: the confirmed side, and the one that it may be changing to.

    Sides: -1 left, 0 undecided, 1 right. (x, y) is the last position clearly on the confirmed side;
    (new_x, new_y, new_at) the first of `frames` frames in a row on the side `new`. After a
    crossing the track is near the line for `near` more frames in a row that are clear of it.
    """

    side: int
    x: float
    y: float
    new: int = 0
    frames: int = 0
    new_x: float = 0.0
    new_y: float = 0.0
    new_at: int = 0
    near: int = 0


class ZoneState(NamedTuple):
    """State of a track in a zone; a visit from `Rules.confirm` frames on."""

    entered_at: int
    seen_at: int
    frames: int


@dataclass
class Track:
    """One person: the last frame, and the states by id of line, zone and entrance.

    Attributes:
        person: the name in crossings and visits: the id of the box, or of an earlier one.
        seen_at: time of the last frame; x, y, width and height are those of its `Spot`.
        step_x, step_y: mean movement from one frame to the next, newer ones weighted more.
        staff: whether the person is no visitor.
        passages: entrance of several lines -> direction and line of the last crossing.
    """

    person: str
    seen_at: int
    x: float
    y: float
    width: float
    height: float
    step_x: float = 0.0
    step_y: float = 0.0
    staff: bool = False
    line_states: dict[str, LineState] = field(default_factory=dict)
    zone_states: dict[str, ZoneState] = field(default_factory=dict)
    passages: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def spot(self) -> Spot:
        """The last position."""
        return Spot(self.x, self.y, self.seen_at, self.width, self.height)

    def move(self, spot: Spot) -> None:
        """Take the position of the next frame."""
        x, y, at, width, height = spot
        self.step_x = (self.step_x + x - self.x) / 2
        self.step_y = (self.step_y + y - self.y) / 2
        self.x, self.y, self.seen_at, self.width, self.height = x, y, at, width, height


def person(track_id: str, box: Sequence[float], ratio: float) -> Person:
    """The person of one box.

    Args:
        track_id: of the box.
        box: left, top, right and bottom, as shares of the picture.
        ratio: of the picture's width to its height.
    """
    x1, y1, x2, y2 = box
    width = max(x2 - x1, (y2 - y1) / ratio / 3)
    return track_id, (x1 + x2) / 2, y2, width, width * ratio


def load_track(values: Sequence[Any]) -> Track:
    """The track whose `vars` had these values, also through JSON."""
    track = Track(*values)
    track.line_states = {i: LineState(*s) for i, s in track.line_states.items()}
    track.zone_states = {i: ZoneState(*s) for i, s in track.zone_states.items()}
    track.passages = {i: (way, line) for i, (way, line) in track.passages.items()}
    return track

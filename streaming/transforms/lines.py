"""On which side of a line a person is, and when the person has crossed it (docs/adr/0039)."""

from __future__ import annotations

import math
from typing import NamedTuple

from conf.stores import Line
from streaming.transforms.track import LineState, Spot
from udfs.geometry import passes_between, signed_distance

ENTRY, EXIT = "entry", "exit"

MARGIN = 0.2
"""Distance from a line, in bodies, within which the side is undecided."""

CLEAR = 1.5
"""Distance from a line, in bodies, at which a person does not stand on it any more: a step, and the
sway of a person who stands."""

ON_LINE = 0.75
"""Distance from a line, in bodies, within which a new track may be somebody who stands on it. Less
than `CLEAR`, or people whom a camera sees late would never enter."""

BESIDE = 1.0
"""Distance from a line, in bodies, within which the edge of the picture may hide its other side."""


class Crossed(NamedTuple):
    """A crossing: entry or exit, and the first position on the new side."""

    direction: str
    at: int
    x: float
    y: float


def body_across(line: Line, spot: Spot) -> float:
    """Length of a body at right angles to the line.

    A body is a circle in pixels, an ellipse with the half axes `width` and `height` in shares; this
    is its support function in the direction of the normal of the line.
    """
    dx, dy = line.b[0] - line.a[0], line.b[1] - line.a[1]
    return math.hypot(dy * spot.width, dx * spot.height) / math.hypot(dx, dy)


def follow(
    line: Line, before: LineState | None, spot: Spot, confirm: int
) -> tuple[LineState, Crossed | None]:
    """One step of one track at one line: its new state, and the crossing that it confirms, if any.

    Args:
        line: the line.
        before: the state after the previous step; None: the track is new.
        spot: present position of the track.
        confirm: `Rules.confirm`.
    """
    x, y, at = spot.x, spot.y, spot.at
    distance = signed_distance(line.a, line.b, (x, y))
    if (
        before and not before.near and distance * before.side > MARGIN * (spot.width + spot.height)
    ):  # as for most people; a body across a line is never longer than both sides
        return LineState(before.side, x, y), None
    body = body_across(line, spot)
    line_state = before or _begin(line, spot, confirm if _may_stand_on(line, spot) else 0)
    returns = line_state.near > 0 and distance * line_state.side < 0
    undecided = body * (CLEAR if returns else MARGIN)
    side = 0 if abs(distance) < undecided else (1 if distance > 0 else -1)
    if side == 0:
        # Undecided: the confirmed side is kept, and frames on a new side start over.
        return line_state._replace(new=0, frames=0), None
    is_clear = abs(distance) >= body * CLEAR
    if side == line_state.side:
        near = line_state.near and (line_state.near - 1 if is_clear else confirm)
        return LineState(side, x, y, near=near), None
    if side != line_state.new:
        line_state = line_state._replace(new=side, frames=0, new_x=x, new_y=y, new_at=at)
    line_state = line_state._replace(frames=line_state.frames + 1)
    if line_state.frames < confirm:
        return line_state, None
    start, step = (line_state.x, line_state.y), (line_state.new_x, line_state.new_y)
    if line_state.side == 0 or not passes_between(line.a, line.b, start, step):
        return LineState(side, x, y, near=line_state.near), None
    near = confirm - 1 if is_clear else confirm
    return LineState(side, x, y, near=near), Crossed(direction(side), line_state.new_at, *step)


def _begin(line: Line, spot: Spot, near: int) -> LineState:
    """The state of a new track: who begins beside the edge of the picture came in over it.

    Who begins near the line may be somebody who stands on it and was lost for a while.
    """
    return LineState(hidden_side(line, spot), spot.x, spot.y, near=near)


def _may_stand_on(line: Line, spot: Spot) -> bool:
    """Whether a new track may be somebody who stands on the line and has crossed it before.

    At a passing line that does not matter: a track counts once there, wherever it goes.
    """
    distance = abs(signed_distance(line.a, line.b, (spot.x, spot.y)))
    return line.kind != "passing" and distance < body_across(line, spot) * ON_LINE


def direction(side: int) -> str:
    """Of a crossing that ends on this side."""
    return ENTRY if side > 0 else EXIT


def vanish(
    line: Line, line_state: LineState, spot: Spot, step: tuple[float, float], confirm: int
) -> tuple[LineState, Crossed | None]:
    """The track is not seen any more: its state, and the crossing that was not confirmed, if any.

    If it was clear of the line before, it has crossed if its last position is beyond the line, or
    if it walked towards a line of which the other side is out of the picture, and was closer to it
    than a body.

    Args:
        line: the line.
        line_state: the state after the last step.
        spot: the last position.
        step: the last movement.
        confirm: `Rules.confirm`.
    """
    x, y, at = spot.x, spot.y, spot.at
    distance = signed_distance(line.a, line.b, (x, y)) * line_state.side
    margin = body_across(line, spot) * MARGIN
    beyond = signed_distance(line.a, line.b, (x + step[0], y + step[1])) * line_state.side
    leaves = beyond < distance - margin / 2
    hidden = leaves and hidden_side(line, spot) == -line_state.side
    start = (line_state.x, line_state.y)
    if hidden and start == (x, y):
        start = (x - step[0], y - step[1])
    is_known = line_state.side != 0 and line_state.near == 0
    crossed = is_known and (distance <= -margin or hidden)
    if not crossed or not passes_between(line.a, line.b, start, (x, y)):
        return line_state, None
    side = -line_state.side
    return LineState(side, x, y, near=confirm), Crossed(direction(side), at, x, y)


def hidden_side(line: Line, spot: Spot) -> int:
    """The side of a line that is out of the picture, for a person within a body of the line.

    Returns:
        -1 left, 1 right; 0: both sides or none are in the picture, or the person is farther away.
    """
    dx, dy = line.b[0] - line.a[0], line.b[1] - line.a[1]
    length = math.hypot(dx, dy)
    distance = signed_distance(line.a, line.b, (spot.x, spot.y))
    beside = body_across(line, spot) * BESIDE
    if abs(distance) > beside:
        return 0

    def is_hidden(side: int) -> bool:
        away = (side * beside - distance) / length
        x, y = spot.x - dy * away, spot.y + dx * away
        return not (0 <= x <= 1 and 0 <= y <= 1)

    return int(is_hidden(1)) - int(is_hidden(-1))

"""Lines and zones of a camera as shapes on its picture, with labels that fit into it.

Shapes have coordinates of an SVG of WIDTH x HEIGHT, whatever the size of the picture; labels are
HTML, so that a browser wraps their text, and are placed in percent of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from conf.stores import Line, Point, Zone
from conf.stores.reach import entry_arrow

WIDTH, HEIGHT = 800, 600
LEAST_WIDTH = 34.0
"""Percent of the picture that a label may take at least; longer texts wrap."""
ARROW = 46.0
"""Length of the arrow of an entry."""
BESIDE = 2.0
"""Percent of the picture between a line and its label."""


class Label(NamedTuple):
    """Where a text stands, in percent of the picture: its left edge, its width and its middle."""

    left: float
    width: float
    top: float
    align: Literal["left", "center", "right"] = "center"


@dataclass(frozen=True)
class ZoneShape:
    """One zone; `points` are those of its polygon, as SVG has them."""

    zone: Zone
    points: str
    label: Label


@dataclass(frozen=True)
class LineShape:
    """One line; an arrow from its middle to `inside` shows which side is entered, None: neither."""

    line: Line
    a: tuple[int, int]
    b: tuple[int, int]
    middle: tuple[int, int]
    inside: tuple[int, int] | None
    label: Label


def zone_shape(zone: Zone) -> ZoneShape:
    """A zone, whose label is in its middle."""
    corners = [_at(point) for point in zone.polygon]
    xs, ys = [100 * x for x, _ in zone.polygon], [100 * y for _, y in zone.polygon]
    label = _centred((min(xs) + max(xs)) / 2, max(xs) - min(xs), (min(ys) + max(ys)) / 2)
    return ZoneShape(zone, " ".join(f"{x},{y}" for x, y in corners), label)


def line_shape(line: Line) -> LineShape:
    """A line, whose label is on the side that is left by an entry."""
    (x, y), (to_x, to_y) = entry_arrow(line, WIDTH, HEIGHT, ARROW)
    middle, inside = (round(x), round(y)), (round(to_x), round(to_y))
    label = _beside(100 * x / WIDTH, 100 * y / HEIGHT, ((to_x - x) / ARROW, (to_y - y) / ARROW))
    entered = None if line.kind == "passing" else inside
    return LineShape(line, _at(line.a), _at(line.b), middle, entered, label)


def _beside(x: float, y: float, right: tuple[float, float]) -> Label:
    if abs(right[0]) <= abs(right[1]):
        return _centred(x, LEAST_WIDTH, y + (-4 if right[1] > 0 else 4) * BESIDE)
    on_the_left = right[0] > 0 if LEAST_WIDTH <= x <= 100 - LEAST_WIDTH else x > 50
    if on_the_left:
        return Label(0.0, x - BESIDE, _within(y), "right")
    return Label(x + BESIDE, 100 - x - BESIDE, _within(y), "left")


def _centred(x: float, width: float, y: float) -> Label:
    width = max(width, LEAST_WIDTH)
    return Label(min(max(x - width / 2, 0.0), 100 - width), width, _within(y))


def _within(y: float) -> float:
    """Far enough from the upper and the lower edge for two lines of text on a phone."""
    return min(max(y, 9.0), 91.0)


def _at(point: Point) -> tuple[int, int]:
    return round(point[0] * WIDTH), round(point[1] * HEIGHT)

"""Whether people, as a camera sees them, can cross a line or enter a zone.

A person is where the bottom centre of the box is. Where the edge of the picture cuts a person, the
box ends there: the anchor remains in the picture and moves less than the person does. All distances
are shares of the picture.
"""

from __future__ import annotations

import math

from conf.stores import Line, Point, Zone
from conf.stores.polygons import width

Pixel = tuple[float, float]

ROOM = 0.06
"""Least room for an anchor on both sides of a line: the median width of a box in the simulated
shop, within which a person is not clear of a line (docs/adr/0012)."""

LEAST_HEIGHT = 0.1
"""Height of the smallest box: feet above it would be of a lower one. At `image_size` 320 a box of a
tenth of a wide picture has 18 rows, about what detectors find at their best."""

LEAST_WIDTH = 0.03
"""A zone or line narrower than half a person is passed by between two frames."""

TOUCHING = 0.01
"""Overlap of two lines below which they only touch at their ends."""

ONE_ENTRANCE = 0.15
"""Distance below which two lines are taken for lines of one entrance."""


def line_out_of_reach(line: Line) -> str | None:
    """Why people cannot be seen on both sides of a line, in one clause; None when they can."""
    (x, y), (dx, dy) = middle(line), _inwards(line)
    for side in (ROOM, -ROOM):
        if not _is_reached((x + side * dx, y + side * dy)):
            return (
                f"nearer than {ROOM:.0%} of the picture to where people are cut off or too small "
                "to be found, so crossings are a guess. Move it inwards"
            )
    if math.dist(line.a, line.b) < LEAST_WIDTH:
        return "it is narrower than a person, who passes beside it. Draw it as wide as the way in"
    return None


def zone_out_of_reach(zone: Zone) -> str | None:
    """Why nobody's feet are seen in a zone, in one clause; None when they can be."""
    if max(y for _, y in zone.polygon) <= LEAST_HEIGHT:
        return (
            "nobody can enter it, since a person is where the feet are, and these are never so "
            "high in the picture. Draw it on the floor"
        )
    if width(zone.polygon) < LEAST_WIDTH:
        return "it is narrower than a person, who is hardly ever seen in it. Draw it wider"
    return None


def entered_in_a_row(one: Line, other: Line) -> bool:
    """Whether a straight walk can be an entry over both lines, as through a vestibule.

    The ways of their entries must be less than a right angle apart, and the lines must overlap as
    seen along the way between the two. Entrances side by side in one wall do not overlap;
    entrances in facing walls have entries against each other.
    """
    (x1, y1), (x2, y2) = _inwards(one), _inwards(other)
    return x1 * x2 + y1 * y2 > 0 and _overlap(one, other, (x1 + x2, y1 + y2))


def against_each_other(one: Line, other: Line) -> bool:
    """Whether two lines of one entrance have opposite directions of entry."""
    (x1, y1), (x2, y2) = _inwards(one), _inwards(other)
    is_near = math.dist(middle(one), middle(other)) < ONE_ENTRANCE
    return x1 * x2 + y1 * y2 < 0 and is_near and _overlap(one, other, (x1 - x2, y1 - y2))


def middle(line: Line) -> Point:
    """The point half-way between the ends of a line."""
    return _between(line.a, line.b)


def entry_arrow(line: Line, width: float, height: float, length: float) -> tuple[Pixel, Pixel]:
    """Start and tip of the arrow that shows the direction of an entry, in pixels of a picture.

    Args:
        line: its arrow is at right angles to it, whatever the shape of the picture.
        width: of the picture in pixels.
        height: the same.
        length: of the arrow in pixels.
    """
    a, b = ((x * width, y * height) for x, y in (line.a, line.b))
    (x, y), (dx, dy) = _between(a, b), _right_of(a, b)
    return (x, y), (x + dx * length, y + dy * length)


def _between(a: Pixel, b: Pixel) -> Pixel:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _overlap(one: Line, other: Line, way: Point) -> bool:
    """Whether two lines overlap as seen along a way."""
    length = math.hypot(*way)
    across = (-way[1] / length, way[0] / length)
    (low1, high1), (low2, high2) = (
        sorted(x * across[0] + y * across[1] for x, y in (line.a, line.b)) for line in (one, other)
    )
    return min(high1, high2) - max(low1, low2) > TOUCHING


def _is_reached(point: Point) -> bool:
    return 0 <= point[0] <= 1 and LEAST_HEIGHT <= point[1] <= 1


def _inwards(line: Line) -> Point:
    return _right_of(line.a, line.b)


def _right_of(a: Pixel, b: Pixel) -> Pixel:
    """The direction of an entry: to the right of a -> b, of length 1 (y grows downwards)."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = math.hypot(dx, dy)
    return -dy / length, dx / length

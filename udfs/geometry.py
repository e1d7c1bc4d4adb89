"""Geometry in a picture. Coordinates are shares of width and height: x right, y downwards."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]


def signed_distance(a: Point, b: Point, p: Point) -> float:
    """Distance of p from the straight line through a and b; positive on the right of a to b.

    The sign is that of the cross product (b - a) x (p - a); with y downwards, right is positive.
    """
    dx, dy = b[0] - a[0], b[1] - a[1]
    return (dx * (p[1] - a[1]) - dy * (p[0] - a[0])) / math.hypot(dx, dy)


def passes_between(a: Point, b: Point, p: Point, q: Point) -> bool:
    """Whether the path from p to q meets the straight line through a and b between these points.

    Solves p + t (q - p) = a + s (b - a) for s; a path parallel to the line never meets it.
    """
    dx, dy = b[0] - a[0], b[1] - a[1]
    wx, wy = q[0] - p[0], q[1] - p[1]
    denominator = wx * dy - wy * dx
    if denominator == 0:
        return False
    s = ((p[1] - a[1]) * wx - (p[0] - a[0]) * wy) / denominator
    return 0.0 <= s <= 1.0


def contains(polygon: Sequence[Point], p: Point) -> bool:
    """Whether p lies inside the polygon; a point on an edge may count as either.

    Counts the edges that a ray from p to the right meets: an odd number means inside
    (https://en.wikipedia.org/wiki/Point_in_polygon#Ray_casting_algorithm).
    """
    x, y = p
    found = False
    x1, y1 = polygon[-1]
    for x2, y2 in polygon:
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            found = not found
        x1, y1 = x2, y2
    return found

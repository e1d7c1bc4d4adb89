"""Whether the corners of a zone make a polygon.

Store files are read at every start, and zones have few corners: a library for geometry would cost
more to import than it saves here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

Corner = tuple[float, float]
MIN_AREA = 1e-4
"""Share of the picture below which a zone is taken for a mistake: 1 % of its width and height."""


def polygon_fault(corners: Sequence[Corner]) -> str | None:
    """What is wrong with a polygon, in one clause; None when nothing is."""
    count = len(corners)
    edges = [(corners[i], corners[(i + 1) % count]) for i in range(count)]
    for number, (a, b) in enumerate(edges, start=1):
        if a == b:
            return f"corners {number} and {number % count + 1} are the same point"
    for (i, first), (j, second) in combinations(enumerate(edges), 2):
        neighbours = j - i in (1, count - 1)
        if not neighbours and _meet(*first, *second):
            return f"its edges cross: the edge after corner {i + 1} and the one after {j + 1}"
    if abs(_twice_the_area(corners)) / 2 < MIN_AREA:
        return "it has no area"
    return None


def width(corners: Sequence[Corner]) -> float:
    """How narrow a polygon is: the side of a square, about twice the width of a thin strip."""
    edges = zip(corners, [*corners[1:], corners[0]], strict=True)
    return 2 * abs(_twice_the_area(corners)) / sum(math.dist(a, b) for a, b in edges)


def _twice_the_area(corners: Sequence[Corner]) -> float:
    """The shoelace formula."""
    pairs = zip(corners, [*corners[1:], corners[0]], strict=True)
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)


def _turn(a: Corner, b: Corner, c: Corner) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _meet(a: Corner, b: Corner, c: Corner, d: Corner) -> bool:
    """Whether two segments share a point: each straddles the other, or an end lies on it."""
    if _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0:
        return True
    return any(
        _turn(p, q, r) == 0
        and min(p[0], q[0]) <= r[0] <= max(p[0], q[0])
        and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])
        for p, q, r in ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    )

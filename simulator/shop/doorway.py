"""People who do not just walk through the entrance: they stand in it, turn round, or stay outside.

They walk behind all others, `FAR` metres from the camera, and buy nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from simulator.shop.figures import draw_look
from simulator.shop.paths import Path, Stop, walk
from simulator.shop.shoppers import EDGE, Shopper
from simulator.shop.views import ENTRANCE

DOOR = 0.65
"""Where the frame of the entrance is drawn, as a share of the picture's width."""

FAR = (6.0, 6.8)
SPEED = 1.2  # metres a second
SWAY = 0.4  # metres to each side
MAT = 1.2  # metres behind the entrance
PAVEMENT = 0.7  # metres before it

Way = Callable[[float, float, random.Random], list[list[Stop]]]
"""Second and depth of the arrival -> the stops of each path."""


def stand_in_the_doorway(second: float, far: float, rng: random.Random) -> list[list[Stop]]:
    """Comes to the entrance, sways on the line for a while, goes in, and leaves: in and out."""
    door = ENTRANCE.edge(far, DOOR)
    stops = _approach(second, far, door - SWAY)
    for number in range(rng.randint(4, 8)):
        side = -SWAY if number % 2 else SWAY
        stops.append((stops[-1][0] + rng.uniform(0.8, 2.0), door + side, far))
    stops += walk(stops[-1], [(ENTRANCE.edge(far, 1 + EDGE), far)], SPEED)
    start = (stops[-1][0] + rng.uniform(5, 20), ENTRANCE.edge(far, 1 + EDGE), far)
    return [stops, [start, *walk(start, [(ENTRANCE.edge(far, -EDGE), far)], SPEED)]]


def turn_on_the_mat(second: float, far: float, rng: random.Random) -> list[list[Stop]]:
    """Comes in, looks round and leaves: in and out."""
    return [_there_and_back(second, far, ENTRANCE.edge(far, DOOR) + MAT, rng.uniform(2, 5))]


def stay_outside(second: float, far: float, rng: random.Random) -> list[list[Stop]]:
    """Looks in from the pavement: neither in nor out."""
    return [_there_and_back(second, far, ENTRANCE.edge(far, DOOR) - PAVEMENT, rng.uniform(4, 12))]


WAYS: tuple[Way, ...] = (stand_in_the_doorway, turn_on_the_mat, stay_outside)


def at_the_doorway(count: int, open_seconds: float, seed: int) -> list[Shopper]:
    """`count` people, one way after the other, at equal intervals."""
    people = []
    for number in range(count):
        shopper_id = f"D{number + 1:05d}"
        rng = random.Random(f"{seed}/{shopper_id}")  # noqa: S311 - a replayable day, not secrets
        look, second = draw_look(rng), open_seconds * (number + 0.5) / count
        ways = WAYS[number % len(WAYS)](second, rng.uniform(*FAR), rng)
        paths = tuple(Path(shopper_id, ENTRANCE, look, stops) for stops in ways)
        people.append(Shopper(shopper_id, paths, paid=None, gave_up=False))
    return people


def _approach(second: float, far: float, x: float) -> list[Stop]:
    start = (second, ENTRANCE.edge(far, -EDGE), far)
    return [start, *walk(start, [(x, far)], SPEED)]


def _there_and_back(second: float, far: float, x: float, seconds: float) -> list[Stop]:
    stops = _approach(second, far, x)
    stands = (stops[-1][0] + seconds, x, far)
    return [*stops, stands, *walk(stands, [(ENTRANCE.edge(far, -EDGE), far)], SPEED)]

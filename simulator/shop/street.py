"""People before the shop: who passes by, who comes along with a shopper, who enters together.

Both are added to a day that is the same without them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from simulator.shop.figures import draw_look
from simulator.shop.paths import Path, walk
from simulator.shop.shoppers import EDGE, ENTRY_SECONDS, Shopper
from simulator.shop.views import ENTRANCE

BEHIND = 0.45
"""Seconds that a companion walks behind the shopper: about half a metre, within a step."""

ASIDE = 0.25  # metres that a companion walks farther from the camera
TOGETHER_SECONDS, STEP_METRES = 2.0, 1.27
"""Between the entries of people who enter together, and between their middles: a step of 0.7 m
between bodies of 0.57 m."""

PASSER_SECONDS = 5.0  # between one passer-by and the next
NEAR, WINDOW, FAR = (6.7, 6.9), 8.0, (8.15, 8.3)
"""Metres from the camera at which a passer-by walks up to the window, looks at it, and leaves."""

BACKWARDS = 0.5  # share of the passers-by who walk the same way the other way round


def companions(shoppers: Sequence[Shopper]) -> list[Shopper]:
    """Somebody behind every shopper where the entrance is free long enough, both ways.

    They buy nothing, and nobody sees them between the entrance and the way out.
    """
    followed = _followed([s.paths[0].begins for s in shoppers])
    followed |= _followed([s.paths[-1].begins for s in shoppers])
    return [_companion(s) for number, s in enumerate(shoppers) if number not in followed]


def passers_by(count: int, seconds: float, seed: int) -> list[Shopper]:
    """People who walk along the pavement, look at the window and walk on, in either direction.

    Args:
        count: how many; fewer where `seconds` has no room for them.
        seconds: how long somebody may come.
        seed: of the day.
    """
    rng = random.Random(f"{seed}/street")  # noqa: S311 - a replayable day, not secrets
    starts = sorted(rng.uniform(0.0, seconds) for _ in range(count))
    return [_passer_by(n, second, rng) for n, second in enumerate(_spaced(starts, seconds), 1)]


def groups(entries: Iterable[tuple[float, Path]]) -> dict[str, str]:
    """Shopper -> the first of the people who entered together, within two seconds and a step.

    Args:
        entries: second of an entry, and the way on which it happened.
    """
    found: dict[str, str] = {}
    recent: list[tuple[Path, str, float]] = []
    for second, path in sorted(entries, key=lambda entry: entry[0]):
        recent = [one for one in recent if second - one[2] <= TOGETHER_SECONDS]
        near = [
            (apart, first, since)
            for other, first, since in recent
            if other.ends >= second and (apart := _metres(path, other, second)) <= STEP_METRES
        ]
        _, first, since = min(near, default=(0.0, path.shopper_id, second))
        found[path.shopper_id] = first
        recent.append((path, first, since))
    return found


def _metres(one: Path, other: Path, second: float) -> float:
    a, b = one.pose(second), other.pose(second)
    return math.hypot(a.x - b.x, a.far - b.far)


def _followed(begins: Sequence[float]) -> set[int]:
    """Numbers of those after whom the entrance is free for less than a companion and a gap."""
    order = sorted(range(len(begins)), key=begins.__getitem__)
    gap = ENTRY_SECONDS + BEHIND
    return {one for one, after in pairwise(order) if begins[after] - begins[one] < gap}


def _companion(shopper: Shopper) -> Shopper:
    name = f"{shopper.shopper_id}b"
    look = draw_look(random.Random(name))  # noqa: S311
    paths = [
        replace(
            path,
            shopper_id=name,
            look=look,
            stops=[(second + BEHIND, x, far + ASIDE) for second, x, far in path.stops],
        )
        for path in (shopper.paths[0], shopper.paths[-1])
    ]
    return replace(shopper, shopper_id=name, paths=tuple(paths), paid=None, gave_up=False)


def _spaced(starts: Sequence[float], seconds: float) -> Iterator[float]:
    free = 0.0
    for start in starts:
        free = max(start, free)
        if free < seconds:
            yield free
        free += PASSER_SECONDS


def _passer_by(number: int, second: float, rng: random.Random) -> Shopper:
    name, speed, shows = f"P{number:05d}", rng.uniform(1.0, 1.5), rng.uniform(0.18, 0.25)
    near, far, window = rng.uniform(*NEAR), rng.uniform(*FAR), 2
    shares = (-EDGE, near), (shows, near), (shows, WINDOW), (-EDGE, far)
    places = [(ENTRANCE.edge(away, share), away) for share, away in shares]
    if rng.random() < BACKWARDS:
        places, window = places[::-1], 1
    stops = [(second, *places[0])]
    stops += walk(stops[0], places[1 : window + 1], speed)
    stops.append((stops[-1][0] + rng.uniform(0.5, 4.0), *places[window]))
    stops += walk(stops[-1], places[window + 1 :], speed)
    return Shopper(name, (Path(name, ENTRANCE, draw_look(rng), stops),), None, gave_up=False)

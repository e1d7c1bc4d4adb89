"""Plan of a day: who comes, what they want, and their paths, before its first picture.

Shoppers arrive as a non-homogeneous Poisson process does whose number is known: independent draws
from the daily curve, in order. One at a time and direction passes the entrance. Everything follows
from the seed.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from simulator.shop.figures import Appearance, draw_look
from simulator.shop.paths import Path, Stop, walk
from simulator.shop.till import STEP_SECONDS, Comer, Turn, serve
from simulator.shop.views import ENTRANCE, TILL

CURVE = (0.5, 0.8, 1.0, 1.4, 1.2, 0.9, 0.9, 1.1, 1.5, 1.4, 0.8)
"""Arrivals in equal parts of the opening hours: nine to eight, busy at noon and after work."""

BUYERS, BROWSERS_OF_BUYERS, BROWSERS_OF_OTHERS = 0.62, 0.3, 0.5
ENTRY_SECONDS = 0.9
TILLS: tuple[tuple[float, float], ...] = ((2.3, 5.95), (4.0, 5.95))
QUEUE_FAR, QUEUE_HEAD, QUEUE_STEP = 4.9, 0.9, 0.9
PATIENCE = 5
LONGEST_SERVICE, SHORTEST_SERVICE = 20.0, 2.5
ARMS_LENGTH, PLACES_TRIED = 0.8, 20
EDGE = 0.06  # share of the picture by which a way begins and ends outside of it


@dataclass(frozen=True)
class Shopper:
    """One visit of one person. Key: shopper_id.

    Attributes:
        paths: through the pictures, in the order of time.
        paid: second of the day; None for those who bought nothing.
        gave_up: wanted to buy, and found the queue too long.
    """

    shopper_id: str
    paths: tuple[Path, ...]
    paid: float | None
    gave_up: bool

    @property
    def ends(self) -> float:
        """Second of the day after which nobody sees them."""
        return self.paths[-1].ends


@dataclass(frozen=True)
class _Standing:
    """A place at the shelf that is taken for a while."""

    x: float
    begins: float
    ends: float

    def leaves_room(self, spot: Stop, seconds: float) -> bool:
        """Whether somebody else can stand at a spot for so long: later, earlier or beside."""
        apart = abs(spot[1] - self.x) >= ARMS_LENGTH
        return apart or spot[0] > self.ends or spot[0] + seconds < self.begins


@dataclass(frozen=True)
class _Plan:
    """Somebody on the way, up to where the queue decides."""

    number: int
    rng: random.Random
    look: Appearance
    speed: float
    paths: tuple[Path, ...]
    buys: bool
    here: Stop | None  # where they look at the queue
    browse: tuple[Stop, ...]  # stops before that, in the same picture
    free: float  # when they are through with what they wanted, save the queue

    @property
    def shopper_id(self) -> str:
        return f"S{self.number:05d}"


def arrivals(count: int, open_seconds: float, rng: random.Random) -> list[float]:
    """Seconds of the day at which `count` shoppers reach the entrance, in order."""
    share = [0.0, *(total / sum(CURVE) for total in accumulate(CURVE))]
    hours = np.linspace(0.0, open_seconds, len(share))
    wanted = sorted(float(np.interp(rng.random(), share, hours)) for _ in range(count))
    return _one_by_one(wanted)


def service_seconds(count: int, open_seconds: float) -> float:
    """The mean time at a till that keeps the queue busy in the busiest hour, and no longer."""
    busiest = BUYERS * count / open_seconds * max(CURVE) * len(CURVE) / sum(CURVE)
    spare = 1.0 * len(TILLS) / busiest - 3.0  # walking up and away takes about that
    return min(LONGEST_SERVICE, max(SHORTEST_SERVICE, spare))


def live_a_day(count: int, open_seconds: float, seed: int) -> list[Shopper]:
    """Everybody of one day, in the order in which they came; all of them have left at its end."""
    rng = random.Random(seed)  # noqa: S311 - a replayable day, not secrets
    shelf: list[_Standing] = []
    plans = [
        _plan(number, second, random.Random(f"{seed}/{number}"), shelf)  # noqa: S311
        for number, second in enumerate(arrivals(count, open_seconds, rng), start=1)
    ]
    turns = _queue(plans, service_seconds(count, open_seconds))
    inside = [_till_path(plan, turns.get(plan.number)) for plan in plans]
    order = sorted(range(len(plans)), key=lambda i: inside[i][1])
    leaving = dict(zip(order, _one_by_one([inside[i][1] for i in order]), strict=True))
    return [
        Shopper(
            plan.shopper_id,
            (*plan.paths, *inside[i][0], _way_out(plan, leaving[i])),
            turn.pays if (turn := turns.get(plan.number)) else None,
            plan.buys and turn is None,
        )
        for i, plan in enumerate(plans)
    ]


def _one_by_one(seconds: list[float]) -> list[float]:
    """The same times, later where the entrance is taken."""
    out: list[float] = []
    for second in seconds:
        out.append(max(second, out[-1] + ENTRY_SECONDS) if out else second)
    return out


def _plan(number: int, second: float, rng: random.Random, shelf: list[_Standing]) -> _Plan:
    look, speed = draw_look(rng), rng.uniform(1.15, 1.5)
    far = rng.uniform(3.4, 4.2)
    start = (second, ENTRANCE.edge(far, -EDGE), far)
    way_in = [start, *walk(start, [(ENTRANCE.edge(far, 1 + EDGE), far)], speed)]
    paths = (Path(f"S{number:05d}", ENTRANCE, look, way_in),)
    buys = rng.random() < BUYERS
    browses = rng.random() < (BROWSERS_OF_BUYERS if buys else BROWSERS_OF_OTHERS)
    seen = way_in[-1][0] + rng.uniform(4, 10) + rng.expovariate(1 / 20.0)  # among the aisles
    plan = _Plan(number, rng, look, speed, paths, buys, None, (), seen)
    if browses:
        return _browse(plan, seen, shelf)
    return replace(plan, here=(seen, TILL.edge(6.3, -EDGE), 6.3)) if buys else plan


def _browse(plan: _Plan, second: float, shelf: list[_Standing]) -> _Plan:
    rng, far = plan.rng, plan.rng.uniform(9.1, 9.8)
    start = (second, TILL.edge(far, -EDGE), far)
    stands = rng.uniform(4.0, 15.0)
    for _ in range(PLACES_TRIED):
        (spot,) = walk(start, [(rng.uniform(-6.0, 1.2), far)], plan.speed)
        if all(one.leaves_room(spot, stands) for one in shelf):
            break
    leaves = spot[0] + stands
    shelf.append(_Standing(spot[1], spot[0], leaves))
    stops, here = (start, spot), (leaves, spot[1], far)
    if plan.buys:
        return replace(plan, here=here, browse=stops)
    back = walk(here, [(TILL.edge(8.8, -EDGE), 8.8)], plan.speed)
    path = Path(plan.shopper_id, TILL, plan.look, [*stops, here, *back])
    return replace(plan, paths=(*plan.paths, path), free=path.ends)


def _place(place: int) -> tuple[float, float]:
    return QUEUE_HEAD - place * QUEUE_STEP, QUEUE_FAR


def _to_place(here: Stop, place: int) -> list[tuple[float, float]]:
    """Along the aisle up to the end of the queue, and into it."""
    x, far = _place(place)
    return [(x - 0.5, max(far + 0.9, min(here[2], far + 1.4))), (x, far)]


def _queue(plans: list[_Plan], service: float) -> dict[int, Turn]:
    """Number -> turn, of those who did not give up."""
    comers = sorted((p for p in plans if p.here), key=lambda p: p.here or (0, 0, 0))
    turns = serve((_comer(plan, service) for plan in comers), len(TILLS), PATIENCE)
    return {p.number: turn for p, turn in zip(comers, turns, strict=True) if turn is not None}


def _comer(plan: _Plan, service: float) -> Comer:
    here = plan.here or (0.0, 0.0, 0.0)

    def to_till(till: int) -> float:
        return math.dist(_place(0), TILLS[till]) / plan.speed

    return Comer(
        decides=here[0],
        way=lambda place: walk(here, _to_place(here, place), plan.speed)[-1][0] - here[0],
        to_till=to_till,
        service=service * plan.rng.uniform(0.6, 1.4),
    )


def _till_path(plan: _Plan, turn: Turn | None) -> tuple[tuple[Path, ...], float]:
    """The way past the tills, if any, and when they reach the exit."""
    rng = plan.rng
    to_exit = rng.uniform(3.0, 8.0)
    if plan.here is None:
        return (), plan.free + to_exit
    stops = [*plan.browse, plan.here]
    if turn is None:  # turns round
        away = walk(plan.here, [(TILL.edge(8.0, -EDGE), 8.0)], plan.speed)
        stops += away
        if not plan.browse:  # was never in the picture: looked round the corner
            return (), plan.here[0] + to_exit
    else:
        stops += [*_wait(plan, turn), *_pay(plan, turn)]
    path = Path(plan.shopper_id, TILL, plan.look, stops, facing=1 if turn else 0)
    return (path,), path.ends + to_exit


def _wait(plan: _Plan, turn: Turn) -> Iterator[Stop]:
    here = plan.here or (0.0, 0.0, 0.0)
    yield from walk(here, _to_place(here, turn.place), plan.speed)
    for gone, second in enumerate(turn.moves):
        yield (second, *_place(turn.place - gone))
        yield (second + STEP_SECONDS, *_place(turn.place - gone - 1))
    yield (turn.called, *_place(0))


def _pay(plan: _Plan, turn: Turn) -> Iterator[Stop]:
    till = TILLS[turn.till]
    (there,) = walk((turn.called, *_place(0)), [till], plan.speed)
    yield there
    yield (turn.pays, *till)
    far = plan.rng.uniform(4.6, 5.2)
    aside = (till[0] + 0.7, far)
    yield from walk((turn.pays, *till), [aside, (TILL.edge(far, 1 + EDGE), far)], plan.speed)


def _way_out(plan: _Plan, second: float) -> Path:
    far = plan.rng.uniform(4.6, 5.4)
    start = (second, ENTRANCE.edge(far, 1 + EDGE), far)
    stops = [start, *walk(start, [(ENTRANCE.edge(far, -EDGE), far)], plan.speed)]
    return Path(plan.shopper_id, ENTRANCE, plan.look, stops)

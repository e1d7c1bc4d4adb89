"""The tracks of people in the pictures of one camera: at an entrance, in a queue, at shelves.

A track is known at its stops and moves straight between them. Places are shares of the picture;
ticks are those of `visits`. People keep apart, so that their tracks are never exchanged.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from conf.stores import Layout, Line, Point, Zone
from simulator.past.visits import MINUTE, Visit
from udfs.geometry import contains, passes_between

STEPS = (-0.15, -0.06, 0.06, 0.15)
"""Distances from a line, one a tick: two on each side, which confirms both sides."""
FARTHEST = 0.25
"""Distance from the line at which somebody who came in stands."""
ROUTES = 24
COMPANION = 0.07
"""From one person of a party to the other, along the line."""
STANDING = 4
"""Ticks between two pictures of somebody who stands: two seconds, the grace of a visit."""
ROOM = 0.03
"""Between two places of a queue, at least a body."""
SHARE_BROWSING, BROWSES = 0.3, (8, 90)
"""Of the parties, at each zone; ticks."""
PASSERS_A_PARTY = 3


class Stop(NamedTuple):
    """Where somebody is at a tick."""

    tick: int
    x: float
    y: float


@dataclass(frozen=True)
class Track:
    """One person from one picture to the next. Key: track_id, of one camera and day."""

    track_id: str
    stops: tuple[Stop, ...]

    def ticks(self) -> Iterator[int]:
        """At which a camera must take a picture: each while they walk, else every two seconds."""
        yield self.stops[0].tick
        for before, after in zip(self.stops, self.stops[1:], strict=False):
            stands = before[1:] == after[1:]
            first = (before.tick // STANDING + 1) * STANDING if stands else before.tick + 1
            yield from range(first, after.tick, STANDING if stands else 1)
            yield after.tick

    def at(self, tick: int) -> Point:
        """The place at a tick from the first to the last stop."""
        number = next(n for n, stop in enumerate(self.stops) if stop.tick >= tick)
        after, before = self.stops[number], self.stops[max(0, number - 1)]
        share = (tick - before.tick) / max(1, after.tick - before.tick)
        return before.x + share * (after.x - before.x), before.y + share * (after.y - before.y)


class Route(NamedTuple):
    """A straight way over a line, at a share of its length from a to b."""

    line: Line
    share: float

    def place(self, distance: float, aside: float = 0.0) -> Point:
        """The point at a distance from the line, positive on its right, `aside` along it."""
        (ax, ay), (bx, by) = self.line.a, self.line.b
        length = math.hypot(bx - ax, by - ay)
        along = self.share + aside / length
        return (
            ax + along * (bx - ax) - distance * (by - ay) / length,
            ay + along * (by - ay) + distance * (bx - ax) / length,
        )


def routes(line: Line, layout: Layout) -> list[Route]:
    """The ways over a line, on which people cross no other line and stand in no queue.

    Empty where there are so few that people would run into each other.
    """
    queues = [zone.polygon for zone in layout.zones if zone.kind != "browse"]
    others = [other for other in layout.lines if other != line]

    def is_free(route: Route) -> bool:
        places = [route.place(step, aside) for step in STEPS for aside in (0, COMPANION)]
        ends = [
            (route.place(STEPS[0], aside), route.place(FARTHEST, aside)) for aside in (0, COMPANION)
        ]
        return (
            all(0.02 <= x <= 0.98 and 0.02 <= y <= 0.98 for x, y in places)
            and not any(contains(polygon, place) for polygon in queues for place in places)
            and all(passes_between(line.a, line.b, *way) for way in ends)
            and not any(_crosses(other, *way) for other in others for way in ends)
        )

    found = [Route(line, (number + 0.5) / ROUTES) for number in range(ROUTES)]
    free = [route for route in found if is_free(route)]
    return free if len(free) >= ROUTES // 4 else []


def _crosses(line: Line, start: Point, end: Point) -> bool:
    return passes_between(line.a, line.b, start, end) and passes_between(start, end, line.a, line.b)


def through_entrance(
    ways: Sequence[Route], visits: Sequence[Visit], rng: random.Random
) -> list[Track]:
    """Everybody of some visits, in and out; who comes in and who leaves have ways of their own."""
    third = max(1, len(ways) // 3)
    tracks = []
    for visit in visits:
        way_in, way_out = rng.choice(ways[:third]), rng.choice(ways[-third:])
        far, lingers = rng.uniform(STEPS[-1], FARTHEST), rng.randrange(6, 40)
        for person in range(visit.size):
            name, aside = f"{visit.number}.{person}", person * COMPANION
            stops = _walk(way_in, visit.arrives, STEPS, aside)
            stands = _inside(way_in.place(far, aside))
            last = stops[-1].tick
            inside = [Stop(last + 2, *stands), Stop(last + 2 + lingers, *stands)]
            tracks.append(Track(f"{name}-in", (*stops, *inside)))
            tracks.append(Track(f"{name}-out", _walk(way_out, visit.leaves, STEPS[::-1], aside)))
    return tracks


def _inside(place: Point) -> Point:
    """The nearest place in the picture."""
    x, y = (min(max(share, 0.02), 0.98) for share in place)
    return x, y


def _walk(way: Route, tick: int, steps: Sequence[float], aside: float) -> tuple[Stop, ...]:
    return tuple(Stop(tick + n, *way.place(step, aside)) for n, step in enumerate(steps))


def past_the_shop(
    ways: Sequence[Route], visits: Sequence[Visit], rng: random.Random
) -> list[Track]:
    """People on the pavement, some for each party that comes in, in both directions."""
    tracks = []
    for visit in visits:
        for number in range(PASSERS_A_PARTY):
            steps = rng.choice((STEPS, STEPS[::-1]))
            half = len(ways) // 2
            way = rng.choice(ways[:half] or ways) if steps is STEPS else rng.choice(ways[half:])
            tick = max(0, visit.arrives + rng.randrange(-20 * MINUTE, 20 * MINUTE))
            tracks.append(Track(f"{visit.number}-past{number}", _walk(way, tick, steps, 0.0)))
    return tracks


def in_queue(zone: Zone, visits: Sequence[Visit]) -> list[Track]:
    """Who waits to pay, one place after the other along the longer side of a queue."""
    places = queue_places(zone)
    tracks = []
    for visit in visits:
        if visit.turn is None:
            continue
        turn = visit.turn
        moves = [int(2 * second) for second in (turn.arrives, *turn.moves)]
        ends = max(int(2 * turn.called), moves[0] + 2 * STANDING, moves[-1] + STANDING)
        stops: list[Stop] = []
        for gone, (tick, until) in enumerate(zip(moves, [*moves[1:], ends], strict=True)):
            place = places[min(turn.place - gone, len(places) - 1)]
            stops += [Stop(max(tick, stops[-1].tick + 1 if stops else tick), *place)]
            stops += [Stop(max(until - 1, stops[-1].tick + 1), *place)]
        tracks.append(Track(f"{visit.number}-queue", tuple(stops)))
    return tracks


def queue_places(zone: Zone) -> list[Point]:
    """Places in a zone from its head on, which is right or at the bottom."""
    xs, ys = zip(*zone.polygon, strict=True)
    wide, high = max(xs) - min(xs), max(ys) - min(ys)
    count = max(1, min(8, int(max(wide, high) / (0.05 + ROOM))))
    middle = (min(xs) + wide / 2, min(ys) + high / 2)
    shares = [1 - (number + 0.5) / count for number in range(count)]
    row = [
        (min(xs) + share * wide, middle[1]) if wide >= high else (middle[0], min(ys) + share * high)
        for share in shares
    ]
    return [place for place in row if contains(zone.polygon, place)] or [zone.polygon[0]]


def at_shelf(zone: Zone, visits: Sequence[Visit], rng: random.Random) -> list[Track]:
    """Some of the visitors stand in a zone for a while."""
    places = queue_places(zone)
    tracks = []
    for visit in visits:
        if rng.random() < SHARE_BROWSING and visit.leaves - visit.arrives > 3 * BROWSES[1]:
            tick = visit.arrives + rng.randrange(30, 2 * BROWSES[1])
            place = rng.choice(places)
            stops = (Stop(tick, *place), Stop(tick + rng.randrange(*BROWSES), *place))
            tracks.append(Track(f"{visit.number}-{zone.zone_id}", stops))
    return tracks

"""Who comes to a branch on one day, how long they are inside, and who pays when.

Times are ticks: half seconds since the `start` of the day, the hour of UTC in which it opens first.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

from simulator.past.demand import Opening
from simulator.shop.till import Comer, Turn, serve

TICK = timedelta(seconds=0.5)
MINUTE = 120
"""Ticks."""
APART = 7
"""Ticks between two parties at an entrance: people who enter within two seconds are a group."""
SHARE_OF_TWO = 0.25
BUYERS, SPREAD = 0.33, 0.08
"""Share of parties that want to buy in a branch of mean size, and how far branches differ."""
WINDOW_SHOPPING, SHOPPING = (2.0, 14.0), (4.0, 16.0)
"""Minutes inside, of those who buy until they look for a till."""
SERVICE_SECONDS = (50.0, 180.0)
PATIENCE = 6
TO_TILL_SECONDS, TO_EXIT_SECONDS = 4.0, (15.0, 50.0)


@dataclass(frozen=True)
class Visit:
    """One party in the shop.

    Attributes:
        number: of the day, from 0.
        size: people, of whom one pays.
        arrives, leaves: when they begin to walk over the entrance.
        turn: at the tills; None for who buys nothing, also because the queue is too long.
    """

    number: int
    size: int
    arrives: int
    leaves: int
    turn: Turn | None = None


def tick_of(moment: datetime, start: datetime) -> int:
    """The tick at a time, or just before it."""
    return (moment - start) // TICK


def live_a_day(
    branch_id: str,
    openings: Sequence[Opening],
    start: datetime,
    parties: Sequence[datetime],
    seed: str,
) -> list[Visit]:
    """The visits of parties in the order in which they come; most leave before closing.

    Args:
        branch_id: some branches convince more people than others.
        openings: in which they come.
        start: of the ticks.
        parties: when they come, in order.
        seed: of everything else.
    """
    rng = random.Random(seed)  # noqa: S311 - a replayable past, not secrets
    share = BUYERS + SPREAD * (crc32(branch_id.encode()) % 21 / 10 - 1)
    comes = [*_apart(tick_of(at, start) for at in parties)]
    buys = [rng.random() < share for _ in comes]
    closes = [tick_of(one.ends, start) for one in openings]
    ready = [
        at + max(1.0, min(rng.uniform(*(SHOPPING if buy else WINDOW_SHOPPING)), left)) * MINUTE
        for at, buy in zip(comes, buys, strict=True)
        for left in [(next(c for c in closes if c > at) - at) / MINUTE - 8]
    ]
    turns = _turns([at / 2 if buy else None for at, buy in zip(ready, buys, strict=True)], rng)
    leaves = [
        int(2 * turn.pays if turn else at) + int(2 * rng.uniform(*TO_EXIT_SECONDS))
        for at, turn in zip(ready, turns, strict=True)
    ]
    order = sorted(range(len(comes)), key=leaves.__getitem__)
    out = dict(zip(order, _apart(sorted(leaves)), strict=True))
    return [
        Visit(number, 2 if rng.random() < SHARE_OF_TWO else 1, at, out[number], turns[number])
        for number, at in enumerate(comes)
    ]


def _apart(ticks: Iterator[int] | Sequence[int]) -> Iterator[int]:
    """The same, later where the entrance is taken."""
    free = 0
    for tick in ticks:
        yield (tick := max(tick, free))
        free = tick + APART


def _turns(ready: Sequence[float | None], rng: random.Random) -> list[Turn | None]:
    """The turn at the only till of each who wants to buy, in seconds of the day."""
    in_order = sorted((at, number) for number, at in enumerate(ready) if at is not None)
    comers = [
        Comer(at, lambda _: 0.0, lambda _: TO_TILL_SECONDS, rng.uniform(*SERVICE_SECONDS))
        for at, _ in in_order
    ]
    turns = serve(comers, 1, PATIENCE)
    found = {number: turn for (_, number), turn in zip(in_order, turns, strict=True)}
    return [found.get(number) for number in range(len(ready))]

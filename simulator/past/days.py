"""The days of a chain before a moment: what happened, and the messages about it.

A day is one of each branch's own calendar. The same stores, seed and end make the same days, to the
byte; ids follow from the seed and the day.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Any

from conf.contracts.order_event import IN_STORE
from conf.stores import Branch, Stores
from simulator.baskets import Basket, read_baskets
from simulator.orders import SimulatedOrderEvent
from simulator.past.demand import Opening, arrivals, openings
from simulator.past.frames import Filming, whole_hour
from simulator.past.sales import PlannedSale, order_events, sales_from_afar
from simulator.past.visits import TICK, live_a_day

AFAR_A_SALE = 0.3
"""Orders from afar for each one at the till."""
WALK = timedelta(seconds=5)
"""Who begins to come in later than this before the end is not there yet."""


@dataclass(frozen=True)
class PastDay:
    """What one day sends, and the truth about it.

    Attributes:
        orders: events of the orders that end before the end of the past, by branch and order.
        visitors: (branch, hour in UTC) -> people who came in, as far as a camera saw an entrance.
        cameras: the frames of each camera, by time; can be read once.
    """

    day: date
    orders: list[SimulatedOrderEvent]
    visitors: Counter[tuple[str, datetime]]
    cameras: list[Iterator[dict[str, Any]]]

    def frames(self) -> Iterator[dict[str, Any]]:
        """Detection events of all cameras, one camera after the other."""
        return chain.from_iterable(self.cameras)


@dataclass(frozen=True)
class Past:
    """The days before `end` (UTC, a full hour) of a chain."""

    stores: Stores
    seed: int
    end: datetime

    def days(self, count: int) -> list[date]:
        """So many days before that of the end, and that day itself, oldest first."""
        return [self.end.date() - timedelta(back) for back in range(count, -1, -1)]

    def day(self, day: date) -> PastDay:
        """One day of every branch."""
        found = PastDay(day, [], Counter(), [])
        baskets = read_baskets(self.seed + day.toordinal())
        for branch in self.stores.branches:
            if opened := openings(branch, day):
                self._add(found, branch, opened, baskets)
        return found

    def _add(
        self, found: PastDay, branch: Branch, opened: list[Opening], baskets: Iterator[Basket]
    ) -> None:
        seed = f"seed-{self.seed}/{found.day}/{branch.branch_id}"
        start = whole_hour(opened[0].begins)
        rng = random.Random(seed)  # noqa: S311 - a replayable past, not secrets
        weeks = (self.end.date() - found.day).days / 7
        parties = [at for one in opened for at in arrivals(branch, one, weeks, rng)]
        visits = live_a_day(branch.branch_id, opened, start, parties, seed)
        paid = [start + timedelta(seconds=v.turn.pays) for v in visits if v.turn]
        afar = sales_from_afar(
            (opened[0].begins, opened[-1].ends), round(AFAR_A_SALE * len(paid)), seed
        )
        others = [b.branch_id for b in self.stores.branches if b != branch]
        sales = [*(PlannedSale(at, IN_STORE) for at in paid), *afar]
        for events in order_events(branch, others, sales, baskets, seed):
            if events[-1].event_time < self.end:
                found.orders.extend(events)
        here = [v for v in visits if start + v.arrives * TICK < self.end - WALK]
        filming = Filming(self.stores, branch, start, here, seed)
        found.visitors.update((branch.branch_id, whole_hour(at)) for at in filming.entries())
        run_id = f"seed-{self.seed}-{found.day}"
        found.cameras.extend(
            filming.frames(camera, opened, self.end, run_id) for camera in branch.cameras
        )

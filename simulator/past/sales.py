"""What a branch sells on one day: to those who paid at its till, and from afar."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import uuid5

from conf.contracts.order_event import IN_STORE, TILLS
from conf.stores import Branch
from simulator.baskets import Basket
from simulator.lives import Life, plan_steps, with_ties_and_returns
from simulator.orders import NAMESPACE, SimulatedOrderEvent, step_event
from simulator.tills import CHANNELS, draw, draw_sale

LIFE_IN_STORE, LIFE_FROM_AFAR = 60.0, 1800.0
"""Seconds that the lives of orders are spread over."""
FROM_AFAR = {channel: share for channel, share in CHANNELS.items() if channel != IN_STORE}


@dataclass(frozen=True)
class PlannedSale:
    """When an order is made, and where: an id of `CHANNELS`."""

    at: datetime
    channel: str


def sales_from_afar(
    branch_day: tuple[datetime, datetime], count: int, seed: str
) -> list[PlannedSale]:
    """Orders of the web shop, by phone and the like, at any time of the opening hours."""
    rng = random.Random(f"{seed}/afar")  # noqa: S311 - a replayable past, not secrets
    begins, ends = branch_day
    return [
        PlannedSale(begins + rng.random() * (ends - begins), draw(rng, FROM_AFAR))
        for _ in range(count)
    ]


def order_events(
    branch: Branch,
    others: Sequence[str],
    sales: Sequence[PlannedSale],
    baskets: Iterator[Basket],
    seed: str,
) -> Iterator[list[SimulatedOrderEvent]]:
    """The events of one order after the other, each by time; in the currency of the branch.

    Args:
        branch: that sells.
        others: ids of branches that may fulfil orders from afar.
        sales: one order each.
        baskets: as many are taken.
        seed: of the orders, and part of all their ids.
    """
    rng = random.Random(f"{seed}/sales")  # noqa: S311 - a replayable past, not secrets
    tag = uuid5(NAMESPACE, seed).hex[:8]
    for sale in sales:
        basket = next(baskets)
        seconds = LIFE_IN_STORE if sale.channel == IN_STORE else LIFE_FROM_AFAR
        steps = with_ties_and_returns(plan_steps(basket.lines, rng, seconds), rng, seconds)
        sampled = draw_sale(
            *(branch.branch_id, branch.currency, basket.customer_id, others, rng),
            channel=sale.channel,
        )
        life = Life(
            order_id=f"O-{tag}-{basket.basket_id}",
            branch_id=branch.branch_id,
            customer_id=basket.customer_id,
            payment_method="cash",
            currency=branch.currency,
            steps=steps,
            version=TILLS,
            sale=replace(sampled, currency=branch.currency),
        )
        yield list(_events(life, sale.at, seed))


def _events(life: Life, created_at: datetime, salt: str) -> Iterator[SimulatedOrderEvent]:
    at = created_at
    for number, step in enumerate(life.steps):
        at += timedelta(seconds=step.after)
        when = created_at if step.tied else at
        yield step_event(life, number, salt, made_at=when, event_time=when, created_at=created_at)

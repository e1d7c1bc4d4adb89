"""From baskets to the lives of orders: created, updated, processed, completed or cancelled.

Which basket, life and payment follow from the seed alone; identifiers from seed and run id,
so that two runs never collide; times from the clock that is passed in.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from conf.contracts.order_event import RETURNED, STATUS_CHANGED, TILLS
from simulator.baskets import Basket
from simulator.lives import (
    LONGEST_LIFE,
    Life,
    full_order,
    plan_steps,
    status_change,
    with_ties_and_returns,
)
from simulator.tills import draw_sale, draw_version

NAMESPACE = UUID("3f6a1c52-7c0b-4b8e-9f55-0b6f1f0c9d10")
LIFE_SECONDS = 15.0
TICK = timedelta(microseconds=1)
SHARE_ONLINE = 0.35
OLD_CHANNELS = ("store", "web", "app", None)
"""Of version 2."""


@dataclass(frozen=True)
class SimulatedOrderEvent:
    """One event of a till, with the fields that a ledger needs.

    `made_at` is when the till made it; the `event_time` in the event differs for a late one.
    """

    event_id: str
    event_type: str
    order_id: str
    branch_id: str
    event_time: datetime
    made_at: datetime
    status: str
    total_price: Decimal | None
    document: dict[str, Any]

    @property
    def key(self) -> bytes:
        """The key of the Kafka message."""
        return self.order_id.encode()

    @property
    def value(self) -> bytes:
        """The event as JSON."""
        return as_json(self.document)


def as_json(document: Any) -> bytes:
    """Compact UTF-8. Decimals become floats: up to 15 digits they print as the exact amount."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, default=float).encode()


def instant(time: datetime) -> str:
    """A UTC time as the contract spells it."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


class Shop:
    """All tills of the chain: call `next_event` for whatever happens next.

    Events of one order come in order, with strictly rising times. `seconds` is the shop's own time,
    which decides when the follow-ups of an order are due; it need not be the clock's.
    """

    def __init__(
        self,
        baskets: Iterator[Basket],
        branches: Sequence[tuple[str, str]],
        *,
        seed: int,
        run_id: str,
        clock: Callable[[], datetime],
        life_seconds: float = LIFE_SECONDS,
        version: int | None = 1,
    ) -> None:
        """Open the shop; `branches` are pairs of branch id and currency.

        `version` is that of the events; None: of each life another one, as old tills and new send.
        """
        self._baskets = baskets
        self._branches = branches
        self._version = version
        self._rng = random.Random(seed)  # noqa: S311 - replayable traffic, not secrets
        # Apart: which basket and life follow does not depend on the version of the tills.
        self._tills = random.Random(f"tills-{seed}")  # noqa: S311 - replayable, not secret
        self._salt = f"{seed}/{run_id}"
        self._tag = uuid5(NAMESPACE, self._salt).hex[:8]
        self._clock = clock
        self._life_seconds = life_seconds
        self._last_time: datetime | None = None
        # (due, order number, step, life, created at): the number keeps the heap's order total.
        self._due: list[tuple[float, int, int, Life, datetime]] = []
        self._opened = 0
        self._owed = 0

    def next_event(self, seconds: float, slots_left: int | None = None) -> SimulatedOrderEvent:
        """The follow-up that is due, else a new order.

        Args:
            seconds: the shop's time.
            slots_left: how many events will still be asked for, this one included; when open orders
                need them, no new one starts, so that all lives end, save perhaps the very last.
        """
        closing = slots_left is not None and self._owed + LONGEST_LIFE > slots_left
        if self._due and (closing or self._due[0][0] <= seconds):
            _, number, at, life, created_at = heapq.heappop(self._due)
            self._owed -= 1
            return self._emit(seconds, number, at, life, created_at)
        return self._emit(seconds, self._opened, 0, self._open(), None)

    def finish(self) -> Iterator[SimulatedOrderEvent]:
        """The remaining events of open orders, without a new order."""
        while self._due:
            yield self.next_event(self._due[0][0])

    def stray_event(
        self, age: timedelta = timedelta(0), version: int | None = None
    ) -> SimulatedOrderEvent:
        """The first or last full event of an order that has no other events.

        Args:
            age: of its event time, and of the creation of its order.
            version: of the event; None: as the shop's.
        """
        life = self._open(version)
        at = self._rng.choice([0, len(life.steps) - 1])
        at = 0 if life.steps[at].event_type == "order.status_changed" else at
        now = self._now()
        event_time = now - age
        return step_event(
            life, at, self._salt, made_at=now, event_time=event_time, created_at=event_time
        )

    def _emit(
        self, seconds: float, number: int, at: int, life: Life, created_at: datetime | None
    ) -> SimulatedOrderEvent:
        now = self._now()
        created_at = created_at or now
        if at == 0:
            self._owed += len(life.steps) - 1
        if at + 1 < len(life.steps):
            due = seconds + life.steps[at + 1].after
            heapq.heappush(self._due, (due, number, at + 1, life, created_at))
        event_time = created_at if life.steps[at].tied else now
        return step_event(
            life, at, self._salt, made_at=now, event_time=event_time, created_at=created_at
        )

    def _open(self, version: int | None = None) -> Life:
        basket = next(self._baskets)
        self._opened += 1
        branch_id, currency = self._branches[basket.store_id % len(self._branches)]
        lap = f"-{basket.lap}" if basket.lap else ""
        life = Life(
            order_id=f"O-{self._tag}-{basket.basket_id}{lap}",
            branch_id=branch_id,
            customer_id=basket.customer_id,
            payment_method="online" if self._rng.random() < SHARE_ONLINE else "cash",
            currency=currency,
            steps=plan_steps(basket.lines, self._rng, self._life_seconds),
        )
        return self._at_a_till(life, version or self._version or draw_version(self._tills))

    def _at_a_till(self, life: Life, version: int) -> Life:
        if version == 1:
            return life
        if version < TILLS:
            return replace(life, version=version, channel=self._tills.choice(OLD_CHANNELS))
        others = [b for b, _ in self._branches if b != life.branch_id]
        return replace(
            life,
            version=version,
            sale=draw_sale(life.branch_id, life.currency, life.customer_id, others, self._tills),
            steps=with_ties_and_returns(life.steps, self._tills, self._life_seconds),
        )

    def _now(self) -> datetime:
        now = self._clock()
        if self._last_time is not None:
            now = max(now, self._last_time + TICK)
        self._last_time = now
        return now


def step_event(
    life: Life,
    at: int,
    salt: str,
    *,
    made_at: datetime,
    event_time: datetime,
    created_at: datetime,
) -> SimulatedOrderEvent:
    """The event of step `at` of a life; `salt`, the order and the step make its id."""
    step = life.steps[at]
    event_id = str(uuid5(NAMESPACE, f"{salt}/{life.order_id}/{at}"))
    change = step.event_type == STATUS_CHANGED
    since = event_time if step.event_type == RETURNED else created_at
    order = status_change(life, at) if change else full_order(life, step, instant(since))
    document = {
        "event_id": event_id,
        "event_type": step.event_type,
        "event_time": instant(event_time),
        "schema_version": life.version,
        "source": f"pos-{life.branch_id}",
        "order": order,
    }
    return SimulatedOrderEvent(
        event_id=event_id,
        event_type=step.event_type,
        order_id=order["order_id"],
        branch_id=life.branch_id,
        event_time=event_time,
        made_at=made_at,
        status=step.status,
        total_price=None if change else Decimal(str(order["total_price"])),
        document=document,
    )

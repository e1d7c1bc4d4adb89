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

from simulator.baskets import Basket, BasketLine

NAMESPACE = UUID("3f6a1c52-7c0b-4b8e-9f55-0b6f1f0c9d10")
LIFE_SECONDS = 15.0
LONGEST_LIFE = 4  # steps: created, updated, processing, completed
TICK = timedelta(microseconds=1)
SHARE_UPDATED, SHARE_CANCELLED, SHARE_ONLINE = 0.15, 0.08, 0.35


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


@dataclass(frozen=True)
class Step:
    """What happens next to an order, `after` seconds after the step before."""

    after: float
    event_type: str
    status: str
    lines: tuple[BasketLine, ...]


@dataclass(frozen=True)
class Life:
    """One order from its first event to its last."""

    order_id: str
    branch_id: str
    customer_id: str
    payment_method: str
    currency: str
    steps: tuple[Step, ...]


def as_json(document: Any) -> bytes:
    """Compact UTF-8. Prices are floats here: up to 15 digits they print as the exact cents."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def instant(time: datetime) -> str:
    """A UTC time as the contract spells it."""
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


def plan_steps(
    lines: tuple[BasketLine, ...], rng: random.Random, life_seconds: float
) -> tuple[Step, ...]:
    """Draw one life: created [updated] [processing] then completed or cancelled."""

    def wait(low: float, high: float) -> float:
        return rng.uniform(low, high) * life_seconds

    steps = [Step(0.0, "order.created", "pending", lines)]
    if rng.random() < SHARE_UPDATED:
        lines = _change(lines, rng)
        steps.append(Step(wait(0.05, 0.2), "order.updated", "pending", lines))
    cancelled = rng.random() < SHARE_CANCELLED
    if not cancelled or rng.random() < 0.5:
        steps.append(Step(wait(0.1, 0.3), "order.status_changed", "processing", lines))
    if cancelled:
        steps.append(Step(wait(0.1, 0.5), "order.cancelled", "cancelled", lines))
    else:
        steps.append(Step(wait(0.2, 0.5), "order.status_changed", "completed", lines))
    return tuple(steps)


def _change(lines: tuple[BasketLine, ...], rng: random.Random) -> tuple[BasketLine, ...]:
    """The customer puts one product back, or takes one more piece of it."""
    at = rng.randrange(len(lines))
    if len(lines) > 1 and rng.random() < 0.5:
        return lines[:at] + lines[at + 1 :]
    return (*lines[:at], replace(lines[at], quantity=lines[at].quantity + 1), *lines[at + 1 :])


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
    ) -> None:
        """Open the shop; `branches` are pairs of branch id and currency."""
        self._baskets = baskets
        self._branches = branches
        self._rng = random.Random(seed)  # noqa: S311 - replayable traffic, not secrets
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

    def stray_event(self, age: timedelta = timedelta(0)) -> SimulatedOrderEvent:
        """The first or last full event of an order that has no other events.

        Args:
            age: of its event time, and of the creation of its order.
        """
        life = self._open()
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
        return step_event(life, at, self._salt, made_at=now, event_time=now, created_at=created_at)

    def _open(self) -> Life:
        basket = next(self._baskets)
        self._opened += 1
        branch_id, currency = self._branches[basket.store_id % len(self._branches)]
        lap = f"-{basket.lap}" if basket.lap else ""
        return Life(
            order_id=f"O-{self._tag}-{basket.basket_id}{lap}",
            branch_id=branch_id,
            customer_id=basket.customer_id,
            payment_method="online" if self._rng.random() < SHARE_ONLINE else "cash",
            currency=currency,
            steps=plan_steps(basket.lines, self._rng, self._life_seconds),
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
    change = step.event_type == "order.status_changed"
    total = None if change else sum((line.value for line in step.lines), Decimal("0.00"))
    order = _status_change(life, at) if change else _full_order(life, step, created_at)
    document = {
        "event_id": event_id,
        "event_type": step.event_type,
        "event_time": instant(event_time),
        "schema_version": 1,
        "source": f"pos-{life.branch_id}",
        "order": order,
    }
    return SimulatedOrderEvent(
        event_id=event_id,
        event_type=step.event_type,
        order_id=life.order_id,
        branch_id=life.branch_id,
        event_time=event_time,
        made_at=made_at,
        status=step.status,
        total_price=total,
        document=document,
    )


def _status_change(life: Life, at: int) -> dict[str, Any]:
    return {
        "order_id": life.order_id,
        "branch_id": life.branch_id,
        "old_status": life.steps[at - 1].status,
        "new_status": life.steps[at].status,
    }


def _full_order(life: Life, step: Step, created_at: datetime) -> dict[str, Any]:
    return {
        "order_id": life.order_id,
        "customer_id": life.customer_id,
        "branch_id": life.branch_id,
        "status": step.status,
        "payment_method": life.payment_method,
        "currency": life.currency,
        "total_price": float(sum(line.value for line in step.lines)),
        "created_at": instant(created_at),
        "items": [
            {
                "product_id": line.product_id,
                "name": line.name,
                "category": line.category,
                "quantity": line.quantity,
                "unit_price": float(line.unit_price),
            }
            for line in step.lines
        ],
    }

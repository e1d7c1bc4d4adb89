"""Lives of orders: created, updated, processed, then completed or cancelled, and returned."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from conf.contracts.order_event import RETURNED
from simulator.baskets import BasketLine
from simulator.tills import SHARE_RETURNED, SHARE_TIED, Sale, order_fields

LONGEST_LIFE = 5  # steps: created, updated, processing, completed, returned
SHARE_UPDATED, SHARE_CANCELLED = 0.15, 0.08


@dataclass(frozen=True)
class Step:
    """What happens next to an order, `after` seconds after the step before.

    Attributes:
        lines: of the order after it; of a return, what comes back.
        tied: whether its event has the time at which the order was created.
    """

    after: float
    event_type: str
    status: str
    lines: tuple[BasketLine, ...]
    tied: bool = False


@dataclass(frozen=True)
class Life:
    """One order from its first event to its last.

    Attributes:
        version: of its events.
        sale: what a till of version 3 adds; None before.
        channel: of version 2, whose tills may not know it.
    """

    order_id: str
    branch_id: str
    customer_id: str
    payment_method: str
    currency: str
    steps: tuple[Step, ...]
    version: int = 1
    sale: Sale | None = None
    channel: str | None = None


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


def with_ties_and_returns(
    steps: tuple[Step, ...], rng: random.Random, life_seconds: float
) -> tuple[Step, ...]:
    """Draw which order changes at the instant of its creation, and what of a sale comes back."""
    created, second, *others = steps
    if rng.random() < SHARE_TIED:
        second = replace(second, after=0.0, tied=True)
    steps = (created, second, *others)
    if steps[-1].status == "completed" and rng.random() < SHARE_RETURNED:
        back = steps[-1].lines[: rng.choice([1, None])]
        wait = rng.uniform(0.1, 0.3) * life_seconds
        steps = (*steps, Step(wait, RETURNED, "completed", back))
    return steps


def status_change(life: Life, at: int) -> dict[str, Any]:
    """The `order` of the status change at step `at`."""
    return {
        "order_id": life.order_id,
        "branch_id": life.branch_id,
        "old_status": life.steps[at - 1].status,
        "new_status": life.steps[at].status,
    }


def full_order(life: Life, step: Step, created_at: str) -> dict[str, Any]:
    """The `order` of any other step; of a return, the order that it makes."""
    order = {
        "order_id": life.order_id,
        "branch_id": life.branch_id,
        "status": step.status,
        "created_at": created_at,
    }
    if life.sale is None:
        return {**order, **_plain_fields(life, step.lines)}
    returned = step.event_type == RETURNED
    if returned:
        order["order_id"] = f"{life.order_id}-R"
        order |= {"original_order_id": life.order_id} if life.sale.receipt else {}
    return {**order, **order_fields(life.sale, step.lines, returned=returned)}


def _plain_fields(life: Life, lines: Sequence[BasketLine]) -> dict[str, Any]:
    """The fields of versions 1 and 2."""
    return {
        "customer_id": life.customer_id,
        "payment_method": life.payment_method,
        "currency": life.currency,
        "total_price": float(sum(line.value for line in lines)),
        **({"channel": life.channel} if life.version > 1 else {}),
        "items": [
            {
                "product_id": line.product_id,
                "name": line.name,
                "category": line.category,
                "quantity": line.quantity,
                "unit_price": float(line.unit_price),
            }
            for line in lines
        ],
    }

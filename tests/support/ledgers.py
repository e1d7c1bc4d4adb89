"""Builder of lines of a ledger: a test names only what it is about."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from simulator.ledger import Entry

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
TOPIC = "order-created"


def entry(number: int, **overrides: Any) -> Entry:
    """The accepted `order.created` of order O-<number>, at offset <number> of partition 0."""
    values = {
        "event_id": f"E-{number}",
        "order_id": f"O-{number}",
        "event_type": "order.created",
        "event_time": NOON + timedelta(seconds=number),
        "status": "pending",
        "total_price": Decimal("2.50"),
        "made_at": NOON + timedelta(seconds=number),
        "outcome": "accepted",
        "late": False,
        "duplicate_of": None,
        "topic": TOPIC,
        "partition": 0,
        "offset": number,
        "digest": f"bytes of E-{number}",
        "branch_id": "B01",
        "created_at": NOON,
        "currency": "USD",
        "payment_method": "cash",
    }
    return Entry(**{**values, **overrides})


def change(number: int, order: str, status: str, **overrides: Any) -> Entry:
    """The accepted `order.status_changed` of an order, which has no body."""
    body = dict.fromkeys(("total_price", "created_at", "currency", "payment_method"))
    return entry(
        number, order_id=order, event_type="order.status_changed", status=status,
        **{**body, **overrides},
    )  # fmt: skip

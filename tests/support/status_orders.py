"""Status events of orders, and the state machine of the tracker with its state in memory."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa

from streaming.transforms.order_buckets import OrderBucket, place_of
from streaming.transforms.order_status import (
    Event,
    HistoryRow,
    StatusMachine,
    StatusRules,
    TrackedOrder,
)

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
DAY = timedelta(hours=24)
WEEK = 7 * DAY
HALF_HOUR = timedelta(minutes=30)


def micros(time: datetime | timedelta) -> int:
    """Since 1970, or a duration, in microseconds."""
    if isinstance(time, datetime):
        return int(pa.scalar(time, pa.timestamp("us", "UTC")).value)
    return time // timedelta(microseconds=1)


RULES = StatusRules(*(micros(limit) for limit in (DAY, HALF_HOUR, DAY, WEEK)))
"""The product's own limits: stuck after a day, sessions, kept when ended, kept when stuck."""


class MemorySlots(dict[int, bytes]):
    """`SlotStore` of one bucket."""

    def put(self, slot: int, value: bytes | None) -> None:
        if value is None:
            self.pop(slot, None)
        else:
            self[slot] = value


class Tracker:
    """The tracker without Spark: all buckets of orders, and the rows that they have emitted."""

    def __init__(self) -> None:
        self.rows: dict[str, HistoryRow] = {}
        self.emitted: list[HistoryRow] = []
        self._slots: dict[int, MemorySlots] = defaultdict(MemorySlots)
        self._index: dict[int, bytes] = {}

    def apply(self, *events: tuple[str, Event], clock: datetime = TEN) -> None:
        """One micro-batch of events (order id, event), in the order of their arrival."""
        by_bucket: dict[int, list[tuple[str, Event]]] = {number: [] for number in self._slots}
        for order_id, event in events:
            by_bucket.setdefault(place_of(order_id)[0], []).append((order_id, event))
        for number, arrived in by_bucket.items():
            bucket = self.bucket(number)
            emitted = bucket.receive(arrived) + bucket.advance(micros(clock))
            self.emitted += emitted
            self.rows |= {row.event_id: row for row in emitted}
            self.save(number, bucket)

    def save(self, number: int, bucket: OrderBucket) -> None:
        """End a micro-batch of a bucket."""
        index = bucket.save()
        if index is not None:
            self._index[number] = index

    def bucket(self, number: int) -> OrderBucket:
        """A bucket as a micro-batch opens it."""
        return OrderBucket(StatusMachine(RULES), self._slots[number], self._index.get(number))

    def restore(self, number: int, orders: list[tuple[str, TrackedOrder]], clock: datetime) -> None:
        """Start a bucket with these orders, whose alarms up to a time are written."""
        bucket = self.bucket(number)
        bucket.restore(orders)
        bucket.advance(micros(clock))
        self.save(number, bucket)

    @property
    def history(self) -> list[HistoryRow]:
        """Rows in event time, alarms after the change that they are about."""
        return sorted(self.rows.values(), key=lambda row: (row.version, row.event_id))

    @property
    def anomalies(self) -> list[str | None]:
        return [row.anomaly for row in self.history]

    def due_at(self, order_id: str) -> int | None:
        """When the timer of an order is due; None where no state is kept."""
        bucket, slot = place_of(order_id)
        kept = self.bucket(bucket).orders(slot).get(order_id)
        return kept.due_at if kept else None


def created(number: int, minute: float, order_id: str = "O-1", **overrides: Any) -> Any:
    """An order is created, `minute` minutes after ten; `number` is its position in the log."""
    at = micros(TEN + timedelta(minutes=minute))
    return event(number, at, order_id, **{"since": at, "status": "pending", **overrides})


def change(
    number: int, minute: float, old: str, new: str, order_id: str = "O-1", **overrides: Any
) -> Any:
    """A status change."""
    at = micros(TEN + timedelta(minutes=minute))
    return event(number, at, order_id, status=new, old_status=old, **overrides)


def cancelled(number: int, minute: float, order_id: str = "O-1") -> Any:
    """An order is cancelled, as a whole order."""
    return event(number, micros(TEN + timedelta(minutes=minute)), order_id, status="cancelled")


def event(number: int, at: int, order_id: str, **fields: Any) -> tuple[str, Event]:
    """Any event of an order, with its id."""
    version = f"{at:020d}|{number:020d}"
    given = {"event_id": f"E-{number}", "version": version, "at": at, "branch_id": "B01", **fields}
    return order_id, Event(**given)

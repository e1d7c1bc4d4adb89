"""Orders in buckets: how the state of `order_status` is kept, and when its timers are due.

An order belongs to one of `BUCKETS` buckets, and in it to one of `SLOTS` slots. A slot is one value
of a keyed store, so that an event costs one read and one write of a few orders, however many are
kept. The index of a bucket has the earliest timer of each slot, so that the clock of a stream costs
one read for each bucket, and only slots with a timer that is due are read. Times are microseconds
since 1970 in UTC.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Protocol
from zlib import crc32

import msgspec

from streaming.transforms.order_status import (
    Event,
    HistoryRow,
    StatusMachine,
    TrackedOrder,
    is_over,
)

BUCKETS, SLOTS = 32, 4096
"""Other numbers need a new `state_version` of the source."""
NEVER = 2**32 - 1
"""Of the index, in seconds since 1970: a slot without an order."""
SAVE_CLOCK_AFTER = 60_000_000
"""The index is written again for its clock alone when that has moved by so much."""


class KeptOrder(msgspec.Struct, array_like=True):
    """An order in a slot; `order` is decoded when it is used."""

    due_at: int
    order: msgspec.Raw


Slot = dict[str, KeptOrder]
"""Order id -> the order."""

_encode = msgspec.msgpack.Encoder().encode
_slot = msgspec.msgpack.Decoder(Slot).decode
_order = msgspec.msgpack.Decoder(TrackedOrder).decode


def _second(micros: int) -> int:
    """A time in the units of the index."""
    return min(max(micros // 1_000_000, 0), NEVER)


class SlotStore(Protocol):
    """The slots of one bucket, as bytes."""

    def get(self, slot: int) -> bytes | None:
        """The value of a slot; None without any."""

    def put(self, slot: int, value: bytes | None) -> None:
        """Replace the value of a slot; None removes it."""


def place_of(order_id: str) -> tuple[int, int]:
    """Bucket and slot of an order: the same in every process."""
    return divmod(crc32(order_id.encode()) % (BUCKETS * SLOTS), SLOTS)


class OrderBucket:
    """The orders of one bucket in one micro-batch.

    Args:
        machine: applies events and timers.
        store: the slots.
        index: as `save` has returned it; None for an empty bucket.
    """

    def __init__(self, machine: StatusMachine, store: SlotStore, index: bytes | None) -> None:
        self._machine, self._store = machine, store
        self.clock = self._saved_clock = int.from_bytes(index[:8], "big") if index else 0
        self._due = array("I", index[8:] if index else [NEVER] * SLOTS)  # seconds since 1970
        self._saved_due = self._due[:]
        self._read: dict[int, Slot] = {}
        self._changed: set[int] = set()

    def restore(self, orders: Iterable[tuple[str, TrackedOrder]]) -> None:
        """Add orders, over those that are kept; their alarms are known."""
        for order_id, order in orders:
            self._machine.receive(order_id, order, (), self.clock)
            self._keep(order_id, order)

    def receive(self, events: Iterable[tuple[str, Event]]) -> list[HistoryRow]:
        """Apply events (order id, event) in the order of their arrival; the rows that changed."""
        by_order: dict[str, list[Event]] = {}
        for order_id, event in events:
            by_order.setdefault(order_id, []).append(event)
        rows: list[HistoryRow] = []
        for order_id, arrived in by_order.items():
            kept = self.orders(place_of(order_id)[1]).get(order_id)
            order = _order(kept.order) if kept else TrackedOrder()
            rows += self._machine.receive(order_id, order, arrived, self.clock)
            self._keep(order_id, order)
        return rows

    def advance(self, clock: int) -> list[HistoryRow]:
        """Set the clock, which never decreases: delete the orders that are over, raise alarms."""
        self.clock = max(self.clock, clock)
        now = _second(self.clock)
        if min(self._due) > now:
            return []
        due = [slot for slot, due_at in enumerate(self._due) if due_at <= now]
        return [row for slot in due for row in self._fire(slot)]

    def orders(self, slot: int) -> Slot:
        """The orders of a slot."""
        if slot not in self._read:
            value = None if self._due[slot] == NEVER else self._store.get(slot)
            self._read[slot] = _slot(value) if value else {}
        return self._read[slot]

    def save(self) -> bytes | None:
        """Write the slots that have changed; return the index, or None where it is unchanged."""
        for slot in self._changed:
            orders = self._read[slot]
            self._due[slot] = min((_second(k.due_at) for k in orders.values()), default=NEVER)
            self._store.put(slot, _encode(orders) if orders else None)
        if self._due == self._saved_due and self.clock < self._saved_clock + SAVE_CLOCK_AFTER:
            return None
        return self.clock.to_bytes(8, "big") + self._due.tobytes()

    def _keep(self, order_id: str, order: TrackedOrder) -> None:
        if not order.events:
            return
        slot = place_of(order_id)[1]
        due_at = self._machine.due_at(order)
        self.orders(slot)[order_id] = KeptOrder(due_at, msgspec.Raw(_encode(order)))
        self._due[slot] = min(self._due[slot], _second(due_at))
        self._changed.add(slot)

    def _fire(self, slot: int) -> Iterator[HistoryRow]:
        """The alarms that are due in a slot."""
        orders = self.orders(slot)
        for order_id in [name for name, kept in orders.items() if kept.due_at <= self.clock]:
            order = _order(orders[order_id].order)
            if is_over(order):
                del orders[order_id]
                self._changed.add(slot)
            else:
                yield from self._machine.receive(order_id, order, (), self.clock)
                self._keep(order_id, order)

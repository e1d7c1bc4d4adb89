"""State machine of the status of orders: events and a clock in, rows of the status history out.

Pure: no Spark, no clock of its own, no I/O. All times are microseconds since 1970 in UTC. A row is
computed from all changes of its order in the order of their versions, so it does not depend on
when each arrived; only `overtaken` does. An event that arrives again changes nothing.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import NamedTuple

import msgspec

OPEN = ("pending", "processing")
LEGAL = {("pending", "processing"), *product(OPEN, ("completed", "cancelled"))}
"""Transitions (old status, new status) that an order may make."""

_version = attrgetter("version")


@dataclass(frozen=True)
class StatusRules:
    """Limits in microseconds, as `streams.status_*` of the settings describes them."""

    stuck_after: int
    session_gap: int
    keep_terminal: int
    keep_stuck: int


class Event(msgspec.Struct, array_like=True, gc=False):
    """An accepted order.created, order.status_changed or order.cancelled.

    Attributes:
        event_id: unique.
        version: text that sorts in the order of the order's versions.
        at: event time.
        branch_id: of the order.
        status: that the order has from then on.
        old_status: that a status change claims as the one before; None for other events.
        since: `created_at` of an order.created; None for other events.
        overtaken: of a status change: a later change of the order had arrived before it.
    """

    event_id: str
    version: str
    at: int
    branch_id: str
    status: str
    old_status: str | None = None
    since: int | None = None
    overtaken: bool = False


class Alarm(msgspec.Struct, array_like=True, gc=False):
    """An order was stuck: its newest event at that time, and when its status began."""

    event: Event
    since: int


class Order(msgspec.Struct, array_like=True):
    """State of one order.

    Attributes:
        events: in the order of their versions, each once.
        alarms: raised and not withdrawn.
    """

    events: list[Event] = []
    alarms: list[Alarm] = []


class HistoryRow(NamedTuple):
    """A row of `order_status_history`, key event_id; absolute values.

    `session_at`: when the session of the change began. The seconds spent in `previous_status` are
    `changed_at - previous_changed_at`.
    """

    event_id: str
    order_id: str
    branch_id: str
    old_status: str
    new_status: str
    changed_at: int
    previous_status: str | None
    previous_changed_at: int | None
    session_at: int | None
    anomaly: str | None
    overtaken: bool
    version: str


class StatusMachine:
    """Applies events and the clock to the state of one order, within the limits of `rules`."""

    def __init__(self, rules: StatusRules) -> None:
        self._rules = rules

    def receive(
        self, order_id: str, order: Order, events: Iterable[Event], clock: int
    ) -> list[HistoryRow]:
        """Update an order; return its rows that are new or have changed.

        Args:
            order_id: of the order.
            order: its state; `Order()` where none is kept.
            events: in the order of their arrival.
            clock: the watermark before their arrival. A change of an unknown order from before
                the time for which ended orders are kept counts as overtaken.
        """
        before = set(self._history(order_id, order))
        late_until = clock - self._rules.keep_terminal
        withdrawn: list[HistoryRow] = []
        for event in events:
            if _insert(order, event, is_late=not order.events and event.at <= late_until):
                withdrawn += self._withdraw(order_id, order, event)
        changed = [row for row in self._history(order_id, order) if row not in before]
        return changed + withdrawn

    def raise_alarm(self, order_id: str, order: Order) -> HistoryRow:
        """Record that an open order is stuck, and return the row that says so."""
        alarm = Alarm(order.events[-1], _since(order))
        order.alarms.append(alarm)
        return self._alarm_row(order_id, alarm, "stuck")

    def due_at(self, order: Order) -> int:
        """When the alarm of an order is raised; or, where `is_over`, its state is deleted."""
        if order.events[-1].status not in OPEN:
            return _since(order) + self._rules.keep_terminal
        kept = self._rules.keep_stuck if is_over(order) else 0
        return _since(order) + self._rules.stuck_after + kept

    def _withdraw(self, order_id: str, order: Order, event: Event) -> list[HistoryRow]:
        """Withdraw the alarms before which this event was made, and which it should have reset."""
        over = [
            alarm
            for alarm in order.alarms
            if event.version > alarm.event.version
            and event.at < alarm.since + self._rules.stuck_after
        ]
        order.alarms = [alarm for alarm in order.alarms if alarm not in over]
        return [self._alarm_row(order_id, alarm, "stuck_withdrawn") for alarm in over]

    def _alarm_row(self, order_id: str, alarm: Alarm, anomaly: str) -> HistoryRow:
        event, since = alarm.event, alarm.since
        return HistoryRow(
            event_id=f"{event.event_id}/stuck",
            order_id=order_id,
            branch_id=event.branch_id,
            old_status=event.status,
            new_status=event.status,
            changed_at=since + self._rules.stuck_after,
            previous_status=event.status,
            previous_changed_at=since,
            session_at=None,
            anomaly=anomaly,
            overtaken=False,
            version=event.version,
        )

    def _history(self, order_id: str, order: Order) -> Iterator[HistoryRow]:
        """The row of each change of an order."""
        status, since = _beginning(order)
        at = session_at = None
        for change in _changes(order):
            if at is None or session_at is None or change.at - at >= self._rules.session_gap:
                session_at = change.at
            at = change.at
            yield HistoryRow(
                event_id=change.event_id,
                order_id=order_id,
                branch_id=change.branch_id,
                old_status=change.old_status or "",
                new_status=change.status,
                changed_at=at,
                previous_status=status,
                previous_changed_at=since if since is not None and since <= at else None,
                session_at=session_at,
                anomaly=_anomaly(change, status),
                overtaken=change.overtaken,
                version=change.version,
            )
            since = since if change.status == status else at
            status = change.status


def is_over(order: Order) -> bool:
    """Whether an order has ended, or its newest event has raised an alarm."""
    newest = order.events[-1]
    stuck = any(alarm.event.event_id == newest.event_id for alarm in order.alarms)
    return stuck or newest.status not in OPEN


def _changes(order: Order) -> list[Event]:
    return [event for event in order.events if event.old_status is not None]


def _beginning(order: Order) -> tuple[str | None, int | None]:
    """The first status of an order and when it began; None while no order.created is known."""
    for event in order.events:
        if event.since is not None:
            return event.status, event.since
    return None, None


def _since(order: Order) -> int:
    """When the status of an order began; a repeated change does not restart it."""
    newest = order.events[-1]
    status, since = _beginning(order)
    begun = newest.at if newest.since is None else newest.since
    if newest.status not in OPEN:
        return begun
    for change in _changes(order):
        since = since if change.status == status else change.at
        status = change.status
    return begun if since is None else since


def _anomaly(change: Event, status: str | None) -> str | None:
    """What is wrong with a change of an order that had a status (None: unknown)."""
    if change.status == status:
        return "duplicate"
    if change.overtaken:
        return "out_of_order"
    is_claim_wrong = status is not None and change.old_status != status
    is_illegal = is_claim_wrong or (change.old_status, change.status) not in LEGAL
    return "illegal_transition" if is_illegal else None


def _insert(order: Order, event: Event, *, is_late: bool) -> bool:
    """Add an event at its place; of one that arrives more than once, the first version is kept."""
    for known in order.events:
        if known.event_id == event.event_id:
            known.version = min(known.version, event.version)
            order.events.sort(key=_version)
            return False
    if event.old_status is not None:
        later = any(change.version > event.version for change in _changes(order))
        event.overtaken = event.overtaken or is_late or later
    insort(order.events, event, key=_version)
    return True

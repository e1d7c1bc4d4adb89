"""State machine of the status of orders: events and a clock in, rows of the status history out.

Pure: no Spark, no clock of its own, no I/O. All times are microseconds since 1970 in UTC. A row is
computed from all changes of its order in the order of their versions, so it does not depend on
when each arrived; only `overtaken` does. An event that arrives again changes nothing. The clock
only raises the alarm about the present status of an order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from operator import attrgetter
from typing import NamedTuple

import msgspec

OPEN = ("pending", "processing")
LEGAL = {("pending", "processing"), *product(OPEN, ("completed", "cancelled"))}
"""Transitions (old status, new status) that an order may make."""
ALARM = "/stuck"
"""Follows the event's id in that of an alarm; where an earlier event began the status, `/` and the
time of that follow (microseconds since 1970 in UTC)."""


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


class Alarm(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An order is stuck: the id of its newest event before, and when its status had begun."""

    event_id: str
    since: int


class TrackedOrder(msgspec.Struct, array_like=True):
    """State of one order.

    Attributes:
        events: in the order of their versions, each once.
        alarms: that have been raised and not withdrawn.
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
        self, order_id: str, order: TrackedOrder, events: Sequence[Event], clock: int
    ) -> list[HistoryRow]:
        """Update an order; return its rows that are new or have changed.

        Args:
            order_id: of the order.
            order: its state; `TrackedOrder()` where none is kept.
            events: in the order of their arrival.
            clock: the watermark before their arrival. A change of an unknown order from before
                the time for which ended orders are kept counts as overtaken.
        """
        rows: list[HistoryRow] = []
        if events:
            before = set(self._history(order_id, order))
            _insert(order, events, clock - self._rules.keep_terminal)
            rows = [row for row in self._history(order_id, order) if row not in before]
        return rows + self._update_alarms(order_id, order, clock)

    def due_at(self, order: TrackedOrder) -> int:
        """When the alarm of an order is raised; or, where `is_over`, its state is deleted."""
        *_, (newest, since) = _timeline(order)
        if newest.status not in OPEN:
            return since + self._rules.keep_terminal
        return since + self._rules.stuck_after + (self._rules.keep_stuck if is_over(order) else 0)

    def _update_alarms(self, order_id: str, order: TrackedOrder, clock: int) -> list[HistoryRow]:
        """Raise the alarms that are due, and withdraw those that events have proved wrong."""
        due, known = list(self._due_alarms(order, clock)), order.alarms
        order.alarms = due
        changed = [(alarm, "stuck") for alarm in due if alarm not in known]
        changed += [(alarm, "stuck_withdrawn") for alarm in known if alarm not in due]
        return [self._alarm_row(order_id, order, alarm, anomaly) for alarm, anomaly in changed]

    def _due_alarms(self, order: TrackedOrder, clock: int) -> Iterator[Alarm]:
        """One for each time in which the order had the same open status for `stuck_after`.

        They depend on the events alone, but for the newest one: so a replay raises the same alarms.
        """
        alarmed = None
        ends = [*(event.at for event in order.events[1:]), clock]
        for (event, since), end in zip(_timeline(order), ends, strict=True):
            is_due = event.status in OPEN and since + self._rules.stuck_after <= end
            if is_due and since != alarmed:
                alarmed = since
                yield Alarm(event.event_id, since)

    def _alarm_row(
        self, order_id: str, order: TrackedOrder, alarm: Alarm, anomaly: str
    ) -> HistoryRow:
        (event,) = (event for event in order.events if event.event_id == alarm.event_id)
        return HistoryRow(
            event_id=_alarm_id(event, alarm.since),
            order_id=order_id,
            branch_id=event.branch_id,
            old_status=event.status,
            new_status=event.status,
            changed_at=alarm.since + self._rules.stuck_after,
            previous_status=event.status,
            previous_changed_at=alarm.since,
            session_at=None,
            anomaly=anomaly,
            overtaken=False,
            version=event.version,
        )

    def _history(self, order_id: str, order: TrackedOrder) -> Iterator[HistoryRow]:
        """The row of each change of an order."""
        status, since = _beginning(order)
        at = session_at = None
        for change in order.events:
            if change.old_status is None:
                continue
            if at is None or session_at is None or change.at - at >= self._rules.session_gap:
                session_at = change.at
            at = change.at
            yield HistoryRow(
                event_id=change.event_id,
                order_id=order_id,
                branch_id=change.branch_id,
                old_status=change.old_status,
                new_status=change.status,
                changed_at=at,
                previous_status=status,
                previous_changed_at=since if since is not None and since <= at else None,
                session_at=session_at,
                anomaly=_anomaly(change, change.old_status, status),
                overtaken=change.overtaken,
                version=change.version,
            )
            since = since if change.status == status else at
            status = change.status


def is_over(order: TrackedOrder) -> bool:
    """Whether an order has ended, or its alarm has been raised."""
    *_, (newest, since) = _timeline(order)
    return newest.status not in OPEN or any(alarm.since == since for alarm in order.alarms)


def _alarm_id(event: Event, since: int) -> str:
    """An id whose time never changes, though a late event may show that the status began before."""
    alone = event.event_id + ALARM
    return alone if since == _begun(event) else f"{alone}/{since}"


def _begun(event: Event) -> int:
    """When the status that an event reports began, by itself."""
    return event.at if event.since is None else event.since


def _beginning(order: TrackedOrder) -> tuple[str | None, int | None]:
    """The first status of an order and when it began; None while no order.created is known."""
    for event in order.events:
        if event.since is not None:
            return event.status, event.since
    return None, None


def _timeline(order: TrackedOrder) -> Iterator[tuple[Event, int]]:
    """Each event, and when the status after it began; a repeated change does not restart it."""
    status, since = _beginning(order)
    for event in order.events:
        if event.old_status is not None and event.status != status:
            status, since = event.status, event.at
        yield event, _begun(event) if since is None or event.status not in OPEN else since


def _anomaly(change: Event, old_status: str, status: str | None) -> str | None:
    """What is wrong with a change of an order that had a status (None: unknown)."""
    if change.status == status:
        return "duplicate"
    if change.overtaken:
        return "out_of_order"
    is_claim_wrong = status is not None and old_status != status
    is_illegal = is_claim_wrong or (old_status, change.status) not in LEGAL
    return "illegal_transition" if is_illegal else None


def _insert(order: TrackedOrder, events: Sequence[Event], late_until: int) -> None:
    """Add events by their versions; of one that arrives more than once the first is kept."""
    known = {event.event_id: event for event in order.events}
    newest = max((e.version for e in order.events if e.old_status is not None), default="")
    for event in events:
        if first := known.get(event.event_id):
            first.version = min(first.version, event.version)
            continue
        known[event.event_id] = event
        if event.old_status is not None:
            is_late = len(known) == 1 and event.at <= late_until
            event.overtaken = is_late or event.version < newest
            newest = max(newest, event.version)
    order.events = sorted(known.values(), key=attrgetter("version"))

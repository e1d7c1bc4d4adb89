"""Restores the state of the order status tracker from what it has committed to Postgres.

A new checkpoint starts with the orders of the status history that may still be tracked, and the
state table of releases that kept it in Postgres. The source then repeats the messages that it
still has; those that are committed add the orders without a change yet. So the topics must keep
messages for `streams.status_stuck_after`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

import psycopg
import pyarrow as pa
from psycopg.rows import namedtuple_row

from streaming.sinks.postgres import committed
from streaming.transforms.order_buckets import place_of
from streaming.transforms.order_status import ALARM, Alarm, Event, TrackedOrder
from streaming.transforms.status_packs import RESTORED_SCHEMA, CommittedStart, encode

TRACKER = "order_status_tracker"

_HISTORY_SQL = """
    SELECT order_id, event_id, branch_id, old_status, new_status, previous_status, overtaken,
        version, anomaly, (extract(epoch FROM changed_at) * 1000000)::bigint AS changed_at,
        (extract(epoch FROM previous_changed_at) * 1000000)::bigint AS previous_changed_at
    FROM order_status_history WHERE order_id IN (
        SELECT h.order_id FROM order_status_history h, stream_watermarks w
        WHERE w.stream = %s AND h.changed_at >= w.watermark - %s)
    ORDER BY order_id, version"""

_STATE_SQL = """
    SELECT order_id, branch_id, status, version, event_id, first_status,
        (extract(epoch FROM since) * 1000000)::bigint AS since,
        (extract(epoch FROM first_since) * 1000000)::bigint AS first_since
    FROM order_status_state"""


def committed_start(dsn: str) -> CommittedStart:
    """Positions and watermark that the tracker has committed."""
    with psycopg.connect(dsn, options="-c timezone=UTC") as connection:
        positions, watermark = committed(connection, TRACKER)
    at = 0 if watermark is None else pa.scalar(watermark, pa.timestamp("us", "UTC")).value
    return CommittedStart(positions, at)


def restore(dsn: str, keep: timedelta) -> pa.Table:
    """Orders that were tracked at the committed positions -> rows of `RESTORED_SCHEMA`.

    Args:
        dsn: of the database.
        keep: only orders with a change, or an alarm, since so long before the watermark.
    """
    with psycopg.connect(dsn, row_factory=namedtuple_row) as connection:
        history: list[Any] = connection.execute(_HISTORY_SQL, (TRACKER, keep)).fetchall()
        state: list[Any] = connection.execute(_STATE_SQL).fetchall()
    orders = {
        order_id: _from_history(list(rows))
        for order_id, rows in groupby(history, attrgetter("order_id"))
    }
    for row in state:
        _add_state(orders.setdefault(row.order_id, TrackedOrder()), row)
    buckets = defaultdict(list)
    for order_id, order in orders.items():
        buckets[place_of(order_id)[0]].append((order_id, order))
    packed = [encode(kept) for kept in buckets.values()]
    return pa.table([list(buckets), packed], schema=RESTORED_SCHEMA)


def _from_history(rows: list[Any]) -> TrackedOrder:
    """The order of some rows of its history, in the order of their versions."""
    changes = [row for row in rows if not (row.anomaly or "").startswith("stuck")]
    events = {event.event_id: event for event in _beginning(changes)}
    for row in changes:
        events[row.event_id] = Event(
            row.event_id,
            row.version,
            row.changed_at,
            row.branch_id,
            row.new_status,
            row.old_status,
            overtaken=row.overtaken,
        )
    alarms = []
    for row in rows:
        if row.anomaly == "stuck":
            event_id, since = row.event_id.rpartition(ALARM)[0], row.previous_changed_at
            events.setdefault(event_id, _created(event_id, row, row.new_status, since))
            alarms.append(Alarm(event_id, since))
    return TrackedOrder(sorted(events.values(), key=attrgetter("version")), alarms)


def _beginning(changes: list[Any]) -> Iterator[Event]:
    """The order.created that the first change refers to, with a version before all others."""
    for row in changes[:1]:
        if row.previous_status and row.previous_changed_at is not None:
            yield _created("", row, row.previous_status, row.previous_changed_at)


def _created(event_id: str, row: Any, status: str, since: int) -> Event:
    version = row.version if event_id else ""
    return Event(event_id, version, since, row.branch_id, status, None, since)


def _add_state(order: TrackedOrder, row: Any) -> None:
    """Add the first and the newest event of an order of `order_status_state`."""
    is_first = (row.status, row.since) == (row.first_status, row.first_since)
    first = _created("", row, row.first_status, row.first_since)
    newest = Event(row.event_id, row.version, row.since, row.branch_id, row.status)
    if is_first:
        newest.since = row.first_since
    known = {event.event_id for event in order.events}
    added = [newest] if is_first or row.first_since is None else [first, newest]
    order.events += [event for event in added if event.event_id not in known]
    order.events.sort(key=attrgetter("version"))

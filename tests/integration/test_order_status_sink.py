"""Status history in Postgres: rows by key, and the state that a new checkpoint restores."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from conf.settings import Settings
from streaming.sinks.order_status import write_history
from streaming.sinks.order_status_restore import TRACKER, restore
from streaming.sinks.postgres import Database
from streaming.transforms.order_status import HistoryRow
from streaming.transforms.status_packs import STATUS_SCHEMA, decode_orders
from tests.support.postgres_local import delete_rows
from tests.support.status_orders import (
    DAY,
    TEN,
    WEEK,
    Tracker,
    cancelled,
    change,
    created,
)

pytestmark = pytest.mark.requirement("O4")


@pytest.fixture(autouse=True)
def empty(db: Database) -> None:
    delete_rows(db, "order_status_history, order_status_state, stream_watermarks")


def write(db: Database, rows: Sequence[HistoryRow]) -> None:
    """One micro-batch."""
    table = pa.Table.from_pylist([row._asdict() for row in rows], STATUS_SCHEMA)
    with db.transaction() as connection:
        write_history(connection, table)


def history(db: Database) -> list[dict[str, Any]]:
    return db.fetch("SELECT * FROM order_status_history ORDER BY version, event_id")


def restored(settings: Settings, clock: datetime) -> Tracker:
    """A tracker with a new checkpoint, whose committed watermark is `clock`."""
    tracker = Tracker()
    for row in restore(settings.postgres.dsn, DAY + WEEK).to_pylist():
        tracker.restore(row["bucket"], decode_orders(row["orders"]), clock)
    return tracker


def test_a_row_has_the_seconds_and_the_session_of_a_change(db: Database) -> None:
    tracker = Tracker()
    tracker.apply(created(1, 0), change(2, 5, "pending", "processing"))

    write(db, tracker.emitted)

    (row,) = history(db)
    assert (row["previous_status"], row["processing_time_seconds"]) == ("pending", 300)
    assert row["session_id"] == "O-1@2024-05-01T10:05:00.000000Z"


def test_rows_that_come_again_change_nothing(db: Database) -> None:
    tracker = Tracker()
    tracker.apply(created(1, 0), change(2, 5, "pending", "processing"))
    tracker.apply(clock=TEN + 2 * DAY)
    write(db, tracker.emitted)
    before = history(db)

    write(db, tracker.emitted)

    assert [row["anomaly"] for row in before] == [None, "stuck"]
    assert history(db) == before


def test_what_an_expired_order_left_behind_raises_no_alarm(db: Database) -> None:
    tracker = Tracker()
    tracker.apply(created(1, 0), change(3, 9, "pending", "completed"))
    tracker.apply(clock=TEN + 2 * DAY)
    write(db, tracker.emitted)

    tracker.apply(change(2, 5, "pending", "processing"), clock=TEN + 4 * DAY)
    write(db, tracker.emitted[1:])

    assert [row["anomaly"] for row in history(db)] == ["out_of_order", None]


def test_an_event_id_belongs_to_the_order_that_had_it_first(db: Database) -> None:
    tracker = Tracker()
    tracker.apply(change(1, 5, "pending", "processing", "O-1", event_id="E"))
    write(db, tracker.emitted)
    tracker.apply(change(2, 6, "pending", "completed", "O-2", event_id="E"))
    tracker.apply(change(3, 7, "pending", "completed", "O-3", event_id="E"))

    write(db, tracker.emitted)

    assert [row["order_id"] for row in history(db)] == ["O-1"]


CONTINUED = [
    ([created(1, 0), change(2, 5, "pending", "processing")], TEN),
    ([change(3, 9, "processing", "completed"), change(2, 5, "pending", "processing")], TEN),
    ([created(1, 0), change(2, 5, "pending", "processing")], TEN + 2 * DAY),
    ([created(1, 0)], TEN + DAY),
]


@pytest.mark.parametrize(("events", "clock"), CONTINUED, ids=("open", "overtaken", "stuck", "new"))
@pytest.mark.parametrize(
    "then", [change(8, 20, "processing", "completed"), cancelled(8, 20)], ids=("change", "cancel")
)
def test_a_new_checkpoint_continues_as_the_lost_one_would_have(
    db: Database, services: Settings, events: Any, clock: Any, then: Any
) -> None:
    lost = Tracker()
    lost.apply(*deepcopy(events), clock=clock)
    write(db, lost.emitted)
    with db.transaction() as connection:
        connection.execute("INSERT INTO stream_watermarks VALUES (%s, %s)", (TRACKER, clock))
    new = restored(services, clock)

    for tracker in (lost, new):
        tracker.emitted.clear()
        tracker.apply(deepcopy(then), clock=clock + timedelta(minutes=1))

    assert new.emitted == lost.emitted

"""Status history: what each change means, whatever the order of arrival, and the timers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.jobs import order_status_tracker
from streaming.sinks.postgres import Database, stage

pytestmark = pytest.mark.requirement("O4")

Row = dict[str, Any]

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR
WEEK = 7 * DAY
ARROW = pa.schema(
    [
        *((n, pa.string()) for n in ("event_id", "event_type", "order_id", "branch_id")),
        *((n, pa.string()) for n in ("old_status", "status", "version", "topic", "position")),
        *((n, pa.timestamp("us", tz="UTC")) for n in ("event_time", "created_at")),
        ("partition", pa.int32()),
    ]
)


@pytest.fixture(autouse=True)
def empty(db: Database) -> None:
    clear(db)


def clear(db: Database) -> None:
    with db.transaction() as connection:
        connection.execute("TRUNCATE order_status_history, order_status_state")


def event(number: int, minute: float, **overrides: Any) -> Row:
    """O-1 is created: `number` is the position in the log, `minute` the time after ten."""
    row = {
        "event_id": f"E-{number}",
        "event_type": "order.created",
        "event_time": TEN + timedelta(minutes=minute),
        "order_id": "O-1",
        "branch_id": "B01",
        "old_status": None,
        "status": "pending",
        "created_at": TEN + timedelta(minutes=minute),
        "topic": "order-created",
        "partition": 0,
        "position": f"{number:020d}",
    }
    row.update(overrides)
    stamp = row["event_time"].strftime("%Y-%m-%dT%H:%M:%S.%f")
    return {**row, "version": f"{stamp}|{row['topic']}|00000|{row['position']}"}


def change(number: int, minute: float, old: str, new: str, **overrides: Any) -> Row:
    """A status change of O-1."""
    kind = {"event_type": "order.status_changed", "created_at": None, "topic": "order-events"}
    return event(number, minute, **{**kind, "old_status": old, "status": new, **overrides})


def cancelled(number: int, minute: float) -> Row:
    """O-1 is cancelled, as a whole order."""
    kind = {"event_type": "order.cancelled", "status": "cancelled", "topic": "order-cancelled"}
    return event(number, minute, created_at=TEN, **kind)


def apply(db: Database, *rows: Row, clock: datetime = TEN, gap: timedelta = HOUR / 2) -> None:
    """One micro-batch, with the product's own limits."""
    with db.transaction() as connection:
        staged = pa.Table.from_pylist(list(rows), schema=ARROW)
        stage(connection, "status_events", order_status_tracker.STAGE, staged)
        connection.execute(
            "SELECT upsert_order_status(%s, %s, %s, %s, %s)", (clock, DAY, gap, DAY, WEEK)
        )


def history(db: Database) -> list[Row]:
    """Rows in event time, alarms after the change that they are about."""
    return db.fetch("SELECT * FROM order_status_history ORDER BY version, event_id")


def state(db: Database) -> list[Row]:
    return db.fetch("SELECT order_id, status, since, due_at FROM order_status_state")


def anomalies(db: Database) -> list[str | None]:
    return [row["anomaly"] for row in history(db)]


def test_an_order_that_continues_its_way_reports_how_long_each_status_took(db: Database) -> None:
    apply(db, event(1, 0), change(1, 5, "pending", "processing"))
    apply(db, change(2, 25, "processing", "completed", event_id="E-9"))

    first, second = history(db)
    assert (first["previous_status"], first["processing_time_seconds"]) == ("pending", Decimal(300))
    assert second["previous_status"] == "processing"
    assert second["processing_time_seconds"] == Decimal(1200)
    assert anomalies(db) == [None, None]


def test_created_updated_and_cancelled_make_no_row(db: Database) -> None:
    updated = event(2, 1, event_type="order.updated", created_at=TEN)

    apply(db, event(1, 0), updated, cancelled(3, 2))

    assert history(db) == []
    assert state(db)[0]["status"] == "cancelled"


def test_without_the_order_itself_the_first_status_has_no_known_beginning(db: Database) -> None:
    apply(db, change(1, 5, "pending", "processing"))

    (row,) = history(db)
    assert (row["previous_status"], row["processing_time_seconds"]) == (None, None)
    assert row["anomaly"] is None


def test_an_order_that_arrives_after_its_change_completes_the_story(db: Database) -> None:
    apply(db, change(2, 5, "pending", "processing"))
    apply(db, event(1, 0))

    (row,) = history(db)
    assert (row["previous_status"], row["processing_time_seconds"]) == ("pending", Decimal(300))


@pytest.mark.parametrize(
    ("old", "new"), [("pending", "pending"), ("completed", "pending"), ("cancelled", "completed")]
)
def test_a_way_that_no_order_may_go_is_called_illegal(db: Database, old: str, new: str) -> None:
    apply(db, change(1, 5, old, new))

    assert anomalies(db) == ["illegal_transition"]


def test_a_change_from_a_status_that_the_order_was_not_in_is_called_illegal(db: Database) -> None:
    apply(db, event(1, 0), change(1, 5, "processing", "completed", event_id="E-2"))

    assert anomalies(db) == ["illegal_transition"]


def test_the_same_status_again_is_a_duplicate_and_does_not_begin_it_again(db: Database) -> None:
    apply(db, event(1, 0), change(2, 5, "pending", "processing"))
    apply(db, change(3, 15, "pending", "processing"))
    apply(db, change(4, 25, "processing", "completed"))

    assert anomalies(db) == [None, "duplicate", None]
    assert history(db)[2]["processing_time_seconds"] == Decimal(1200)


def test_the_same_event_again_changes_nothing(db: Database) -> None:
    apply(db, event(1, 0), change(2, 5, "pending", "processing"))
    before = history(db)

    apply(db, change(7, 5, "pending", "processing", event_id="E-2"))

    assert history(db) == before


def test_a_change_that_was_overtaken_is_out_of_order_and_mends_its_neighbours(db: Database) -> None:
    apply(db, event(1, 0), change(3, 25, "processing", "completed"))
    assert anomalies(db) == ["illegal_transition"]

    apply(db, change(2, 5, "pending", "processing"))

    assert anomalies(db) == ["out_of_order", None]
    assert [r["processing_time_seconds"] for r in history(db)] == [Decimal(300), Decimal(1200)]
    assert state(db)[0]["status"] == "completed"


def test_changes_close_together_are_one_session(db: Database) -> None:
    apply(
        db,
        event(1, 0),
        change(2, 5, "pending", "processing"),
        change(3, 34, "processing", "processing"),
        change(4, 64, "processing", "completed"),
    )

    sessions = [row["session_id"] for row in history(db)]
    assert sessions == ["O-1@2024-05-01T10:05:00.000000Z"] * 2 + ["O-1@2024-05-01T11:04:00.000000Z"]


def test_an_order_without_a_change_for_a_day_is_stuck_once(db: Database) -> None:
    apply(db, event(1, 0), change(2, 5, "pending", "processing"))
    since = TEN + timedelta(minutes=5)

    apply(db, clock=since + DAY - timedelta(seconds=1))
    assert anomalies(db) == [None]
    for later in (DAY, 2 * DAY):
        apply(db, clock=since + later)

    alarm = history(db)[1]
    assert (alarm["event_id"], alarm["anomaly"]) == ("E-2/stuck", "stuck")
    assert (alarm["changed_at"], alarm["new_status"]) == (since + DAY, "processing")
    assert alarm["processing_time_seconds"] == Decimal(86400)
    assert len(history(db)) == 2


def test_an_order_that_nobody_ever_touched_is_stuck_too(db: Database) -> None:
    apply(db, event(1, 0), clock=TEN + DAY)

    assert anomalies(db) == ["stuck"]


@pytest.mark.parametrize("end", [change(3, 9, "processing", "completed"), cancelled(3, 9)])
def test_an_order_that_has_ended_is_never_stuck_and_is_expired(db: Database, end: Row) -> None:
    apply(db, event(1, 0), change(2, 5, "pending", "processing"), end)

    apply(db, clock=TEN + 2 * DAY)

    assert "stuck" not in anomalies(db)
    assert state(db) == []


def test_what_a_expired_order_left_behind_does_not_open_it_again(db: Database) -> None:
    apply(db, event(1, 0), change(3, 9, "pending", "completed"))
    apply(db, clock=TEN + 2 * DAY)

    apply(db, change(2, 5, "pending", "processing"), clock=TEN + 4 * DAY)

    assert state(db) == []
    assert anomalies(db)[0] == "out_of_order"


def test_a_stuck_order_is_expired_in_the_end(db: Database) -> None:
    apply(db, event(1, 0), clock=TEN + DAY)
    assert len(state(db)) == 1

    apply(db, clock=TEN + DAY + WEEK)

    assert state(db) == []


def test_a_change_made_before_the_alarm_that_arrives_after_it_takes_it_back(db: Database) -> None:
    apply(db, event(1, 0), clock=TEN + DAY)
    assert anomalies(db) == ["stuck"]

    apply(db, change(2, 5, "pending", "processing"), clock=TEN + DAY)

    assert anomalies(db) == ["stuck_withdrawn", None]
    assert state(db)[0]["due_at"] == TEN + timedelta(minutes=5) + DAY


LIFE = [
    event(1, 0),
    change(2, 5, "pending", "processing"),
    change(3, 12, "processing", "processing"),
    change(4, 55, "processing", "completed"),
    event(5, 1, order_id="O-2", event_id="F-1"),
    change(6, 44, "pending", "cancelled", order_id="O-2"),
]
MEANING = ("event_id", "previous_status", "previous_changed_at", "processing_time_seconds")
MEANING += ("session_id", "new_status", "changed_at")


@given(st.permutations(LIFE), st.integers(1, len(LIFE)), st.integers(0, len(LIFE) - 1))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrival_in_any_order_in_any_batches_with_any_repetition_means_the_same(
    db: Database, arrival: Sequence[Row], size: int, again: int
) -> None:
    clear(db)
    apply(db, *LIFE)
    expected = [{k: row[k] for k in MEANING} for row in history(db)]
    expected_state = sorted(state(db), key=lambda r: r["order_id"])
    clear(db)

    arrived = [*arrival, LIFE[again]]
    for start in range(0, len(arrived), size):
        apply(db, *arrived[start : start + size])

    assert [{k: row[k] for k in MEANING} for row in history(db)] == expected
    assert sorted(state(db), key=lambda r: r["order_id"]) == expected_state

"""order_status_tracker: two days of a shop, with an order that nobody finishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import psycopg
import pytest

from tests.stream.sandbox import Rows, Sandbox, later
from tests.support.builders import order_event, status_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("O4")]

TRACKER = "order_status_tracker"
TEN = "2024-04-30T10:00:00Z"
NEXT_DAY = "2024-05-01T11:00:00Z"


def first_day(sandbox: Sandbox) -> None:
    """O-1 is completed; O-2 is started and not finished; one message is not JSON."""
    sandbox.send_order(
        order_event(order_id="O-1", created_at=TEN, event_time=TEN),
        order_event(order_id="O-2", created_at=TEN, event_time=TEN),
    )
    for order_id, old, new, seconds in (
        ("O-1", "pending", "processing", 60),
        ("O-2", "pending", "processing", 90),
        ("O-1", "processing", "completed", 600),
    ):
        change = {"old_status": old, "new_status": new, "event_time": later(TEN, seconds)}
        sandbox.send_order(status_event(order_id=order_id, **change), topic="order-events")
    sandbox.send_raw("order-events", b"{", b"O-3")


def next_day(sandbox: Sandbox) -> None:
    """A new order moves the clock past the day that O-2 had."""
    sandbox.send_order(order_event(order_id="O-4", created_at=NEXT_DAY, event_time=NEXT_DAY))


def day_after(sandbox: Sandbox) -> None:
    """O-2 is cancelled."""
    change = {"old_status": "processing", "new_status": "cancelled", "event_time": NEXT_DAY}
    sandbox.send_order(status_event(order_id="O-2", **change), topic="order-events")


@dataclass
class Story:
    """The history in the database and in the lake after each chapter."""

    served: dict[str, Rows] = field(default_factory=dict)
    lake: dict[str, Rows] = field(default_factory=dict)

    def remember(self, sandbox: Sandbox, chapter: str) -> None:
        self.served[chapter] = sandbox.query("SELECT * FROM order_status_history ORDER BY event_id")
        self.lake[chapter] = sorted(
            sandbox.lake("silver.order_status"), key=lambda r: str(r["event_id"])
        )


@pytest.fixture(scope="module")
def story(sandbox: Sandbox) -> Story:
    recorded = Story()
    first_day(sandbox)
    sandbox.run(TRACKER)
    recorded.remember(sandbox, "first day")
    next_day(sandbox)
    sandbox.run(TRACKER)
    recorded.remember(sandbox, "next day")
    sandbox.lose_newest_commit(TRACKER)
    sandbox.run(TRACKER)
    recorded.remember(sandbox, "commit lost")
    sandbox.lose_checkpoint(TRACKER)
    sandbox.run(TRACKER)
    recorded.remember(sandbox, "checkpoint lost")
    day_after(sandbox)
    sandbox.run(TRACKER)
    recorded.remember(sandbox, "day after")
    return recorded


def test_each_change_reports_how_long_the_status_before_it_took(story: Story) -> None:
    times = {
        (r["order_id"], r["new_status"]): r["processing_time_seconds"]
        for r in story.served["first day"]
    }

    assert times == {
        ("O-1", "processing"): Decimal(60),
        ("O-1", "completed"): Decimal(540),
        ("O-2", "processing"): Decimal(90),
    }
    assert not any(r["anomaly"] for r in story.served["first day"])


def test_a_restart_continues_with_the_state_and_finds_the_order_that_is_stuck(
    story: Story,
) -> None:
    alarms = [r for r in story.served["next day"] if r["anomaly"]]

    assert [(r["order_id"], r["anomaly"], r["previous_status"]) for r in alarms] == [
        ("O-2", "stuck", "processing")
    ]


@pytest.mark.parametrize("chapter", ["first day", "next day"])
def test_the_lake_has_the_same_changes_as_the_database(story: Story, chapter: str) -> None:
    lake = story.lake[chapter]

    assert lake
    assert lake == [{name: row[name] for name in lake[0]} for row in story.served[chapter]]


@pytest.mark.parametrize("chapter", ["commit lost", "checkpoint lost"])
def test_nothing_changes_when_the(story: Story, chapter: str) -> None:
    assert story.served[chapter] == story.served["next day"]
    assert story.lake[chapter] == story.lake["next day"]


def test_after_a_lost_checkpoint_the_next_change_continues_the_order(story: Story) -> None:
    (late,) = [r for r in story.served["day after"] if r["new_status"] == "cancelled"]

    assert (late["previous_status"], late["anomaly"]) == ("processing", None)
    assert late["previous_changed_at"].isoformat() == "2024-04-30T10:01:30+00:00"


def test_a_stuck_order_raises_its_alarm_in_a_shop_where_nothing_else_happens(
    new_sandbox: Callable[..., Sandbox],
) -> None:
    quiet = new_sandbox()
    streams = quiet.settings.streams.model_copy(update={"heartbeat_seconds": 0.5})
    sandbox = Sandbox(quiet.settings.model_copy(update={"streams": streams}))
    sandbox.send_order(order_event(order_id="O-1", created_at=TEN, event_time=TEN))

    sandbox.run(TRACKER)

    (alarm,) = sandbox.query("SELECT * FROM order_status_history")
    assert (alarm["order_id"], alarm["anomaly"]) == ("O-1", "stuck")
    assert alarm["changed_at"].isoformat() == "2024-05-01T10:00:00+00:00"


EARLIER_RELEASE = """
    INSERT INTO order_status_history (event_id, order_id, branch_id, old_status, new_status,
        changed_at, previous_status, previous_changed_at, version)
    VALUES ('E-2', 'O-2', 'B01', 'pending', 'processing', '2024-04-30T10:01:30Z', 'pending',
        '2024-04-30T10:00:00Z', '2024-04-30T10:01:30.000000|order-events|00000|1');
    INSERT INTO order_status_state VALUES
        ('O-1', 'B01', 'pending', '2024-04-30T10:00:00Z',
            '2024-04-30T10:00:00.000000|order-created|00000|0', 'E-1', 'pending',
            '2024-04-30T10:00:00Z', '2024-05-01T10:00:00Z'),
        ('O-2', 'B01', 'processing', '2024-04-30T10:01:30Z',
            '2024-04-30T10:01:30.000000|order-events|00000|1', 'E-2', 'pending',
            '2024-04-30T10:00:00Z', '2024-05-01T10:01:30Z');
    INSERT INTO stream_watermarks VALUES ('order_status_tracker', '2024-04-30T10:10:00Z')"""


def test_the_state_of_an_earlier_release_moves_from_postgres_into_spark(
    new_sandbox: Callable[..., Sandbox],
) -> None:
    """Its messages are gone from the log."""
    sandbox = new_sandbox()
    with psycopg.connect(sandbox.settings.postgres.dsn) as connection:
        connection.execute(EARLIER_RELEASE)
    completed = {"old_status": "processing", "new_status": "completed"}
    done = status_event(order_id="O-2", event_time="2024-04-30T12:00:00Z", **completed)

    sandbox.run(
        TRACKER,
        steps=[
            lambda: sandbox.send_order(done, topic="order-events"),
            lambda: next_day(sandbox),
        ],
    )

    rows = sandbox.query("SELECT * FROM order_status_history ORDER BY order_id, changed_at")
    assert [(r["order_id"], r["previous_status"], r["anomaly"]) for r in rows] == [
        ("O-1", "pending", "stuck"),
        ("O-2", "pending", None),
        ("O-2", "processing", None),
    ]
    assert rows[0]["event_id"] == "E-1/stuck"
    assert sandbox.query("SELECT * FROM order_status_state") == []

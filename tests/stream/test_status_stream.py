"""order_status_tracker: two days of a shop, with an order that nobody finishes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

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


@dataclass
class Story:
    """The history in the database and in the lake, and the state, after each chapter."""

    served: dict[str, Rows] = field(default_factory=dict)
    lake: dict[str, Rows] = field(default_factory=dict)
    state: dict[str, Rows] = field(default_factory=dict)

    def remember(self, sandbox: Sandbox, chapter: str) -> None:
        self.served[chapter] = sandbox.query("SELECT * FROM order_status_history ORDER BY event_id")
        self.lake[chapter] = sorted(
            sandbox.lake("silver.order_status"), key=lambda r: str(r["event_id"])
        )
        self.state[chapter] = sandbox.query("SELECT * FROM order_status_state ORDER BY order_id")


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
    assert [(r["order_id"], r["status"]) for r in story.state["next day"]] == [
        ("O-2", "processing"),
        ("O-4", "pending"),
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
    assert story.state[chapter] == story.state["next day"]

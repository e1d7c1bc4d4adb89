"""restate: hours from bronze equal what the streams make of the same events when none is late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest

from streaming.recompute.orders import Restated, restate_orders
from streaming.recompute.window import RestateError
from tests.stream.sandbox import Rows, Sandbox
from tests.support.builders import event_id, order_event, order_item, status_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("L4")]

TOGETHER = ("real_time_metrics", "product_analytics", "bronze_order_events", "store_hourly")
FROM, TO = (datetime(2024, 5, 1, hour, tzinfo=timezone.utc) for hour in (6, 9))


def at(clock: str) -> dict[str, Any]:
    moment = f"2024-05-01T{clock}:00Z"
    return {"event_time": moment, "created_at": moment}


def in_time(sandbox: Sandbox) -> None:
    """O-1 at 6; at 11:30 O-2, which closes the hours up to 9 for good."""
    sandbox.send_order(order_event(order_id="O-1", event_id=event_id("O-1"), **at("06:10")))
    sandbox.send_order(order_event(order_id="O-2", event_id=event_id("O-2"), **at("11:30")))


def too_late(sandbox: Sandbox) -> None:
    """A second order of 6, and the completion of O-1 at 6:40."""
    items = [order_item(quantity=3)]
    sandbox.send_order(
        order_event(order_id="O-3", event_id=event_id("O-3"), items=items, **at("06:20"))
    )
    sandbox.send_order(
        status_event(
            order_id="O-1",
            event_id=event_id("O-1 done"),
            new_status="completed",
            event_time="2024-05-01T06:40:00Z",
        ),
        topic="order-events",
    )


def updated_elsewhere(sandbox: Sandbox) -> None:
    """O-5 of the next day: sold at 9:10 by B01; at 14:05 B02 sends it as if made then."""
    update = {"event_type": "order.updated", "branch_id": "B02"}
    for hour, clock, changes in ((9, "09:10", {}), (14, "14:05", update)):
        times = dict.fromkeys(("event_time", "created_at"), f"2024-05-02T{clock}:00Z")
        sandbox.send_order(
            order_event(order_id="O-5", event_id=event_id(f"O-5 {clock}"), **times, **changes),
            topic="order-updated" if changes else "order-created",
            arrived=FROM.replace(day=2, hour=hour, minute=10),
        )


def hours(sandbox: Sandbox) -> Rows:
    """order_metrics without counters and times of its writes."""
    ignored = {"revision", "updated_at", "change_id", "is_final", "corrected_at"}
    ignored |= {"final_order_count", "final_total_revenue", "final_net_revenue"}
    rows = sandbox.query("SELECT * FROM order_metrics ORDER BY hour, branch_id")
    return [{k: v for k, v in row.items() if k not in ignored} for row in rows]


def sold(sandbox: Sandbox) -> Rows:
    """order_items_analytics without counters and times of its writes."""
    ignored = {"revision", "updated_at", "change_id"}
    rows = sandbox.query("SELECT * FROM order_items_analytics ORDER BY branch_id, day, product_id")
    return [{k: v for k, v in row.items() if k not in ignored} for row in rows]


@dataclass
class Story:
    """order_metrics after each chapter, and the results of restate."""

    metrics: dict[str, Rows] = field(default_factory=dict)
    reported: dict[str, list[Restated]] = field(default_factory=dict)
    sold: dict[str, Rows] = field(default_factory=dict)
    late: Rows = field(default_factory=list)
    rates: Rows = field(default_factory=list)
    lake: Rows = field(default_factory=list)
    moved: dict[str, Rows] = field(default_factory=dict)

    def restate(self, sandbox: Sandbox, chapter: str) -> None:
        self.reported[chapter] = restate_orders(sandbox.settings, FROM, TO, lambda _: None)
        self.metrics[chapter] = hours(sandbox)


@pytest.fixture(scope="module")
def story(new_sandbox: Callable[[], Sandbox]) -> Story:
    recorded = Story()
    punctual = new_sandbox()
    too_late(punctual)
    in_time(punctual)
    punctual.run(*TOGETHER)
    recorded.metrics["nothing was late"] = hours(punctual)

    sandbox = new_sandbox()
    in_time(sandbox)
    sandbox.run(*TOGETHER)
    too_late(sandbox)
    sandbox.run(*TOGETHER)
    recorded.metrics["streams"] = hours(sandbox)
    recorded.late = sandbox.lake("quarantine.late_events")

    recorded.restate(sandbox, "restated")
    recorded.restate(sandbox, "twice")
    sandbox.query(
        "WITH broken AS (UPDATE order_contributions SET total_price = 99 RETURNING 1) "
        "UPDATE order_metrics SET total_revenue = 1234, net_revenue = 1 RETURNING 1"
    )
    recorded.sold["streams"] = sold(sandbox)
    sandbox.query("UPDATE order_items_analytics SET quantity = 99, revenue = 99 RETURNING 1")
    recorded.restate(sandbox, "mended")
    recorded.sold["mended"] = sold(sandbox)
    sandbox.run(*TOGETHER)
    recorded.rates = sandbox.query("SELECT hour, orders, revenue FROM store_hourly ORDER BY hour")
    recorded.lake = sandbox.lake("gold.order_hourly")

    updated_elsewhere(sandbox)
    sandbox.run(*TOGETHER)
    recorded.moved["streams"] = hours(sandbox)
    for hour in (14, 9):
        start, end = (FROM.replace(day=2, hour=one) for one in (hour, hour + 1))
        done = restate_orders(sandbox.settings, start, end, lambda _: None)
        recorded.reported[f"the next day, {hour}"] = done
        recorded.moved[f"restated {hour}"] = hours(sandbox)
    return recorded


def test_the_streams_set_aside_what_came_too_late(story: Story) -> None:
    assert len(story.late) == 2
    assert story.metrics["streams"] != story.metrics["nothing was late"]


@pytest.mark.parametrize("chapter", ["restated", "twice"])
def test_the_hours_are_what_they_were_had_nothing_been_late(story: Story, chapter: str) -> None:
    assert story.metrics[chapter] == story.metrics["nothing was late"]


def test_it_reports_what_it_applied_hour_by_hour(story: Story) -> None:
    six, seven, eight = story.reported["restated"]

    assert (six.hour, six.orders, six.events, six.late) == (FROM, 2, 3, 2)
    assert (seven.events, eight.events) == (0, 0)


def test_it_mends_hours_that_somebody_broke_and_leaves_the_others_alone(story: Story) -> None:
    revenue = {r["hour"].hour: r["total_revenue"] for r in story.metrics["mended"]}

    assert revenue == {6: Decimal("6.25"), 11: Decimal(1234)}


def test_it_mends_what_was_sold(story: Story) -> None:
    assert story.sold["streams"][0]["quantity"] == 7
    assert story.sold["mended"] == story.sold["streams"]


def test_the_conversion_rate_and_the_lake_follow(story: Story) -> None:
    six = story.rates[0]

    assert (six["orders"], six["revenue"]) == (2, Decimal("6.25"))
    assert {r["hour"].hour: r["order_count"] for r in story.lake}[6] == 2


def test_an_order_stays_in_the_hour_and_branch_of_its_sale(story: Story) -> None:
    (nine,), (two,) = (story.reported[f"the next day, {hour}"] for hour in (9, 14))

    assert [row["branch_id"] for row in story.moved["streams"] if row["hour"].day == 2] == ["B01"]
    assert story.moved["restated 14"] == story.moved["restated 9"] == story.moved["streams"]
    assert [(one.orders, one.events) for one in (nine, two)] == [(1, 2), (0, 0)]


@pytest.mark.parametrize(
    ("start", "end"),
    [(TO, FROM), (FROM, FROM), (FROM.replace(minute=30), TO), (FROM.replace(tzinfo=None), TO)],
)
def test_a_window_that_is_none_is_refused(sandbox: Sandbox, start: datetime, end: datetime) -> None:
    with pytest.raises(RestateError):
        restate_orders(sandbox.settings, start, end, lambda _: None)

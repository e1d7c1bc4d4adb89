"""Late events, repeated ones, versions in any order: the tables must not depend on it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from streaming.jobs import real_time_metrics
from streaming.stream import SinkContext
from tests.stream.sandbox import Rows, Sandbox, later
from tests.support.builders import event_id, order_event, order_item, status_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("O5")]

NOON_5 = datetime(2024, 5, 1, 12, 5, tzinfo=timezone.utc)
HOUR_10, HOUR_11 = "2024-05-01T10:00:00Z", "2024-05-01T11:00:00Z"


def test_an_event_later_than_an_hour_after_its_hour_is_set_aside_and_kept(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    sandbox = new_sandbox()
    names = ("order_event_processor", "real_time_metrics")

    def at(order: str, hour: str) -> dict[str, Any]:
        return order_event(order_id=order, event_time=hour, created_at=hour)

    sandbox.send_order(at("O-1", HOUR_10))
    sandbox.run(
        *names,
        steps=[
            # The watermark is 5 minutes behind: hour 10 is open at 11:59, and over at 12:05.
            lambda: sandbox.send_order(at("O-2", "2024-05-01T11:59:00Z")),
            lambda: sandbox.send_order(at("O-3", "2024-05-01T10:20:00Z")),
            lambda: sandbox.send_order(at("O-4", "2024-05-01T12:05:00Z"), arrived=NOON_5),
            lambda: sandbox.send_order(at("O-5", "2024-05-01T10:30:00Z")),
        ],
    )
    seen = sandbox.look()
    sandbox.lose_checkpoint(*names)
    sandbox.run(*names)

    late = seen["quarantine.late_events"]
    assert [(r["key"], r["rules"]) for r in late] == [(b"O-5", ["late"])]
    counted = {r["hour"].hour: (r["order_count"], r["is_final"]) for r in seen["order_metrics"]}
    assert counted == {10: (2, True), 11: (1, False), 12: (1, False)}
    assert {r["order_id"] for r in seen["orders_raw"]} == {"O-1", "O-2", "O-3", "O-4", "O-5"}
    assert sandbox.look() == seen


def test_a_crash_before_late_events_reach_the_lake_loses_none_whatever_the_next_batches_are(
    new_sandbox: Callable[[], Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = new_sandbox()
    replicate = real_time_metrics.replicate_late
    crashed: list[bool] = []

    def crash_once(sink_context: SinkContext) -> int:
        if not crashed:
            crashed.append(True)
            raise OSError("killed")
        return replicate(sink_context)

    monkeypatch.setattr(real_time_metrics, "replicate_late", crash_once)
    first = order_event(order_id="O-1", event_time="2024-05-01T12:05:00Z")
    sandbox.send_order(first, arrived=NOON_5)
    late = [order_event(order_id=f"L-{n}", event_time=HOUR_10) for n in range(4)]
    sandbox.run("real_time_metrics", steps=[lambda: sandbox.send_order(*late)])
    assert crashed
    sandbox.lose_checkpoint("real_time_metrics")
    one = sandbox.settings.streams.model_copy(update={"max_rows_per_batch": 1})
    sandbox.settings = sandbox.settings.model_copy(update={"streams": one})
    sandbox.run("real_time_metrics")

    kept = [r["key"] for r in sandbox.lake("quarantine.late_events")]
    assert sorted(kept) == [f"L-{n}".encode() for n in range(4)]
    assert len(sandbox.query("SELECT FROM late_events")) == 4


def versions() -> list[tuple[str, dict[str, Any]]]:
    """Thirty orders with two to four versions each, all within one hour: (topic, event)."""
    found: list[tuple[str, dict[str, Any]]] = []
    for number in range(30):
        order, minute = f"O-{number}", f"2024-05-01T10:{number:02d}:00Z"
        pay = "cash" if number % 2 else "online"
        common = {"order_id": order, "created_at": minute, "payment_method": pay}
        found += [
            ("order-created", order_event(event_time=minute, **common)),
            (
                "order-events",
                status_event(order_id=order, new_status="completed", event_time=later(minute, 2)),
            ),
        ]
        if number % 3 == 0:
            items = [order_item(quantity=number + 1)]
            update = order_event(
                event_type="order.updated", event_time=later(minute, 1), items=items, **common
            )
            found.append(("order-updated", update))
        if number % 5 == 0:
            cancel = order_event(
                event_type="order.cancelled",
                status="cancelled",
                event_time=later(minute, 3),
                **common,
            )
            found.append(("order-cancelled", cancel))
    return [(t, e | {"event_id": event_id(f"v{n}")}) for n, (t, e) in enumerate(found)]


def business(sandbox: Sandbox) -> dict[str, Rows]:
    """The tables without what depends on the way and the time of arrival."""
    incidental = {"topic", "partition", "position", "seq", "received_at", "updated_at"}
    incidental |= {"body_version", "status_version", "sale_version", "revision", "change_id"}

    def plain(rows: Rows) -> Rows:
        kept = [{k: v for k, v in r.items() if k not in incidental} for r in rows]
        return sorted(kept, key=repr)

    names = ("orders_raw", "orders_processed", "order_metrics", "gold.order_hourly")
    seen = sandbox.look()
    return {name: plain(seen[name]) for name in names}


@pytest.mark.parametrize("seed", [7])
def test_repeated_events_and_versions_in_any_order_give_the_same_tables(
    new_sandbox: Callable[[], Sandbox], seed: int
) -> None:
    names = ("order_event_processor", "real_time_metrics")
    events = versions()
    tidy = new_sandbox()
    for topic, event in events:
        tidy.send_order(event, topic=topic)
    tidy.run(*names)
    expected = business(tidy)

    untidy = new_sandbox()
    shuffled = events + events
    random.Random(seed).shuffle(shuffled)
    half = len(shuffled) // 2

    def send(part: list[tuple[str, dict[str, Any]]]) -> None:
        for topic, event in part:
            untidy.send_order(event, topic=topic)

    send(shuffled[:half])
    untidy.run(*names, steps=[lambda: send(shuffled[half:])])

    assert business(untidy) == expected
    assert len(expected["orders_raw"]) == len(events)
    (hour,) = expected["order_metrics"]
    assert (hour["order_count"], hour["cancelled_count"], hour["completed_count"]) == (30, 6, 24)
    assert hour["hour"].astimezone(timezone.utc).hour == 10

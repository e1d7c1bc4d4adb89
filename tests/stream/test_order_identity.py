"""An order id that is used twice, and an order that another branch fulfils."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.stream.sandbox import Sandbox
from tests.support.builders import order_event, order_item, status_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("O11")]

TOGETHER = ("order_event_processor", "real_time_metrics", "product_analytics")
TRACKER = "order_status_tracker"
DAYS_AGO, TEN, ELEVEN = "2024-04-27T10:00:00Z", "2024-05-01T10:00:00Z", "2024-05-01T11:00:00Z"
TABLES = ("orders_processed", "order_contributions", "order_items", "order_status_history")


def sale(branch: str, at: str, **overrides: Any) -> dict[str, Any]:
    return order_event(
        **{"order_id": "17", "branch_id": branch, "created_at": at, "event_time": at, **overrides}
    )


def change(branch: str, at: str, status: str, **overrides: Any) -> dict[str, Any]:
    return status_event(
        **{"order_id": "17", "branch_id": branch, "event_time": at, "new_status": status}
        | overrides
    )


def the_first_order(sandbox: Sandbox) -> None:
    first = sale("B01", DAYS_AGO)
    sandbox.send_order(first, {**first, "event_id": sale("B01", DAYS_AGO)["event_id"]})
    sandbox.send_order(change("B01", DAYS_AGO, "processing"), topic="order-events")


def others_of_its_id(sandbox: Sandbox) -> None:
    """Of another branch, and of the same one days later; both go on, and are cancelled."""
    for branch, at in (("B02", TEN), ("B01", ELEVEN)):
        sandbox.send_order(sale(branch, at, items=[order_item(product_id="P-9", quantity=9)]))
        sandbox.send_order(change(branch, ELEVEN, "completed"), topic="order-events")
        cancelled = sale(branch, at, event_type="order.cancelled", status="cancelled")
        sandbox.send_order({**cancelled, "event_time": ELEVEN}, topic="order-cancelled")
    uncreated = sale("B02", "2024-05-01T10:30:00Z", event_type="order.updated")
    sandbox.send_order(uncreated, topic="order-updated")


def test_nothing_of_the_first_order_of_an_id_changes_by_another_one(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    sandbox = new_sandbox()
    the_first_order(sandbox)
    sandbox.run(*TOGETHER, TRACKER)
    before = {name: sandbox.query(f"SELECT * FROM {name}") for name in TABLES}  # noqa: S608
    others_of_its_id(sandbox)
    sandbox.run("real_time_metrics")  # alone, and ahead of the others
    sandbox.run(*TOGETHER, TRACKER)
    after = sandbox.look()

    assert {name: sandbox.query(f"SELECT * FROM {name}") for name in TABLES} == before  # noqa: S608
    rules = sandbox.query("SELECT rules[1] AS rule, count(*) AS n FROM dead_letters GROUP BY 1")
    assert {(row["rule"], row["n"]) for row in rules} == {
        ("order_id_of_other_branch", 4),
        ("order_id_used_before", 3),
    }
    assert len(after["silver.orders"]) == 3
    sandbox.lose_checkpoint(*TOGETHER)
    sandbox.lose_checkpoint(TRACKER)
    sandbox.run(*TOGETHER, TRACKER)
    assert sandbox.look() == after


def test_an_order_that_another_branch_fulfils_counts_with_its_sale(
    new_sandbox: Callable[[], Sandbox],
) -> None:
    sandbox = new_sandbox()
    there = {"order_id": "18", "branch_id": "B02"}
    sandbox.send_order(sale("B01", TEN, order_id="18"))
    sandbox.run(*TOGETHER)
    # Of one instant: whatever topics they lie in, the cancellation is the last.
    updated = sale("B02", TEN, order_id="18", event_type="order.updated")
    sandbox.send_order({**updated, "event_time": ELEVEN}, topic="order-updated")
    cancelled = sale("B02", TEN, order_id="18", event_type="order.cancelled", status="cancelled")
    sandbox.send_order({**cancelled, "event_time": ELEVEN}, topic="order-cancelled")
    sandbox.send_order(change("B02", ELEVEN, "completed", **there), topic="order-events")
    sandbox.run(*TOGETHER)

    (order,) = sandbox.query("SELECT * FROM orders_processed")
    assert (order["branch_id"], order["fulfilment_branch_id"]) == ("B01", "B02")
    assert (order["region"], order["status"]) == ("north", "cancelled")
    counted = sandbox.query("SELECT branch_id, hour FROM order_metrics")
    assert [(row["branch_id"], row["hour"].hour) for row in counted] == [("B01", 10)]

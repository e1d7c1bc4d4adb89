"""A backlog: the tasks that hold the rows write them, and the driver commits what they staged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.protocol import Staged
from streaming.lake.tables import Table
from tests.stream.sandbox import NOW, Sandbox
from tests.support.builders import as_json, order_event, status_event

pytestmark = pytest.mark.timeout(900)

STREAMS = (
    "order_event_processor",
    "real_time_metrics",
    "product_analytics",
    "bronze_order_events",
)
ORDERS, BROKEN = 6_000, 60
"""One in a hundred messages is cut short."""


def send_backlog(sandbox: Sandbox) -> None:
    """Orders in both partitions of one topic, and a change of status of half of them in another."""
    for number in range(ORDERS):
        name = f"O-{number}"
        value = as_json(order_event(order_id=name))
        cut = value[:-1] if number % (ORDERS // BROKEN) == 8 else value
        at = {"key": name.encode(), "partition": number % 2, "timestamp": NOW}
        sandbox.broker.produce("order-created", cut, **at)
        if number % 2:
            change = as_json(status_event(order_id=name, new_status="completed"))
            sandbox.broker.produce("order-events", change, **at)


def test_tasks_write_a_backlog_once_whatever_fails_between_their_commits_and_the_drivers(
    new_sandbox: Callable[[], Sandbox], monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = new_sandbox()
    send_backlog(sandbox)
    failures: list[str] = []
    append_staged = IcebergLake.append_staged

    def failing(lake: IcebergLake, table: Table, staged: Sequence[Staged], batch_id: int) -> int:
        if table.name not in failures:
            failures.append(table.name)
            raise OSError("the disk is full")
        return append_staged(lake, table, staged, batch_id)

    monkeypatch.setattr(IcebergLake, "append_staged", failing)
    sandbox.run(*STREAMS)

    good = ORDERS - BROKEN
    assert {"silver.orders", "bronze.order_events"} <= set(failures)
    assert len(sandbox.query("SELECT FROM orders_processed")) == good
    assert len(sandbox.query("SELECT FROM dead_letters")) == BROKEN
    assert len(sandbox.lake("silver.orders")) == good + ORDERS // 2
    assert len(sandbox.lake("quarantine.order_events")) == BROKEN
    bronze = sandbox.lake("bronze.order_events")
    assert len({(r["topic"], r["partition"], r["position"]) for r in bronze}) == len(bronze)
    assert len(bronze) == ORDERS + ORDERS // 2
    (hour,) = sandbox.query("SELECT order_count, completed_count FROM order_metrics")
    assert hour == {"order_count": good, "completed_count": ORDERS // 2}

    seen = sandbox.look()
    sandbox.lose_checkpoint(*STREAMS)
    sandbox.run(*STREAMS)
    assert sandbox.look() == seen

"""All suites of the product on a real lake and a real database that streams have written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import pytest

from quality.engines import Engines
from quality.run import QualityRun, ValidationPlan, run_quality
from streaming.lake.iceberg.catalog import open_catalog
from streaming.registry import NAMES
from tests.stream.sandbox import NOW, Sandbox
from tests.support.builders import detection_event, order_event, order_item, status_event

pytestmark = [pytest.mark.timeout(600), pytest.mark.requirement("Q1")]


def validated(shop: Sandbox, engines: Engines) -> QualityRun:
    return run_quality(
        shop.settings,
        ValidationPlan(),
        lambda _: None,
        engines=engines,
        now=NOW + timedelta(minutes=1),
    )


def test_a_deployment_that_streams_have_written_has_no_finding_until_something_is_lost(
    new_sandbox: Callable[..., Sandbox],
) -> None:
    sandbox = new_sandbox("iceberg")

    def at(second: int) -> str:
        moment = NOW - timedelta(seconds=60 - second)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    for n in range(20):
        items = [order_item(quantity=1 + n % 3), order_item(product_id="P-2", unit_price=0.99)]
        made = {"order_id": f"O-{n}", "created_at": at(n), "event_time": at(n)}
        sandbox.send_order(order_event(items=items, **made))
        sandbox.send_order(status_event(order_id=f"O-{n}", event_time=at(n + 30)))
    sandbox.send_order(order_event(order_id="O-bad", total_price=-1))
    for n in range(60):
        frame = detection_event(frame_index=n, captured_at=at(n))
        sandbox.send_frame(frame)
    sandbox.run(*NAMES)

    with closing(Engines(sandbox.settings)) as engines:
        first = validated(sandbox, engines)
        again = validated(sandbox, engines)
        assert [(r.id, r.says, r.samples) for r in first.failures] == []
        assert [(r.id, r.says, r.samples) for r in again.failures] == []

        with closing(open_catalog(sandbox.settings)) as catalog:
            silver = catalog.load_table("silver.orders")
            silver.delete("order_id == 'O-7'")
            silver.append(silver.scan("order_id == 'O-3'").to_arrow())
        damaged = validated(sandbox, engines)

    assert {result.id for result in damaged.failures} == {
        "bronze.order_events.account.accounted_for",  # the lost order
        "silver.orders.keys.unique",  # the doubled one
    }

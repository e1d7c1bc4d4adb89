"""backfill: computes rows again from bronze, equal to those of the stream, while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession

from quality.backfill import Backfilled, compute
from quality.engines import Engines
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.maintenance.run import maintain
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
    TABLES,
    MaintenancePolicy,
    Table,
)
from streaming.recompute import backfill
from streaming.recompute.backfill import SOURCES, BackfillError
from streaming.runtime.session import build_session
from tests.stream.sandbox import NOW, Rows, Sandbox
from tests.support.builders import as_json, detection_event, event_id, order_event

pytestmark = [pytest.mark.timeout(600), pytest.mark.requirement("L4")]

STREAMS = (
    "order_event_processor",
    "bronze_order_events",
    "silver_detections",
    "bronze_detections",
)
BACKFILLED = {table.name: table for table in TABLES if table.name in SOURCES}
AT_ONCE = MaintenancePolicy(min_files=2, quiet=timedelta(0), max_manifests=1)
FROM, TO = NOW, NOW + timedelta(hours=1)

Compute = Callable[..., Backfilled]


@pytest.fixture(scope="module")
def shop(new_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """Three minutes of orders and frames, good ones and bad ones, as the streams wrote them."""
    sandbox = new_sandbox("iceberg")
    for minute in range(3):
        came = NOW + timedelta(minutes=minute)
        for number in range(2):
            name = f"O-{minute}-{number}"
            order = order_event(order_id=name, event_id=event_id(name))
            sandbox.broker.produce("order-created", as_json(order), name.encode(), timestamp=came)
        sandbox.broker.produce("order-created", b"{", b"bad", timestamp=came)
        frame = detection_event(frame_index=minute, event_id=event_id(f"F-{minute}"))
        sandbox.broker.produce("detections", as_json(frame), b"B01-entrance", timestamp=came)
    sandbox.broker.produce("detections", b"[]", b"B01-entrance", timestamp=NOW)
    sandbox.run(*STREAMS)
    with closing(open_catalog(sandbox.settings)) as catalog:  # so Spark reads compacted files
        compacted = [replace(t, policy=AT_ONCE) for t in (BRONZE_ORDER_EVENTS, BRONZE_DETECTIONS)]
        maintain(IcebergLake(sandbox.settings, catalog), compacted, lambda _: None)
    return sandbox


@pytest.fixture(scope="module")
def truth(shop: Sandbox) -> dict[str, Rows]:
    """The rows that the streams wrote."""
    return {name: shop.lake(name) for name in BACKFILLED}


@pytest.fixture(scope="module")
def spark(shop: Sandbox, truth: dict[str, Rows]) -> Iterator[SparkSession]:
    session = build_session(shop.settings, "storelake:test")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def run(shop: Sandbox, spark: SparkSession) -> Iterator[Compute]:
    with closing(Engines(shop.settings)) as engines:

        def compute_it(
            table: Table = SILVER_ORDERS, start: datetime = FROM, end: datetime = TO, **of: Any
        ) -> Backfilled:
            of = {"notify": lambda _: None, **of}
            return compute(shop.settings, spark, table, start, end, engines=engines, **of)

        yield compute_it


@pytest.fixture
def lake(shop: Sandbox) -> Iterator[IcebergLake]:
    with closing(open_catalog(shop.settings)) as catalog:
        yield IcebergLake(shop.settings, catalog)


def damage(lake: IcebergLake, table: Table, gone: str = "position >= '0'") -> None:
    """Delete rows without the product."""
    lake.load(table).delete(gone)


@pytest.mark.parametrize("name", sorted(BACKFILLED))
def test_what_was_lost_comes_back_as_the_stream_made_it_and_twice_is_the_same(
    shop: Sandbox, truth: dict[str, Rows], run: Compute, lake: IcebergLake, name: str
) -> None:
    damage(lake, BACKFILLED[name])
    assert shop.lake(name) == []

    done = run(BACKFILLED[name])
    assert (done.published, done.filled.added) == (True, len(truth[name]))
    assert shop.lake(name) == truth[name]

    before = lake.load(BACKFILLED[name]).current_snapshot()
    again = run(BACKFILLED[name])
    assert (again.filled.added, again.filled.replaced) == (0, 0)
    after = lake.load(BACKFILLED[name])
    assert after.current_snapshot() == before
    assert not [ref for ref in after.metadata.refs if ref.startswith("backfill")]


def test_rows_that_differ_are_replaced_while_a_stream_and_maintenance_commit(
    shop: Sandbox, truth: dict[str, Rows], run: Compute, lake: IcebergLake
) -> None:
    table = lake.load(SILVER_ORDERS)
    rows = table.scan().to_arrow()
    wrong = pa.array([Decimal("0.01")] * len(rows), rows.schema.field("total_price").type)
    table.overwrite(rows.set_column(rows.column_names.index("total_price"), "total_price", wrong))
    model, stop, failed = rows.slice(0, 1), threading.Event(), []

    def stream() -> None:
        """Later messages, by the writer of the stream."""
        try:
            with closing(open_catalog(shop.settings)) as catalog:
                mine, number = IcebergLake(shop.settings, catalog), 0
                while not stop.wait(0.1):
                    live = model.set_column(
                        model.column_names.index("position"), "position", [[f"9{number:019}"]]
                    )
                    number += mine.append(SILVER_ORDERS, live, number)
                    maintain(mine, [replace(SILVER_ORDERS, policy=AT_ONCE)], lambda _: None)
        except Exception as error:
            failed.append(error)

    live = threading.Thread(target=stream)
    live.start()
    try:
        done = run()
    finally:
        stop.set()
        live.join()
    assert failed == []
    assert done.published
    found = shop.lake("silver.orders")
    assert [row for row in found if row["position"] < "9"] == truth["silver.orders"]
    positions = [row["position"] for row in found]
    assert len(positions) > len(truth["silver.orders"])
    assert len(set(positions)) == len(positions)
    damage(lake, SILVER_ORDERS, gone="position >= '9'")


def test_a_run_that_was_cut_short_continues_where_it_stopped(
    shop: Sandbox,
    truth: dict[str, Rows],
    run: Compute,
    lake: IcebergLake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "MESSAGES", 1)  # a piece a minute
    damage(lake, SILVER_ORDERS)
    notes: list[str] = []

    def until_the_second(step: str) -> None:
        notes.append(step)
        if "2 of 3" in step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(notify=until_the_second)
    assert shop.lake("silver.orders") == []
    with pytest.raises(BackfillError, match="has an unfinished backfill, backfill-20240501T12"):
        run(end=TO + timedelta(hours=1))

    notes.clear()
    done = run(notify=notes.append)
    assert [step for step in notes if " of 3" in step] == [
        "2024-05-01 12:01, 2 of 3",
        "2024-05-01 12:02, 3 of 3",
    ]
    assert done.filled.added == 4
    assert shop.lake("silver.orders") == truth["silver.orders"]


def test_what_fails_validation_is_seen_by_nobody_and_can_be_computed_again(
    shop: Sandbox,
    truth: dict[str, Rows],
    run: Compute,
    lake: IcebergLake,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(lake, SILVER_ORDERS)
    source = SOURCES["silver.orders"]

    def negative(validated: pa.Table) -> pa.Table:
        rows = source.rows(validated)
        price = pa.array([Decimal("-1.00")] * len(rows), rows.schema.field("total_price").type)
        return rows.set_column(rows.column_names.index("total_price"), "total_price", price)

    with monkeypatch.context() as patch:
        patch.setitem(backfill.SOURCES, "silver.orders", replace(source, rows=negative))
        held = run()
    assert not held.published
    assert {r.severity for r in held.results if not r.success} >= {"critical"}
    assert shop.lake("silver.orders") == []

    assert run(from_scratch=True).published
    assert shop.lake("silver.orders") == truth["silver.orders"]


def test_a_window_without_a_message_names_the_window_that_has_some(
    run: Compute, lake: IcebergLake
) -> None:
    with pytest.raises(BackfillError, match=r"bronze\.order_events has no message .* it has 2024"):
        run(start=TO, end=TO + timedelta(days=1))
    assert set(lake.load(SILVER_ORDERS).metadata.refs) == {"main"}


def test_a_table_that_the_stream_has_not_come_to_is_left_to_it(
    shop: Sandbox, run: Compute, lake: IcebergLake
) -> None:
    lake.catalog.rename_table("silver.detections", "silver.aside")
    old = lake.catalog.load_table("silver.aside")
    lake.catalog.create_table("silver.detections", old.schema())
    with pytest.raises(BackfillError, match=r"silver_detections has not written to silver\.detec"):
        run(SILVER_DETECTIONS)
    lake.catalog.drop_table("silver.detections")
    lake.catalog.rename_table("silver.aside", "silver.detections")

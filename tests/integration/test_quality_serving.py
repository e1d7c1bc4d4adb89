"""The serving database validated by its suites: clean, and with one thing wrong at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from conf.settings import Settings
from conf.stores import load_stores
from quality.suite import Suite
from quality.suites import all_suites
from streaming.lake.tables import GOLD_STORE_HOURLY, TABLES
from streaming.sinks.orders import stage_orders
from streaming.sinks.postgres import Database
from tests.integration.test_order_sinks import apply_metrics, apply_orders
from tests.support.builders import order_item
from tests.support.memory_context import MemoryContext
from tests.support.order_rows import order, table
from tests.support.postgres_local import delete_rows
from tests.support.validating import validate
from tests.unit.test_quality_tables import schema_of

pytestmark = pytest.mark.requirement("Q1")

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
STREAMS = (
    "order_event_processor",
    "real_time_metrics",
    "product_analytics",
    "order_status_tracker",
)
FILLED = (
    "orders_raw, orders_processed, order_contributions, order_metrics, payments_hourly, "
    "product_orders, "
    "order_items, order_items_analytics, footfall_minute, store_hourly, stream_batches, "
    "stream_offsets, stream_watermarks, zone_visits, line_crossings, queue_minute, "
    "zone_dwell_hourly, order_status_history"
)


class ServedContext(MemoryContext):
    """A lake in memory beside the real database."""

    db: Database

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Rows of the real one."""
        return self.db.fetch(sql, parameters)


def bought(number: int, hour: int, branch_id: str) -> dict[str, Any]:
    """An order of two lines, 3.75 in all."""
    items = [order_item(), order_item(product_id="P-2", quantity=1)]
    at = TEN + hour * HOUR
    return order(
        number,
        0,
        order_id=f"O-{number}",
        branch_id=branch_id,
        event_time=at,
        created_at=at,
        item_count=2,
        items_json=json.dumps(items),
        total_price=Decimal("3.75"),
    )


def fill(db: Database) -> None:
    """Three hours of two branches, as the streams leave them when they have settled."""
    rows = [
        bought(10 * hour + n, hour, branch)
        for hour in range(3)
        for n, branch in enumerate(("B01", "B01", "B02"))
    ]
    apply_orders(db, rows)
    apply_metrics(db, rows)
    with db.transaction() as connection:
        stage_orders(connection, table(rows))
        connection.execute("SELECT upsert_order_items()")
        connection.execute(
            "INSERT INTO footfall_minute (branch_id, camera_id, minute, entries, exits, frames, "
            "updated_at) SELECT 'B01', camera, %s + n * interval '1 minute', 1, 0, 300, now() "
            "FROM generate_series(0, 179) n, unnest(ARRAY['B01-entrance', 'B01-till']) camera",
            (TEN,),
        )
        branches = [
            {
                "branch_id": b,
                "timezone": "UTC",
                "currency": "USD",
                "cameras": 2,
                "entrances": [f"{b}-entrance"],
            }
            for b in ("B01", "B02")
        ]
        connection.execute("SELECT upsert_store_hourly(%s, 0)", (json.dumps(branches),))
        for stream in STREAMS:
            connection.execute(
                "INSERT INTO stream_offsets VALUES (%s, 'order-events', 0, %s)",
                (stream, f"{22:020d}"),
            )
            connection.execute(
                "INSERT INTO stream_batches (query_id, batch_id, rows_in, rows_new) "
                "VALUES (%s, 1, 9, 9), (%s, 2, 5, 0)",
                (stream, stream),
            )


@pytest.fixture
def context(db: Database, services: Settings) -> ServedContext:
    """A clean deployment at one o'clock."""
    delete_rows(db, FILLED)
    fill(db)
    made = ServedContext(services, load_stores(services.stores_file), TEN + 3 * HOUR)
    made.db = db
    for one in TABLES:
        rows = schema_of(one).empty_table()
        if one.copy_of:
            columns = ", ".join(rows.column_names)
            found = db.fetch(f"SELECT {columns} FROM {one.copy_of}")  # noqa: S608
            rows = pa.Table.from_pylist(found, schema=rows.schema)
        made.tables[one.name] = rows
    return made


def suites(context: ServedContext) -> Sequence[Suite]:
    """Those that compare; a warning of a curve is another matter."""
    known = all_suites(context.settings, context.stores)
    names = ("twin", "sums", "items", "ledger", "cameras", "streams", "gaps")
    return [suite for suite in known if suite.name in names]


def test_a_clean_context_has_no_finding(context: ServedContext) -> None:
    assert validate(all_suites(context.settings, context.stores), context) == []


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (
            "UPDATE order_contributions SET total_price = 9 WHERE order_id = 'O-1'",
            {
                "postgres.order_metrics.sums.equals_orders",
                "postgres.payments_hourly.sums.equals_orders",
            },
        ),
        (
            "UPDATE order_metrics SET cash_count = 0, online_count = 1 WHERE branch_id = 'B02'",
            {
                "postgres.order_metrics.sums.equals_orders",
                "postgres.order_metrics.twin.equals_lake",
            },
        ),
        (
            "UPDATE store_hourly SET visitors = visitors + 1 WHERE branch_id = 'B01'",
            {"postgres.store_hourly.sums.equals_sides", "postgres.store_hourly.twin.equals_lake"},
        ),
        (
            "UPDATE footfall_minute SET frames = 1",
            {"postgres.footfall_minute.twin.equals_lake"},
        ),
        (
            "UPDATE order_items_analytics SET revenue = revenue + 1 WHERE product_id = 'P-2'",
            {
                "postgres.order_items_analytics.sums.equals_orders",
                "postgres.order_items_analytics.twin.equals_lake",
            },
        ),
        (
            "DELETE FROM order_items WHERE order_id = 'O-21' AND line_no = 2",
            {
                "postgres.order_items_analytics.sums.equals_orders",
                "postgres.orders_processed.items.has_items",
            },
        ),
        (
            "DELETE FROM orders_processed WHERE order_id = 'O-21'",
            {"postgres.orders_processed.items.has_items"},
        ),
        (
            "UPDATE stream_batches SET rows_in = 8 WHERE batch_id = 1",
            {"postgres.stream_batches.ledger.rows_in_at_least_new"},
        ),
        (
            "DELETE FROM footfall_minute WHERE camera_id ~ 'till' AND minute > '2024-05-01 12:30'",
            {
                "postgres.footfall_minute.cameras.camera_silent",
                "postgres.footfall_minute.twin.equals_lake",
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_thing_that_is_wrong_is_named_and_nothing_else(
    context: ServedContext, damage: str, found: set[str]
) -> None:
    with context.db.transaction() as connection:
        connection.execute(damage.encode())
    assert {finding.id for finding in validate(suites(context), context)} == found


def test_what_is_not_there_yet_is_nobodys_fault(context: ServedContext) -> None:
    """The metrics go on: the copy, the conversion rate and the items follow a little later."""
    more = bought(30, 2, "B01")
    apply_metrics(context.db, [more])
    with context.db.transaction() as connection:
        connection.execute(
            "UPDATE stream_offsets SET position = %s WHERE stream = 'real_time_metrics'",
            (f"{30:020d}",),
        )
    assert validate(suites(context), context) == []


def test_a_late_order_is_sold_and_not_counted(context: ServedContext) -> None:
    late = bought(30, 0, "B02")
    apply_orders(context.db, [late])
    with context.db.transaction() as connection:
        stage_orders(connection, table([late]))
        connection.execute("SELECT upsert_order_items()")
        connection.execute("UPDATE stream_offsets SET position = %s", (f"{30:020d}",))
    assert validate(suites(context), context) == []


def test_an_hour_that_the_lake_lost_is_named(context: ServedContext) -> None:
    rows = context.tables[GOLD_STORE_HOURLY.name]
    context.tables[GOLD_STORE_HOURLY.name] = rows.filter(pa.compute.field("hour") != TEN + HOUR)
    [finding] = validate(suites(context), context)
    assert finding.id == "postgres.store_hourly.twin.equals_lake"
    assert {row["hour"] for row in finding.rows} == {TEN + HOUR}

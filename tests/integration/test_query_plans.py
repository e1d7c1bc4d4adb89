"""A million orders: what is usually asked of the serving database is answered from an index."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
import pytest

from conf.settings import Settings
from dashboard.queries import OF_A_DAY, QUERIES
from infra.postgres.migrate import FUNCTIONS, MIGRATIONS

pytestmark = pytest.mark.requirement("O7")

Connection = psycopg.Connection[Any]

ORDERS = 1_000_000
BIG = {
    "orders_raw",
    "orders_processed",
    "product_orders",
    "order_items",
    "order_items_analytics",
    "order_metrics",
    "store_hourly",
}
SCHEMA = "a_million"

# One order every half a minute, so a year of them; five branches. A foreign key is checked at once
# for all rows in a tenth of the time. S608: made of the constant above.
FILL = f"""
ALTER TABLE order_items DROP CONSTRAINT order_items_order_id_fkey;

INSERT INTO orders_processed (order_id, customer_id, branch_id, status, payment_method, currency,
    total_price, created_at, item_count, items, first_event_at, last_event_at, body_version,
    status_version)
SELECT 'O-' || lpad(n::text, 8, '0'), 'C-' || n % 50000, 'B0' || n % 5 + 1,
    CASE WHEN n > {ORDERS} - 1000 THEN 'pending' ELSE 'completed' END, 'cash', 'USD', 2.50, at, 1,
    NULL, at, at, n::text, n::text
FROM (SELECT n, now() - ({ORDERS} - n) * interval '30 seconds' AS at
    FROM generate_series(1, {ORDERS}) n) o;

INSERT INTO orders_raw (event_id, order_id, event_type, event_time, branch_id, payload, topic,
    partition, position, received_at)
SELECT 'E-' || order_id, order_id, 'order.created', created_at, branch_id,
    jsonb_build_object('order', jsonb_build_object('order_id', order_id)), 'order-created', 0,
    order_id, created_at
FROM orders_processed;

INSERT INTO product_orders
SELECT order_id, branch_id, (created_at AT TIME ZONE 'UTC')::date, status, body_version,
    status_version
FROM orders_processed;

INSERT INTO order_items (order_id, line_no, product_id, name, category, quantity, unit_price)
SELECT order_id, 1, 'P-' || right(order_id, 3), 'MILK', 'DAIRY', 2, 1.25 FROM orders_processed;

INSERT INTO order_items_analytics (branch_id, day, product_id, currency, name, category,
    order_count, quantity, revenue, cancelled_orders, cancelled_quantity, cancelled_revenue,
    name_version, updated_at)
SELECT 'B0' || b, (now() AT TIME ZONE 'UTC')::date - d, 'P-' || p, 'USD', 'MILK', 'DAIRY', 1, 2,
    2.50, 0, 0, 0, '1', now()
FROM generate_series(0, 364) d, generate_series(1, 5) b, generate_series(1, 200) p;

INSERT INTO order_metrics (metric_date, hour, branch_id, currency, order_count, total_revenue,
    net_revenue, pending_count, processing_count, completed_count, cancelled_count, cash_count,
    online_count, updated_at)
SELECT (at AT TIME ZONE 'UTC')::date, at, 'B0' || b, 'USD', 24, 60, 60, 0, 0, 24, 0, 24, 0, now()
FROM generate_series(date_trunc('hour', now()) - interval '364 days', now(), '1 hour') at,
    generate_series(1, 5) b;

INSERT INTO store_hourly (branch_id, hour, local_hour, visitors, orders, revenue, net_revenue,
    is_final, orders_change_id, footfall_change_id, updated_at)
SELECT branch_id, hour, hour AT TIME ZONE 'UTC', 100, order_count, total_revenue, net_revenue,
    true, change_id, change_id, now()
FROM order_metrics;

ALTER TABLE order_items ADD FOREIGN KEY (order_id) REFERENCES product_orders ON DELETE CASCADE;
"""  # noqa: S608


@pytest.fixture(scope="module")
def db(services: Settings) -> Iterator[Connection]:
    """A connection to a schema of its own with a year of orders; gone afterwards."""
    with psycopg.connect(services.owner_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        try:
            connection.execute(f"SET search_path = {SCHEMA}")
            connection.execute("SET timezone = 'UTC'")
            for file in (*sorted(MIGRATIONS.glob("*.sql")), *FUNCTIONS.glob("*.sql")):
                connection.execute(file.read_bytes())
            fill(connection)
            yield connection
        finally:
            connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


def fill(connection: Connection) -> None:
    """Rows first and indexes afterwards, without a log: a minute becomes seconds."""
    # The child first: a logged table must not refer to an unlogged one.
    for table in sorted(BIG, key=lambda name: name != "order_items"):
        connection.execute(f"ALTER TABLE {table} SET UNLOGGED".encode())
    indexes = connection.execute(
        "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
        "WHERE indrelid::regclass::text = ANY(%s) AND NOT indisprimary "
        "AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)",
        (sorted(BIG),),
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}".encode())
    connection.execute(FILL.encode())
    for _, definition in indexes:
        connection.execute(definition.encode())
    connection.execute(f"ANALYZE {', '.join(sorted(BIG))}".encode())


def scans(plan: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind of node, table) of every node of a plan that reads a table."""
    here = [(plan["Node Type"], plan["Relation Name"])] if "Relation Name" in plan else []
    return here + [found for part in plan.get("Plans", []) for found in scans(part)]


def plan_of(
    db: Connection, query: str, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    (row,) = db.execute(f"EXPLAIN (FORMAT json) {query}".encode(), parameters).fetchall()
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


@pytest.mark.parametrize(
    "query",
    [
        "v_daily_order_summary WHERE day = current_date - 1",
        "v_daily_order_summary WHERE day > current_date - 7 AND branch_id = 'B01'",
        "v_branch_performance",
        "v_branch_performance WHERE branch_id = 'B01'",
        "v_product_popularity WHERE branch_id = 'B01' AND rank_by_quantity <= 10",
        "v_product_popularity WHERE rank_by_revenue = 1",
        "v_recent_orders LIMIT 50",
        "v_recent_orders WHERE branch_id = 'B01' LIMIT 50",
        "v_recent_orders WHERE status = 'pending' LIMIT 50",
        "v_recent_orders WHERE created_at > now() - interval '1 hour'",
        "v_recent_orders WHERE customer_id = 'C-7'",
        "v_recent_orders WHERE order_id = 'O-00500000'",
        "orders_raw WHERE order_id = 'O-00500000' ORDER BY event_time",
        "orders_raw WHERE payload -> 'order' @> '{\"order_id\": \"O-00500000\"}'",
        "orders_processed WHERE branch_id = 'B02' AND created_at > now() - interval '1 day'",
        "order_items WHERE order_id = 'O-00500000'",
        "order_items WHERE product_id = 'P-123'",
        "order_items_analytics WHERE branch_id = 'B01' AND day = current_date",
        "order_items_analytics WHERE product_id = 'P-7' ORDER BY day DESC LIMIT 30",
        "order_items_analytics WHERE change_id > (SELECT max(change_id) FROM order_metrics) - 10",
        "product_orders WHERE order_id = 'O-00500000'",
    ],
)
def test_no_big_table_is_read_whole_for(db: Connection, query: str) -> None:
    found = scans(plan_of(db, f"SELECT * FROM {query}"))  # noqa: S608
    assert found
    assert [table for kind, table in found if kind == "Seq Scan" and table in BIG] == []


@pytest.mark.parametrize("name", [*OF_A_DAY, "latency"])
def test_no_big_table_is_read_whole_for_the_console(db: Connection, name: str) -> None:
    branches = [{"branch_id": f"B0{n}", "timezone": "Europe/Berlin"} for n in range(1, 6)]
    found = scans(plan_of(db, QUERIES[name], {"branches": json.dumps(branches), "day": None}))
    assert found
    assert [table for kind, table in found if kind == "Seq Scan" and table in BIG] == []


def test_a_question_that_no_index_answers_is_seen_as_such(db: Connection) -> None:
    plan = plan_of(db, "SELECT * FROM orders_processed WHERE total_price = 9.99")
    assert "Seq Scan" in {kind for kind, _ in scans(plan)}


def test_a_batch_of_products_costs_as_much_as_the_batch_and_not_as_the_table(
    db: Connection,
) -> None:
    line = {"product_id": "P-1", "name": "MILK", "category": "DAIRY",
            "quantity": 1, "unit_price": 1.25}  # fmt: skip
    payload = json.dumps({"order": {"currency": "USD", "items": [line]}})
    with db.transaction(force_rollback=True):
        db.execute(
            "CREATE TEMP TABLE order_events (order_id text, branch_id text, "
            'created_at timestamptz, payload jsonb, version text COLLATE "C")'
        )
        # A newer version of every thousandth order.
        db.execute(
            "INSERT INTO order_events SELECT order_id, branch_id, now(), %s, 'Z' "
            "FROM product_orders WHERE order_id LIKE '%%000' ORDER BY order_id",
            (payload,),
        )
        db.execute(
            "CREATE TEMP TABLE newest_orders AS SELECT order_id, branch_id AS sale_branch_id, "
            "'USD' AS currency, false AS is_return, created_at, 'completed' AS status, "
            "version AS status_version, version AS body_version, version AS sale_version "
            "FROM order_events"
        )
        before = seen_rows(db)
        db.execute("SELECT upsert_order_items()")
        assert sum(seen_rows(db).values()) - sum(before.values()) < ORDERS // 10
        (counted,) = db.execute("SELECT count(*) FROM order_items WHERE product_id = 'P-1'")
    assert counted[0] == 1000


def seen_rows(db: Connection) -> dict[str, int]:
    """How many rows of each big table this transaction has read in sequential scans."""
    rows = db.execute(
        "SELECT relname, seq_tup_read FROM pg_stat_xact_user_tables "
        "WHERE schemaname = %s AND relname = ANY(%s)",
        (SCHEMA, sorted(BIG)),
    )
    return {name: int(count) for name, count in rows}

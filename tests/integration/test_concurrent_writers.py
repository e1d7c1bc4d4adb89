"""Transactions that write the same orders at once leave what one writer alone leaves."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from decimal import Decimal
from itertools import count, product
from threading import Barrier
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from conf.settings import Settings
from streaming.sinks.orders import stage_orders, write_orders
from streaming.sinks.postgres import Database
from tests.integration.test_order_sinks import change, order, table
from tests.support.builders import order_item

pytestmark = [pytest.mark.requirement("O3"), pytest.mark.requirement("O7")]

Row = dict[str, Any]

WRITERS = 4
BATCHES = 2
ROUNDS = 4
RESULTS = {
    "orders_raw": "event_id, order_id, event_type",
    "orders_processed": "order_id, branch_id, status, total_price, items, subtotal, "
    "first_event_at, last_event_at, body_version, status_version",
    "order_contributions": "*",
    "order_metrics": "metric_date, hour, branch_id, currency, order_count, total_revenue, "
    "net_revenue, pending_count, processing_count, completed_count, cancelled_count, cash_count, "
    "online_count",
    "payments_hourly": "hour, branch_id, currency, method, order_count, total_amount, net_amount",
    "product_orders": "*",
    "order_items": "*",
    "order_items_analytics": "branch_id, day, product_id, name, order_count, quantity, revenue, "
    "cancelled_orders, cancelled_quantity, cancelled_revenue",
}
"""Table -> its columns that do not count the writes."""


@pytest.fixture
def db(services: Settings) -> Iterator[Database]:
    """A connection for each writer."""
    database = Database(services.postgres.dsn, WRITERS)
    yield database
    database.close()


def lives(orders: int) -> list[Row]:
    """Created, corrected, processed, and cancelled or completed: the events of so many orders."""
    number = count()
    return [event for n in range(orders) for event in _life(f"O-{n:02d}", n, number)]


def _life(order_id: str, n: int, number: Iterator[int]) -> list[Row]:
    branch = f"B0{n % 2 + 1}"
    first = _body(next(number), 0, order_id, branch, ("P-1", 2), ("P-2", 1))
    second = _body(next(number), 1, order_id, branch, ("P-2", 3), (f"P-{n % 3 + 3}", 1))
    ends = "cancelled" if n % 3 == 0 else "completed"
    later = ((2, "processing"), (3, ends))
    return [
        first,
        {**second, "event_type": "order.updated"},
        *(
            change(next(number), minute, status, order_id=order_id, branch_id=branch)
            for minute, status in later
        ),
    ]


def _body(number: int, minute: int, order_id: str, branch: str, *lines: tuple[str, int]) -> Row:
    items = [order_item(product_id=product, quantity=quantity) for product, quantity in lines]
    return order(
        number,
        minute,
        order_id=order_id,
        branch_id=branch,
        total_price=sum(Decimal("1.25") * quantity for _, quantity in lines),
        items_json=json.dumps(items),
    )


def write_metrics(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    stage_orders(connection, rows)
    connection.execute("SELECT upsert_order_metrics()")


def write_items(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    stage_orders(connection, rows)
    connection.execute("SELECT upsert_order_items()")


SINKS = (write_orders, write_metrics, write_items)


def write_at_once(db: Database, parts: Sequence[Sequence[Sequence[Row]]]) -> None:
    """Each writer commits its batches one after the other; all begin each batch together."""
    barrier = Barrier(len(parts), timeout=20)

    def commit(batches: Sequence[Sequence[Row]]) -> None:
        for rows, sink in product(map(table, batches), SINKS):
            barrier.wait()
            with db.transaction() as connection:
                sink(connection, rows)

    with ThreadPoolExecutor(len(parts)) as writers:
        for done in [writers.submit(commit, batches) for batches in parts]:
            done.result()


def results(db: Database) -> dict[str, list[Row]]:
    return {
        name: db.fetch(f"SELECT {columns} FROM {name} ORDER BY 1, 2, 3")  # noqa: S608
        for name, columns in RESULTS.items()
    }


def clear(db: Database) -> None:
    with db.transaction() as connection:
        for name in RESULTS:
            connection.execute(f"DELETE FROM {name}".encode())  # noqa: S608


def test_writers_of_the_same_orders_leave_what_one_writer_leaves(db: Database) -> None:
    rng = random.Random(7)
    events = lives(24)
    clear(db)
    write_at_once(db, [[events]])
    expected = results(db)
    assert sum(row["order_count"] for row in expected["order_metrics"]) == 24
    for _ in range(ROUNDS):
        clear(db)
        # Some events twice, in batches of different writers.
        sent = rng.sample([*events, *rng.sample(events, 12)], len(events) + 12)
        parts = [sent[n::WRITERS] for n in range(WRITERS)]
        write_at_once(db, [[part[b::BATCHES] for b in range(BATCHES)] for part in parts])
        assert results(db) == expected


@pytest.mark.parametrize(
    ("name", "sink"), [("order_metrics", write_metrics), ("order_items_analytics", write_items)]
)
def test_a_transaction_that_commits_later_has_the_higher_change_ids(
    db: Database, name: str, sink: Callable[[psycopg.Connection[Any], pa.Table], None]
) -> None:
    """Also where it writes other rows: a reader that follows `change_id` would miss them."""
    clear(db)
    first, second = (
        table([event for event in lives(4) if event["branch_id"] == branch])
        for branch in ("B01", "B02")
    )

    def write_second() -> None:
        with db.transaction() as connection:
            sink(connection, second)

    with ThreadPoolExecutor(1) as writer:
        with db.transaction() as connection:
            sink(connection, first)
            waiting = writer.submit(write_second)
            with pytest.raises(FutureTimeoutError):
                waiting.result(timeout=0.5)
        waiting.result(timeout=60)
    ids = f"SELECT array_agg(change_id ORDER BY change_id) AS ids FROM {name} GROUP BY branch_id"  # noqa: S608
    earlier, later = (row["ids"] for row in db.fetch(f"{ids} ORDER BY branch_id"))
    assert earlier[-1] < later[0]

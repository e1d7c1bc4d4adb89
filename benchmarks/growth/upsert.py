"""Upsert of orders by rows in their tables, by the product's sink; floor: tables with one key each.

The sink writes a thousand orders, and the server multiplies them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial
from typing import Annotated, Any

import psycopg
import pyarrow as pa
import typer
from psycopg import sql

from benchmarks import Out, fresh, notify, print_result, timed
from benchmarks.drain import event
from benchmarks.floor import PLAIN, write
from benchmarks.growth import Point, Sizes, curve, median, numbers, point, status_change
from conf.settings import Settings
from conf.stores import load_stores
from streaming.sinks.orders import write_orders
from streaming.source import SOURCE_SCHEMA
from streaming.steps import VALIDATE_ORDERS

TEMPLATE = 1000
RECENT = 50_000
"""Orders that may still change: those of about an hour, at 1,000 a minute."""
TABLES = ("orders_raw", "orders_processed")
COLUMNS_SQL = """
    SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s
    AND is_identity = 'NO' AND is_generated = 'NEVER' ORDER BY ordinal_position"""
COPIES = {
    "event_id": "md5(event_id::text || n)::uuid",
    "order_id": "order_id || '-' || n",
    "event_time": "event_time - n * interval '1 second'",
    "created_at": "created_at - n * interval '1 second'",
    "payload": "jsonb_set(payload, '{order,order_id}', to_jsonb(order_id || '-' || n))",
}
"""Column -> its value in the copy n of a row; others are the same."""
FLOOR_SQL = """
    INSERT INTO floor_raw SELECT event_id, payload FROM orders_raw ON CONFLICT DO NOTHING;
    INSERT INTO floor_processed SELECT order_id, total_price FROM orders_processed
    ON CONFLICT DO NOTHING"""

Messages = Sequence[tuple[bytes, bytes]]
Connection = psycopg.Connection[Any]


def multiply(dsn: str, table: str, first: int, last: int) -> None:
    """Add the copies `first` to `last` of the first thousand rows of a table."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        columns: dict[str, str] = dict(connection.execute(COLUMNS_SQL, (table,)).fetchall())
        values = [f"({COPIES.get(c, c)})::{kind}" for c, kind in columns.items()]
        statement = sql.SQL("INSERT INTO {0} ({1}) SELECT {2} FROM {3} t, {4} n").format(
            sql.Identifier(table),
            sql.SQL(", ".join(columns)),
            sql.SQL(", ".join(values)),
            sql.SQL("(SELECT * FROM {} LIMIT {})").format(sql.Identifier(table), TEMPLATE),
            sql.SQL("generate_series({}, {})").format(first, last),
        )
        connection.execute(statement)
        connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))


def source_rows(messages: Messages, position: int) -> pa.Table:
    """Messages of one topic partition from a position on."""
    now = datetime.now(timezone.utc)
    message = {"topic": "order-created", "partition": 0, "timestamp": now}
    rows = [
        message | {"key": key, "value": value, "position": f"{position + n:020}"}
        for n, (key, value) in enumerate(messages)
    ]
    return pa.Table.from_pylist(rows, schema=SOURCE_SCHEMA)


def floor_rows(messages: Messages) -> list[Sequence[Any]]:
    """The same for the plain consumer, which parses them itself."""
    texts = [value.decode() for _, value in messages]
    return [PLAIN.row(json.loads(text), text, "", 0, 0) for text in texts]


def mixed(created: Messages, copies: int, rows: int, rng: random.Random) -> Messages:
    """Order events, half of them new orders, the others changes of the newest `RECENT` orders."""
    now = datetime.now(timezone.utc)
    news = [event(rng.randrange(10**12), now, rng) for _ in range(rows // 2)]
    for chosen in rng.sample(range(min(RECENT, TEMPLATE * copies)), rows // 2):
        age, number = divmod(chosen, TEMPLATE)
        news.append(status_change(f"{created[number][0].decode()}-{copies - age}", now, rng))
    return news


def write_sink(connection: Connection, rows: pa.Table) -> None:
    """One transaction of the product."""
    with connection.transaction():
        write_orders(connection, rows)


class Upserts:
    """Both kinds of upsert on one connection, which commits by itself."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        self._validate = VALIDATE_ORDERS.make(settings, load_stores(settings.stores_file))
        self._connection, self._dsn = connection, settings.owner_dsn
        self._rng, self._position, self._copies = random.Random(2), 0, 0  # noqa: S311
        now = datetime.now(timezone.utc)
        self._created = [event(number, now, self._rng) for number in range(TEMPLATE)]
        tables = PLAIN.tables.replace("TEMP TABLE floor_raw", "TABLE floor_raw")
        tables = tables.replace("TEMP TABLE floor_processed", "TABLE floor_processed")
        connection.execute(tables.encode())
        self.sink(self._created)

    def sink(self, messages: Messages) -> float:
        """Seconds of the product's sink for validated rows."""
        rows = self._validate(source_rows(messages, self._position))
        self._position += len(messages)
        return timed(partial(write_sink, self._connection, rows))

    def floor(self, messages: Messages) -> float:
        """Seconds of the plain consumer for parsed messages."""
        return timed(partial(write, self._connection, PLAIN, floor_rows(messages)))

    def fill(self, size: int) -> None:
        """Grow all tables to so many rows."""
        first, self._copies = self._copies + 1, size // TEMPLATE - 1
        grow = partial(multiply, self._dsn, first=first, last=self._copies)
        with ThreadPoolExecutor() as pool:
            list(pool.map(grow, TABLES))
        self._connection.execute(FLOOR_SQL.encode())
        self._connection.execute("VACUUM ANALYZE floor_raw, floor_processed")

    def measure(self, size: int, rows: int, samples: int) -> Point:
        """Both, by turns, with the same messages."""
        batches = [mixed(self._created, self._copies, rows, self._rng) for _ in range(samples)]
        seconds = [(self.sink(messages), self.floor(messages)) for messages in batches]
        sink, floor = zip(*seconds, strict=True)
        return point(size, sink, floor_seconds=median(floor))


def main(
    sizes: Sizes = "1000000,10000000",
    rows: Annotated[int, typer.Option(help="Of an upsert: half of them new orders.")] = 1000,
    samples: int = 25,
    out: Out = None,
) -> None:
    """Upsert of orders: time by rows in their tables."""
    points: list[Point] = []
    with (
        fresh() as deployment,
        psycopg.connect(deployment.settings.owner_dsn, autocommit=True) as connection,
    ):
        upserts = Upserts(deployment.settings, connection)
        for size in numbers(sizes):
            notify(f"filling {size:,} rows")
            upserts.fill(size)
            notify(f"upserts at {size:,} rows")
            points.append(upserts.measure(size, rows, samples))
    print_result({"rows_an_upsert": rows, **curve(points, points[0])}, out)

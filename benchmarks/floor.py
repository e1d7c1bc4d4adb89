"""The floor of a drain: a plain consumer by hand, without rules, versions, ledger and lake.

confluent-kafka, `json.loads`, COPY, and two upserts (event and order by key).
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from confluent_kafka import Consumer, Message

from conf.kafka import client_config
from conf.settings import Settings

_ROW = {
    **{name: f"r.{name}" for name in ("event_id", "order_id", "event_type", "event_time")},
    **{name: f"r.{name}" for name in ("branch_id", "payload", "topic", "partition", "position")},
    "received_at": "r.received_at",
    **{name: f"p.{name}" for name in ("customer_id", "region", "status", "payment_method")},
    **{name: f"p.{name}" for name in ("currency", "total_price", "created_at", "local_date")},
    **{name: f"p.{name}" for name in ("local_hour", "item_count", "items", "status_version")},
}
"""Column of `floor_in` -> the column of the product whose type it has."""
_EVENT = [name for name, column in _ROW.items() if column.startswith("r.")]
_ORDER = ["order_id", "branch_id", *(n for n, column in _ROW.items() if column.startswith("p."))]


@dataclass(frozen=True)
class Floor:
    """Tables of a consumer, and how it fills them.

    Attributes:
        tables: SQL that creates them, and the temporary table `floor_in`.
        row: parsed order event, its text, topic, partition, offset -> values of `floor_in`.
        merge: SQL from `floor_in` into the tables.
    """

    tables: str
    row: Callable[[dict[str, Any], str, str, int, int], Sequence[Any]]
    merge: str


def _key_and_total(body: dict[str, Any], text: str, *_: Any) -> Sequence[Any]:
    order = body["order"]
    return body["event_id"], order["order_id"], order.get("total_price"), text


def _all_columns(
    body: dict[str, Any], text: str, topic: str, partition: int, offset: int
) -> Sequence[Any]:
    order, at = body["order"], body["event_time"]
    created_at, items = order["created_at"], order["items"]
    return [
        *(body["event_id"], order["order_id"], body["event_type"], at, order["branch_id"], text),
        *(topic, partition, f"{offset:020}", at, order["customer_id"], "north", order["status"]),
        *(order["payment_method"], order["currency"], order["total_price"], created_at),
        *(created_at[:10], created_at[11:13], len(items), json.dumps(items), at),
    ]


def _merge_all() -> str:
    news = [*_ORDER, "subtotal", "first_event_at", "last_event_at", "body_version"]
    staged = [*_ORDER, "total_price", "event_time", "event_time", "status_version"]
    update = ", ".join(f"{name} = EXCLUDED.{name}" for name in news if name != "order_id")
    events = ", ".join(_EVENT)
    return (  # built from the constants above only
        f"INSERT INTO orders_raw ({events}) SELECT {events} FROM floor_in ON CONFLICT DO NOTHING;"  # noqa: S608
        f"INSERT INTO orders_processed ({', '.join(news)}) SELECT {', '.join(staged)} "
        f"FROM floor_in ON CONFLICT (order_id) DO UPDATE SET {update}"
    )


PLAIN = Floor(
    "CREATE TEMP TABLE floor_raw (event_id text PRIMARY KEY, payload jsonb);"
    "CREATE TEMP TABLE floor_processed (order_id text PRIMARY KEY, total numeric);"
    "CREATE TEMP TABLE floor_in (event_id text, order_id text, total numeric, payload jsonb)",
    _key_and_total,
    "INSERT INTO floor_raw SELECT event_id, payload FROM floor_in ON CONFLICT DO NOTHING;"
    "INSERT INTO floor_processed SELECT order_id, total FROM floor_in "
    "ON CONFLICT (order_id) DO UPDATE SET total = EXCLUDED.total",
)
"""Two temporary tables with one key each, which Postgres does not log."""

_TYPES = ", ".join(f"{column} AS {name}" for name, column in _ROW.items())
SAME_TABLES = Floor(
    f"CREATE TEMP TABLE floor_in AS SELECT {_TYPES} "  # noqa: S608 - constants
    "FROM orders_raw r, orders_processed p WITH NO DATA",
    _all_columns,
    _merge_all(),
)
"""The product's own `orders_raw` and `orders_processed`, with all their indexes."""


def consume(settings: Settings, count: int, floor: Floor) -> float:
    """Seconds of the consumer for so many messages of the first order topic."""
    consumer = Consumer(
        client_config(
            settings.kafka,
            "reader",
            {"group.id": f"storelake-floor-{time.time()}", "auto.offset.reset": "earliest"},
        )
    )
    with psycopg.connect(settings.owner_dsn, autocommit=True) as connection:
        connection.execute(floor.tables.encode())
        started, seen = time.monotonic(), 0
        consumer.subscribe([settings.kafka.order_topics[0]])
        while seen < count:
            messages = consumer.consume(20_000, 0.5)
            seen += len(messages)
            write(connection, floor, _rows(floor, messages))
    consumer.close()
    return time.monotonic() - started


def empty_tables(settings: Settings) -> None:
    """Delete what `SAME_TABLES` has written."""
    with psycopg.connect(settings.owner_dsn) as connection:
        connection.execute("TRUNCATE orders_raw, orders_processed")


def write(connection: psycopg.Connection[Any], floor: Floor, rows: Iterable[Sequence[Any]]) -> None:
    """Copy and merge rows of `floor_in` in one transaction."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy("COPY floor_in FROM STDIN (FORMAT csv)") as copy:
            copy.write(text.getvalue())
        cursor.execute(floor.merge.encode())
        cursor.execute("TRUNCATE floor_in")


def _rows(floor: Floor, messages: Iterable[Message]) -> Iterable[Sequence[Any]]:
    """Rows of the messages that are JSON."""
    for message in messages:
        text = (message.value() or b"").decode()
        try:
            body = json.loads(text)
        except ValueError:
            continue
        place = (message.topic() or "", message.partition() or 0, message.offset() or 0)
        yield floor.row(body, text, *place)

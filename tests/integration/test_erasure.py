"""A customer is erased from every store, and nobody else is: real Postgres, Kafka and Iceberg."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from pyiceberg.transforms import DayTransform

from conf.kafka import producer_config
from conf.settings import CONF_DIR, Settings
from conf.stores import load_stores
from streaming.lake.formats import open_lake
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import (
    BRONZE_ORDER_EVENTS,
    QUARANTINE_LATE_EVENTS,
    QUARANTINE_ORDER_EVENTS,
    SILVER_ORDERS,
    Table,
)
from streaming.privacy.erase import ErasedPlace, erase, repeat_erasures
from streaming.privacy.export import export
from streaming.privacy.person import Person
from streaming.privacy.serving import erase_rows, text_tables
from streaming.sinks.dlq_table import write_validated
from streaming.sinks.postgres import Database
from streaming.source import SOURCE_SCHEMA
from streaming.transforms.order_columns import ORDER_COLUMNS
from streaming.transforms.order_event_processor import silver_orders
from streaming.transforms.quarantine import split_validated
from tests.support.builders import as_json, event_id, order_event

pytestmark = pytest.mark.requirement("S2")

ANNA, BERT = "anna.larsson@example.org", "anna.larsson@example.org.uk"
"""Two customers, the id of one of whom begins with that of the other."""
TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
STORES = load_stores(CONF_DIR / "stores" / "demo.toml")
REJECTED = pa.schema([*SOURCE_SCHEMA, ("rules", pa.list_(pa.string()))])
LATE = REJECTED.append(pa.field("change_id", pa.int64()))
SCHEMAS = (
    (BRONZE_ORDER_EVENTS, SOURCE_SCHEMA),
    (SILVER_ORDERS, pa.schema([(c.name, c.type) for c in ORDER_COLUMNS if c.lake])),
    (QUARANTINE_ORDER_EVENTS, REJECTED),
    (QUARANTINE_LATE_EVENTS, LATE),
)


def values() -> list[bytes]:
    """What tills have sent: of both customers good, changed, cancelled, and refused."""
    sent = []
    for number, customer in enumerate((ANNA, BERT)):
        about = {"order_id": f"E-{number}", "customer_id": customer}
        for kind, status in (("created", "pending"), ("updated", "completed")):
            event = order_event(event_type=f"order.{kind}", status=status, **about)
            event["order"]["customer_name"] = f"name of {customer}"
            sent.append({**event, "event_id": event_id(f"{kind}-{number}")})
        refused = order_event(total_price=-1, event_id=event_id(f"bad-{number}"), **about)
        sent.append({**refused, "contact": customer})
    escaped = as_json(sent[0]).replace(b"anna", b"\\u0061nna").replace(b"E-0", b"E-2")
    other = as_json({**sent[0], "event_id": event_id("escaped")})
    return [
        *map(as_json, sent),
        escaped.replace(sent[0]["event_id"].encode(), event_id("escaped").encode()),
        other.replace(b"E-0", b"E-3")[:-9] + ANNA.encode(),  # cut off: no JSON
    ]


@dataclass
class Shop:
    """A deployment in which both customers have bought."""

    settings: Settings
    db: Database
    lake: IcebergLake

    def receive(self, first: int, messages: list[bytes]) -> None:
        """Messages at these positions go into Kafka, Postgres and the lake."""
        producer = Producer(producer_config(self.settings.kafka, "admin"))
        rows = []
        for number, value in enumerate(messages, first):
            key = value[value.index(b"E-") :][:3]  # the order id
            producer.produce("order-created", value, b"E")
            rows.append(
                {
                    "key": key, "value": value, "topic": "order-created", "partition": 0,
                    "position": f"{number:020d}", "timestamp": TEN,
                    "headers": [{"key": "from", "value": ANNA.encode()}] if number == 2 else None,
                }
            )  # fmt: skip
        producer.flush(10)
        source = pa.Table.from_pylist(rows, SOURCE_SCHEMA)
        validated = silver_orders(STORES, timedelta(minutes=10))(source)
        with self.db.transaction() as connection:
            write_validated(connection, validated)
        good, rejected = split_validated(validated)
        self.lake.append(BRONZE_ORDER_EVENTS, source, 1)
        self.lake.append(SILVER_ORDERS, good, 1)
        self.lake.append(QUARANTINE_ORDER_EVENTS, rejected, 1)

    def set_aside(self) -> None:
        """An event came late; a quality run took a sample; a log line and a report name Anna."""
        late = values()[0]
        with self.db.transaction() as connection:
            connection.execute(
                "INSERT INTO late_events (topic, partition, position, value, rules, received_at) "
                "VALUES ('order-created', 0, '00000000000000000000', %s, '{late}', now())",
                (late,),
            )
            connection.execute("CREATE TABLE IF NOT EXISTS newly_added (id int, words jsonb)")
            connection.execute(
                "INSERT INTO newly_added VALUES (1, %s)", (json.dumps({"sample": [ANNA, BERT]}),)
            )
        row = {"value": late, "topic": "order-created", "partition": 0, "position": "0" * 20,
               "timestamp": TEN, "rules": ["late"]}  # fmt: skip
        rows = pa.Table.from_pylist([row], LATE)
        self.lake.add(QUARANTINE_LATE_EVENTS, rows)
        log = self.settings.var_dir / "logs" / "shop.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f'{{"error": "refused {ANNA}, kept {BERT}"}}\n')

    def tag(self) -> None:
        """The state of now is kept as that of an hour, and is the validated one."""
        for table in (BRONZE_ORDER_EVENTS, SILVER_ORDERS):
            newest = self.lake.load(table).current_snapshot()
            assert newest
            for name in ("hour-2026-01-01T00", "validated"):
                self.lake.tag(table.name, newest.snapshot_id, name)

    def sums(self) -> list[Any]:
        """Revenue as Postgres and the lake have it, and the number of messages."""
        served = self.db.fetch("SELECT sum(total_price) s, count(*) n FROM orders_processed")
        silver = self.lake.read(SILVER_ORDERS.name, ["total_price", "order_id", "position"])
        counts = [len(self.lake.read(table.name)) for table, _ in SCHEMAS]
        return [served, sorted(silver.to_pylist(), key=str), counts]

    def bytes_with(self, customer: str) -> list[str]:
        """Files of the lake, unpacked, and rows of Postgres in which the id stands anywhere."""
        found = []
        for path in Path(self.settings.warehouse.removeprefix("file://")).rglob("*.parquet"):
            text = repr(pa.parquet.read_table(path).to_pylist())
            found += [str(path)] if f"{customer}'" in text or f'{customer}"' in text else []
        for table in ("orders_raw", "orders_processed", "dead_letters", "late_events"):
            for row in self.db.fetch(f"SELECT * FROM {table}"):  # noqa: S608
                found += [table] if f"{customer}'" in repr(row) else []
                found += [table] if f'{customer}"' in repr(row) else []
        return found


@pytest.fixture(scope="module")
def shop(services: Settings, tmp_path_factory: Any) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("erasure")
    own = services.catalog.model_copy(
        update={"name": "erasure", "warehouse": f"file://{folder}/lake", "format": "iceberg"}
    )
    settings = services.acting_as("owner")
    settings = settings.model_copy(update={"catalog": own, "var_dir": folder})
    db = Database(settings.postgres.dsn, 2)
    with db.transaction() as connection:
        connection.execute(
            "TRUNCATE orders_raw, orders_processed, dead_letters, late_events CASCADE"
        )
    with open_lake(settings) as lake:
        assert isinstance(lake, IcebergLake)
        for table, schema in SCHEMAS:
            create(lake, table, schema)
        yield Shop(settings, db, lake)
    with db.transaction() as connection:
        connection.execute("DROP TABLE IF EXISTS newly_added")
    db.close()


def create(lake: IcebergLake, table: Table, schema: pa.Schema) -> None:
    lake.catalog.create_namespace_if_not_exists(table.name.split(".")[0])
    made = lake.catalog.create_table(table.name, schema)
    if table.partition:
        column = table.partition[0].removeprefix("days(").removesuffix(")")
        with made.update_spec() as spec:
            spec.add_field(column, DayTransform())


def left(places: list[ErasedPlace]) -> list[ErasedPlace]:
    return [place for place in places if place.left]


def test_an_erased_customer_is_nowhere_and_everything_else_stays(shop: Shop) -> None:
    shop.receive(0, values())
    shop.set_aside()
    shop.tag()
    before, progress = shop.sums(), shop.lake.progress(BRONZE_ORDER_EVENTS)
    others = len(shop.bytes_with(BERT))
    assert shop.bytes_with(ANNA)
    stored = json.dumps(export(shop.settings, ANNA), ensure_ascii=False)
    assert {"orders_processed", "bronze.order_events", "kafka"} <= {
        *json.loads(stored)["postgres"], *json.loads(stored)["lake"], *json.loads(stored)
    }  # fmt: skip
    assert f"{BERT}'" not in stored.replace('"', "'")

    places = erase(shop.settings, ANNA, lambda _: None)

    assert shop.bytes_with(ANNA) == []
    assert {p.store for p in left(places)} == {"kafka"}, left(places)
    assert all(place.clean for place in places)
    assert shop.sums() == before
    assert shop.lake.progress(BRONZE_ORDER_EVENTS) == progress
    assert len(shop.bytes_with(BERT)) == others
    log = (shop.settings.var_dir / "logs" / "shop.log").read_text()
    assert log == f'{{"error": "refused {"*" * len(ANNA)}, kept {BERT}"}}\n'


def test_again_it_changes_nothing(shop: Shop) -> None:
    snapshot = shop.lake.load(SILVER_ORDERS).current_snapshot()
    places = erase(shop.settings, ANNA, lambda _: None)
    assert [place for place in places if place.changed] == []
    assert shop.lake.load(SILVER_ORDERS).current_snapshot() == snapshot


def test_a_message_that_comes_again_does_not_bring_the_customer_back(shop: Shop) -> None:
    again = [v.replace(b"E-0", b"E-9") for v in values()[:1]]
    shop.receive(10**6, [again[0].replace(event_id("created-0").encode(), event_id("x").encode())])
    assert shop.bytes_with(ANNA)
    assert repeat_erasures(shop.settings, logging.debug) == 1
    assert shop.bytes_with(ANNA) == []


def test_an_id_that_json_escapes_leaves_postgres(shop: Shop) -> None:
    mine, words = Person('A"12'), json.dumps({"sample": ['A"12', "A\\\\12"]})
    with shop.db.transaction() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS newly_added (id int, words jsonb)")
        connection.execute("INSERT INTO newly_added VALUES (2, %s)", (words,))
        columns = text_tables(connection)["newly_added"]
        assert erase_rows(connection, "newly_added", columns, mine) == 1
    (row,) = shop.db.fetch("SELECT words FROM newly_added WHERE id = 2")
    assert row["words"] == {"sample": ["erased", "A\\\\12"]}


def test_kafka_can_be_emptied_up_to_the_customer(shop: Shop) -> None:
    with shop.db.transaction() as connection:
        connection.execute("DELETE FROM stream_offsets WHERE topic = 'order-created'")
    places = erase(shop.settings, ANNA, lambda _: None, kafka_now=True)
    assert left(places) == []

"""Deployment of one test: its own folder, catalog and empty tables; the memory log as broker."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg.rows import dict_row
from pyarrow import fs
from pyiceberg.io.pyarrow import PyArrowFileIO

from conf.settings import Settings
from conf.stores import load_stores
from streaming.jobs import find_streams
from streaming.lake.delta.tables import file_system
from streaming.lake.formats import open_lake
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.tables import TABLES
from streaming.runtime.metrics import StreamMetrics
from streaming.runtime.runner import Runner
from streaming.sinks.postgres import Database
from streaming.source import GENERATION
from streaming.sources.memory import MemoryBroker, MemoryLog
from streaming.sources.options import Subscription
from streaming.stream import (
    DETECTIONS,
    ORDERS,
    ORDERS_AND_HEARTBEATS,
    SinkContext,
    Stream,
)
from tests.support.builders import as_json

DEADLINE_SECONDS = 240.0
NOW = datetime(2024, 5, 1, 12, 0, tzinfo=timezone.utc)
"""The broker's time of every message: after all events of the tests."""

STATE_TABLES = (
    "order_ids",
    "order_id_reuses",
    "orders_raw",
    "orders_processed",
    "order_contributions",
    "order_metrics",
    "payments_hourly",
    "order_status_history",
    "order_status_state",
    "product_orders",
    "order_items",
    "order_items_analytics",
    "line_crossings",
    "zone_visits",
    "footfall_minute",
    "zone_dwell_hourly",
    "queue_minute",
    "store_hourly",
    "dead_letters",
    "late_events",
    "refused_rows",
)
LEDGER_TABLES = (
    "stream_offsets",
    "stream_batches",
    "stream_watermarks",
    "topic_generations",
    "stream_leases",
)

Step = Callable[[], object]
Rows = list[dict[str, Any]]


def later(text: str, seconds: float) -> str:
    """The ISO instant so many seconds later."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00")) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass
class Sandbox:
    """Sends messages, runs streams and reads tables for a test.

    Attributes:
        settings: with the memory log as the source.
        broker: whose topics the streams read.
    """

    settings: Settings
    broker: MemoryBroker = field(init=False)

    def __post_init__(self) -> None:
        self.broker = MemoryBroker(self.settings.var_dir / "memory")
        for topic in self.settings.kafka.all_topics:
            self.broker.create_topic(topic, 2)

    def send_order(
        self, *events: Mapping[str, Any], topic: str = "order-created", arrived: datetime = NOW
    ) -> None:
        """Order events to partition 0 of a topic, with the order as the key."""
        for event in events:
            key = str(event["order"]["order_id"]).encode()
            self.broker.produce(topic, as_json(event), key, timestamp=arrived)

    def send_raw(self, topic: str, value: bytes, key: bytes | None = None) -> None:
        """Any bytes."""
        self.broker.produce(topic, value, key, timestamp=NOW)

    def send_frame(self, *events: Mapping[str, Any]) -> None:
        """Detection events, with the camera as the key."""
        for event in events:
            key = str(event["camera_id"]).encode()
            self.broker.produce("detections", as_json(event), key, timestamp=NOW)

    def run(
        self,
        *names: str,
        steps: Sequence[Step] = (),
        meanwhile: Step = lambda: None,
    ) -> None:
        """Run streams until they have written all that was sent, then stop them cleanly.

        Args:
            names: of the streams.
            steps: done one after the other, each once all that was sent before is written.
            meanwhile: done again and again until then.
        """
        self.run_streams(find_streams(names), steps, meanwhile)

    def run_streams(
        self,
        streams: Sequence[Stream],
        steps: Sequence[Step] = (),
        meanwhile: Step = lambda: None,
    ) -> None:
        """The same with streams that are not among the product's."""
        left = list(steps)
        end = time.monotonic() + DEADLINE_SECONDS
        queries = self._queries(streams)
        wanted: list[int] = []

        def done() -> bool:
            if time.monotonic() > end:
                pytest.fail(f"{', '.join(queries)} did not write everything in time")
            meanwhile()
            if not all(self._caught_up(name, topics) for name, topics in queries.items()):
                return False
            if any(s.on_interval for s in streams):
                # Two more calls: the first may have begun before the last batch was written.
                wanted.append(self._interval_calls() + 2)
                if self._interval_calls() < wanted[0]:
                    return False
            if not left:
                return True
            left.pop(0)()
            wanted.clear()
            return False

        Runner(self.settings, streams).run(until=done)

    def on_interval(self, name: str) -> None:
        """Run the interval task of a stream once, without Spark."""
        (stream,) = find_streams((name,))
        assert stream.on_interval is not None
        settings, stores = self.settings, load_stores(self.settings.stores_file)
        with (
            open_lake(self.settings) as lake,
            closing(Database(self.settings.postgres.dsn, 2)) as db,
        ):
            stream.on_interval(
                SinkContext(name, lake, db, settings, stores, {}, StreamMetrics([name]))
            )

    def _interval_calls(self) -> int:
        text = (self.settings.var_dir / "run" / "streams.json").read_text(encoding="utf-8")
        states = json.loads(text)["streams"].values()
        return min(s["settled"] for s in states if s["settled"] is not None)

    def _queries(self, streams: Sequence[Stream]) -> dict[str, tuple[str, ...]]:
        """The name of each query's checkpoint, and the topics that it reads."""
        kafka = self.settings.kafka
        topics = {
            ORDERS: kafka.order_topics,
            ORDERS_AND_HEARTBEATS: kafka.order_topics,
            DETECTIONS: (kafka.detections,),
        }
        plans = dict.fromkeys(s.plan for s in streams if s.source)
        return {
            "+".join(sorted(s.name for s in streams if s.plan == plan)): topics[plan[0]]
            for plan in plans
        }

    def checkpoint(self, *names: str) -> Path:
        """The checkpoint of the query that runs these streams together."""
        wanted = "+".join(sorted(names))
        # Spark may quote the name as in a URI; a version of the state follows a dot.
        folders = self.settings.checkpoints.glob("*")
        there = [f for f in folders if unquote(f.name).partition(".")[0] == wanted]
        return there[0] if there else self.settings.checkpoints / wanted

    def newest_batch(self, *names: str) -> int:
        """The newest committed batch of a query; -1 before the first."""
        return self._newest(self.checkpoint(*names) / "commits")

    def lose_newest_commit(self, *names: str) -> int:
        """Delete Spark's newest commit, as a crash right after the sinks would; returns its id."""
        newest = self.newest_batch(*names)
        commits = self.checkpoint(*names) / "commits"
        (commits / str(newest)).unlink()
        (commits / f".{newest}.crc").unlink(missing_ok=True)
        return newest

    def lose_checkpoint(self, *names: str) -> None:
        """Delete the checkpoint of a query."""
        shutil.rmtree(self.checkpoint(*names))

    @staticmethod
    def _newest(folder: Path) -> int:
        numbers = [int(f.name) for f in folder.glob("[0-9]*") if f.name.isdigit()]
        return max(numbers, default=-1)

    def _caught_up(self, name: str, topics: Sequence[str]) -> bool:
        """True when the newest batch is committed and ends where the topics end."""
        checkpoint = self.checkpoint(*name.split("+"))
        planned = self._newest(checkpoint / "offsets")
        if planned < 0 or planned != self._newest(checkpoint / "commits"):
            return False
        text = (checkpoint / "offsets" / str(planned)).read_text(encoding="utf-8")
        at = json.loads(text.splitlines()[-1])
        bounds = MemoryLog(self.broker.path, Subscription(tuple(topics))).bounds()
        return all(
            at.get(t, {}).get(str(p), 0) % GENERATION == high
            for (t, p), (_, high) in bounds.items()
        )

    def finished(self, *names: str) -> bool:
        """Whether these streams, run together in some process, have written all that was sent."""
        queries = self._queries(find_streams(names))
        return all(self._caught_up(name, topics) for name, topics in queries.items())

    def query(self, statement: str, *parameters: Any) -> Rows:
        """Rows of the serving database, through a client of its own."""
        with psycopg.connect(self.settings.postgres.dsn, row_factory=dict_row) as connection:
            connection.execute("SET timezone = 'UTC'")
            return connection.execute(statement.encode(), parameters or None).fetchall()

    def lake(self, table: str) -> Rows:
        """Rows of a lake table, read without Spark, in a fixed order."""
        with open_lake(self.settings) as lake:
            rows: Rows = lake.read(table).to_pylist()
        return sorted(rows, key=repr)

    def files(self, table: str, *columns: str) -> list[pa.Table]:
        """Every data file in the folder of a table, whether or not a snapshot names it."""
        disk, place = self._place(table)
        found = disk.get_file_info(fs.FileSelector(place, recursive=True))
        paths = [f.path for f in found if f.path.endswith(".parquet") and "_log/" not in f.path]
        return [
            pq.read_table(path, columns=list(columns), partitioning=None, filesystem=disk)
            for path in paths
        ]

    def _place(self, table: str) -> tuple[fs.FileSystem, str]:
        """File system and folder of a table."""
        if self.settings.catalog.format == "delta":
            return file_system(self.settings, table), ""
        with open_catalog(self.settings) as catalog:
            iceberg = catalog.load_table(table)
        place = urlsplit(iceberg.location())
        disk = cast("PyArrowFileIO", iceberg.io).fs_by_scheme(place.scheme, place.netloc or None)
        return disk, place.netloc + place.path

    def ledger(self, stream: str) -> Rows:
        """The committed batches of a stream."""
        return self.query(
            "SELECT batch_id, rows_in, rows_new, runs FROM stream_batches WHERE query_id = %s "
            "ORDER BY batch_id",
            stream,
        )

    def look(self) -> dict[str, Rows]:
        """All rows of all tables, which must not change when something runs again."""
        seen = {
            name: sorted(self.query(f"SELECT * FROM {name}"), key=repr)  # noqa: S608
            for name in (*STATE_TABLES, "stream_offsets")
        }
        return seen | {table.name: self.lake(table.name) for table in TABLES}


def empty_tables(settings: Settings) -> None:
    """Delete all rows and positions in the serving database."""
    with psycopg.connect(settings.owner_dsn) as connection:
        tables = ", ".join((*STATE_TABLES, *LEDGER_TABLES))
        connection.execute(f"TRUNCATE {tables}".encode())

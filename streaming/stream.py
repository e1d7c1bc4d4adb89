"""Streams as data: a source, steps in Spark's tasks, state, and a sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any

import psycopg
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from conf.kafka import connection_config
from conf.settings import Settings
from conf.stores import Stores
from streaming.lake.protocol import Lake
from streaming.lake.tables import Table
from streaming.runtime.metrics import StreamMetrics
from streaming.runtime.session import log_source
from streaming.sinks.postgres import Database
from streaming.sources.generations import as_option, meet_topics
from streaming.sources.log import Log
from streaming.sources.options import QUERY_GROUP


@dataclass(frozen=True)
class Context:
    """Resources from which a job builds its DataFrame."""

    spark: SparkSession
    settings: Settings
    stores: Stores

    def read_topics(self, query_id: str, *topics: str, **options: str) -> DataFrame:
        """A streaming DataFrame of packed source rows, from the broker that the settings name.

        Args:
            query_id: names the consumer group.
            topics: to read.
            options: more options of the source.
        """
        return self._read(self.settings.streams.source, query_id, topics, 1, **options)

    def read_detections(self, query_id: str) -> DataFrame:
        """The same of the detections, from every broker that cameras publish to."""
        streams = self.settings.streams
        if streams.source == "memory":  # it stands for every broker
            return self.read_topics(query_id, self.settings.kafka.detections)
        topics = {
            "kafka": self.settings.kafka.detections,
            "pulsar": self.settings.pulsar.detections,
        }
        brokers = streams.detections_from
        frames = [self._read(b, query_id, (topics[b],), len(brokers)) for b in brokers]
        return reduce(DataFrame.unionAll, frames)

    def open_log(self, broker: str, topics: Sequence[str]) -> Log:
        """A client for topics of a broker, apart from the streams'."""
        options = {"subscribe": ",".join(topics), "groupId": "storelake-lag"}
        return log_source(broker)(self._known_topics(broker, options)).open_log()

    def _known_topics(self, broker: str, options: dict[str, str]) -> dict[str, str]:
        """Options with the broker's address and the generations of the topics."""
        here = {**options, **self._address(broker)}
        asked = log_source(broker)(here).open_log()
        try:
            known = meet_topics(self.settings.postgres.dsn, asked.topic_ids())
        finally:
            asked.close()
        return {**here, "topicGenerations": as_option(known)}

    def _read(
        self, broker: str, query_id: str, topics: Sequence[str], sharers: int = 1, **more: str
    ) -> DataFrame:
        streams = self.settings.streams
        options = {
            "subscribe": ",".join(topics),
            "maxRowsPerBatch": str(max(1, streams.max_rows_per_batch // sharers)),
            "maxBytesPerBatch": str(max(1, streams.max_bytes_per_batch // sharers)),
            "prefetchRows": str(streams.prefetch_rows),
            "readTasks": str(streams.read_tasks),
            "onDataLoss": streams.on_data_loss,
            "groupId": f"{QUERY_GROUP}{query_id}",
            "packed": "true",
            **more,
        }
        source = self.spark.readStream.format(f"storelake_{broker}")
        return source.options(**self._known_topics(broker, options)).load()

    def _address(self, broker: str) -> dict[str, str]:
        """Options with the address of a broker and its credentials."""
        kafka, pulsar = self.settings.kafka, self.settings.pulsar
        if broker == "memory":
            return {"path": str(self.settings.var_dir / "memory")}
        if broker == "kafka":
            return {f"kafka.{k}": v for k, v in connection_config(kafka, "streams").items()}
        given = {
            "pulsar.service.url": pulsar.url,
            "pulsar.admin.url": pulsar.admin,
            "pulsar.token": pulsar.token_of("streams"),
            "pulsar.tls.ca.file": pulsar.tls_ca_file and str(pulsar.tls_ca_file),
        }
        return {key: value for key, value in given.items() if value}


@dataclass(frozen=True)
class SinkContext:
    """Resources passed to a stream's sink and interval tasks.

    Attributes:
        stream: its name.
        lake: Iceberg or Delta.
        db: Postgres.
        settings: of the application.
        stores: branches, cameras, lines and zones.
        memory: a cache kept from call to call; empty after a restart.
        metrics: of all streams of the application.
    """

    stream: str
    lake: Lake
    db: Database
    settings: Settings
    stores: Stores
    memory: dict[str, Any]
    metrics: StreamMetrics


@dataclass
class Written:
    """Number of rows that the sink of a stream passed to Postgres, and how many were new there."""

    rows: int = 0
    new: int = 0


@dataclass(frozen=True)
class Batch(SinkContext):
    """Rows of one micro-batch, with the resources of one stream's sink.

    Attributes:
        rows: all of a micro-batch in the driver, where they are few; else a part of the rows of
            one task, which holds whole topic partitions.
        id: of the micro-batch.
        watermark: of the stream before the micro-batch (UTC); None before the first one, or where
            the stream has none.
        written: counts of this batch; the same object in parts of it.
    """

    rows: pa.Table
    id: int
    watermark: datetime | None = None
    written: Written = field(default_factory=Written)

    def commit(
        self, rows: pa.Table, write: Callable[[psycopg.Connection[Any], pa.Table], None]
    ) -> int:
        """`Database.commit_rows` of this batch, counted."""
        new = self.db.commit_rows(self.stream, rows, write)
        self.metrics.skipped(self.stream, "postgres", rows.num_rows - new)
        self.written.rows += rows.num_rows
        self.written.new += new
        return new

    def append(self, table: Table, rows: pa.Table) -> int:
        """`Lake.append` of this batch, counted; returns the number of rows written.

        In a task it keeps all rows for the driver's commit, which counts those that are new.
        """
        new = self.lake.append(table, rows, self.id)
        self.metrics.skipped(self.stream, table.name, rows.num_rows - new)
        return new


@dataclass(frozen=True)
class Source:
    """Topics that streams read.

    Attributes:
        read: (context, consumer group) -> streaming DataFrame of source rows (`PACKED_DDL`).
        brokers: settings -> names of the brokers that it reads.
    """

    read: Callable[[Context, str], DataFrame]
    brokers: Callable[[Settings], tuple[str, ...]]


ORDERS = Source(
    lambda context, group: context.read_topics(group, *context.settings.kafka.order_topics),
    lambda _: ("kafka",),
)
"""One row per message of the order topics."""

ORDERS_AND_HEARTBEATS = Source(
    lambda context, group: context.read_topics(
        group,
        *context.settings.kafka.order_topics,
        heartbeatSeconds=str(context.settings.streams.heartbeat_seconds),
    ),
    lambda _: ("kafka",),
)
"""The same, and a row of topic `HEARTBEAT` while no message comes."""

DETECTIONS = Source(
    lambda context, group: context.read_detections(group),
    lambda settings: settings.streams.detections_from,
)
"""One row per message of the detections topics: a frame."""

Rows = Callable[[pa.Table], pa.Table]
"""Changes rows in a task of Spark; correct for any part of them."""


@dataclass(frozen=True)
class PlanStep:
    """A step of the plan that Spark's tasks run on the rows they hold, batch by batch in Arrow.

    Attributes:
        make: (settings, stores) -> function.
        schema: of its output.
    """

    make: Callable[[Settings, Stores], Rows]
    schema: pa.Schema


@dataclass(frozen=True)
class State:
    """A stateful step of the plan, after the steps.

    Attributes:
        make: (context, the steps as one function) -> transform of packed source rows, which runs
            the steps in its tasks; output mode `update`.
        version: of the state's format; a new one starts a new checkpoint.
        event_time_column: of its output: when a row was produced, in microseconds since 1970.
    """

    make: Callable[[Context, Rows], Callable[[DataFrame], DataFrame]]
    version: int
    event_time_column: str


@dataclass(frozen=True)
class Stream:
    """One stream: source, steps, state, sink.

    Streams of the same source, steps, state and pace that run together share one query: their rows
    are read, parsed and validated once.

    Attributes:
        name: names its progress, its ledger rows and its lease.
        source: of its rows; None for a stream that reads tables and only has interval tasks.
        steps: of the plan, in Spark's tasks.
        state: a stateful step after them.
        pace: least time between two micro-batches, in `streams.trigger_seconds`: each takes CPU
            from the others, and not every source is urgent.
        write: the sink of rows. Few rows are written by the driver; many by the tasks that hold
            them, unless the stream has state. It skips rows that it has already written.
        watermark: (rows, now) -> the newest event time that counts (UTC), None without any; for
            streams with late rows. The runner subtracts `streams.watermark`.
        on_interval: work that each micro-batch does not need; called every
            `streams.interval_seconds` and once more at a clean stop. It finds the work by itself.
        copy: the same every `streams.replicate_seconds`, for urgent tables of the lake.
        keeps_rejected: whether its sink writes rejected messages to a quarantine; rows that the
            sink cannot store because of their data are then written there, too.
    """

    name: str
    source: Source | None = None
    steps: tuple[PlanStep, ...] = ()
    state: State | None = None
    pace: int = 1
    write: Callable[[Batch], None] | None = None
    watermark: Callable[[pa.Table, datetime], datetime | None] | None = None
    on_interval: Callable[[SinkContext], None] | None = None
    copy: Callable[[SinkContext], None] | None = None
    keeps_rejected: bool = False

    @property
    def plan(self) -> tuple[Source | None, tuple[PlanStep, ...], State | None, int]:
        """What a query runs for it; streams of one plan share the query."""
        return self.source, self.steps, self.state, self.pace

"""Streams as data: a source of rows, and a sink that writes a micro-batch of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any

import psycopg
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from conf.settings import Settings
from conf.stores import Stores
from streaming.lake.protocol import Lake
from streaming.lake.tables import Table
from streaming.metrics import StreamMetrics
from streaming.session import log_source
from streaming.sinks.postgres import Database
from streaming.sources.generations import as_option, meet_topics
from streaming.sources.log import Log


@dataclass(frozen=True)
class Context:
    """Resources from which a job builds its DataFrame."""

    spark: SparkSession
    settings: Settings
    stores: Stores

    def read_topics(self, query_id: str, *topics: str, **options: str) -> DataFrame:
        """A streaming DataFrame of source rows, from the broker that the settings name.

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
            "groupId": f"storelake-{query_id}",
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
            client = {f"kafka.{k}": v for k, v in kafka.client_options.items()}
            return {**client, "kafka.bootstrap.servers": kafka.bootstrap}
        given = {
            "pulsar.service.url": pulsar.url,
            "pulsar.admin.url": pulsar.admin,
            "pulsar.token": pulsar.token and pulsar.token.get_secret_value(),
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
        context: settings and stores.
        memory: a cache kept from call to call; empty after a restart.
        metrics: of all streams of the application.
    """

    stream: str
    lake: Lake
    db: Database
    context: Context
    memory: dict[str, Any]
    metrics: StreamMetrics


@dataclass(frozen=True)
class Batch(SinkContext):
    """One micro-batch, with the resources of one stream's sink.

    Attributes:
        rows: of the source, collected once; `streams.max_rows_per_batch` bounds them.
        id: of the micro-batch.
    """

    rows: pa.Table
    id: int

    def commit(
        self,
        rows: pa.Table,
        write: Callable[[psycopg.Connection[Any], pa.Table], None],
        *,
        watermark: datetime | None = None,
    ) -> int:
        """`Database.commit_batch` of this batch, counted."""
        new = self.db.commit_batch(self.stream, self.id, rows, write, watermark=watermark)
        self.metrics.skipped(self.stream, "postgres", rows.num_rows - new)
        self.metrics.watermark(self.stream, watermark)
        return new

    def append(self, table: Table, rows: pa.Table) -> int:
        """`Lake.append` of this batch, counted."""
        new = self.lake.append(table, rows, self.id)
        self.metrics.skipped(self.stream, table.name, rows.num_rows - new)
        return new


Parse = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class SharedSource:
    """Rows that one query reads and parses, for one or more streams.

    Attributes:
        name: of the source.
        build: (context, consumer group) -> streaming DataFrame.
        parse: context -> function that parses the rows of a micro-batch, once for all its streams;
            it runs on the driver, where they are collected anyway (docs/adr/0023).
        output_mode: of the query; `update` for stateful ones.
        event_time_column: when a row was produced: a timestamp, or microseconds since 1970.
        trigger_multiple: least time between two micro-batches, in `streams.trigger_seconds`: each
            takes CPU from the others, and not every source is urgent.
        state_version: of a stateful query; a new state format starts a new checkpoint.
        brokers: settings -> names of the brokers that it reads.
    """

    name: str
    build: Callable[[Context, str], DataFrame]
    parse: Callable[[Context], Parse] | None = None
    output_mode: str = "append"
    event_time_column: str = "timestamp"
    trigger_multiple: int = 1
    state_version: int = 1
    brokers: Callable[[Settings], tuple[str, ...]] = lambda _: ("kafka",)


@dataclass(frozen=True)
class Stream:
    """One stream.

    Attributes:
        name: names its progress, its ledger rows and its lease.
        source: of its rows; None for a stream that reads tables and only has interval tasks.
        sink: writes one micro-batch; it skips rows that it has already written.
        on_interval: work that each micro-batch does not need; called every
            `streams.interval_seconds` and once more at a clean stop. It finds the work by itself.
        copy: the same every `streams.replicate_seconds`, for urgent tables of the lake.
        keeps_rejected: whether its sink writes rejected messages to a quarantine; rows that the
            sink cannot store because of their data are then written there, too.
    """

    name: str
    source: SharedSource | None = None
    sink: Callable[[Batch], None] | None = None
    on_interval: Callable[[SinkContext], None] | None = None
    copy: Callable[[SinkContext], None] | None = None
    keeps_rejected: bool = False

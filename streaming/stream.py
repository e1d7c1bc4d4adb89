"""What a stream is, as data: where its rows come from, and what writes a micro-batch of them."""

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
    """What a job may use to build its DataFrame."""

    spark: SparkSession
    settings: Settings
    stores: Stores

    def read_topics(self, query_id: str, *topics: str) -> DataFrame:
        """A streaming DataFrame of source rows, from the broker that the settings name."""
        return self._read(self.settings.streams.source, query_id, topics)

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
        """Topics of a broker, to be asked beside the streams."""
        options = {"subscribe": ",".join(topics), "groupId": "storelake-lag"}
        return log_source(broker)(self._known_topics(broker, options)).open_log()

    def _known_topics(self, broker: str, options: dict[str, str]) -> dict[str, str]:
        """Options that say where the broker is, and which of the topics of a name is read."""
        here = {**options, **self._address(broker)}
        asked = log_source(broker)(here).open_log()
        try:
            known = meet_topics(self.settings.postgres.dsn, asked.topic_ids())
        finally:
            asked.close()
        return {**here, "topicGenerations": as_option(known)}

    def _read(
        self, broker: str, query_id: str, topics: Sequence[str], sharers: int = 1
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
        }
        source = self.spark.readStream.format(f"storelake_{broker}")
        return source.options(**self._known_topics(broker, options)).load()

    def _address(self, broker: str) -> dict[str, str]:
        """The options that say where a broker is."""
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
    """What a stream works with.

    Attributes:
        stream: its name.
        lake: Iceberg or Delta.
        db: Postgres.
        context: settings and stores.
        memory: what it keeps from call to call; empty after a restart: a cache, never truth.
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
    """One micro-batch in the hands of one stream's sink.

    Attributes:
        rows: of the feed, collected once; `streams.max_rows_per_batch` bounds them.
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


Prepare = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True)
class Feed:
    """What one query reads and computes, for one or more streams.

    Attributes:
        name: of the feed.
        build: (context, consumer group) -> streaming DataFrame.
        prepare: context -> what is done to the rows of a micro-batch, once for all its streams; it
            runs on the driver, where they are collected anyway (docs/adr/0023).
        output_mode: of the query; `update` for stateful ones.
        made_at: the column that states when a row was made: a time, or microseconds since 1970.
        pace: how many of `streams.trigger_seconds` lie between two micro-batches at least. Nobody
            waits for every feed alike, and each micro-batch takes CPU from the others.
        edition: of the state of a stateful query; a new layout of it begins a new checkpoint.
    """

    name: str
    build: Callable[[Context, str], DataFrame]
    prepare: Callable[[Context], Prepare] | None = None
    output_mode: str = "append"
    made_at: str = "timestamp"
    pace: int = 1
    edition: int = 1
    brokers: Callable[[Settings], tuple[str, ...]] = lambda _: ("kafka",)


@dataclass(frozen=True)
class Stream:
    """One stream.

    Attributes:
        name: names its progress, its ledger rows and its lease.
        feed: where its rows come from; None for a stream that reads tables and only settles.
        sink: writes one micro-batch; rows that it has already written must change nothing.
        on_interval: what need not happen with each micro-batch; called every
            `streams.interval_seconds` and once more at a clean stop, and finds by itself what is to
            do.
        copy: the same every `streams.replicate_seconds`, for what somebody waits for in the lake.
        keeps_rejected: whether its sink writes rejected messages to a quarantine: what the sink
            cannot hold for its data goes there, too; else to `refused_rows`.
    """

    name: str
    feed: Feed | None = None
    sink: Callable[[Batch], None] | None = None
    on_interval: Callable[[SinkContext], None] | None = None
    copy: Callable[[SinkContext], None] | None = None
    keeps_rejected: bool = False

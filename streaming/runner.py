"""The only place that starts a query: triggers, checkpoints, retries, a clean stop.

A stream is data (`Stream`): a name, how to build its DataFrame, and what to do with a micro-batch.
Data errors never come here, since transforms send them to quarantine. What fails here is
infrastructure: the query is started again from its checkpoint with exponential back-off; after
`streams.retries` failures without a finished batch between them everything stops with
`StreamFailedError` and a non-zero exit.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from socket import gethostname
from typing import Any, Literal

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from conf.errors import StorelakeError
from conf.exporter import served
from conf.logs import configure_logging
from conf.settings import Settings, load_settings
from conf.stores import Stores, load_stores
from streaming.connectors.formats import create_tables, open_lake
from streaming.connectors.generations import as_option, meet_topics
from streaming.connectors.lake import Lake
from streaming.connectors.log_source import Log, Offsets
from streaming.connectors.postgres import Database
from streaming.lag import LagWatch
from streaming.listener import ProgressListener
from streaming.memory import FreedMemory
from streaming.metrics import Meters, Metrics, Progress
from streaming.session import build_session, log_source
from streaming.tables import Table
from streaming.views import create_views

log = logging.getLogger("storelake.streams")

WATCH_SECONDS = 0.5


class StreamFailedError(StorelakeError):
    """A stream could not go on; the message names it and the last error."""


class _StoppingError(Exception):
    """Raised inside a sink that begins while the program stops; Spark replays the batch later."""


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
class Hands:
    """What a stream works with.

    Attributes:
        stream: its name.
        lake: Iceberg or Delta.
        db: Postgres.
        context: settings and stores.
        memory: what it keeps from call to call; empty after a restart: a cache, never truth.
        meters: what it tells Prometheus.
    """

    stream: str
    lake: Lake
    db: Database
    context: Context
    memory: dict[str, Any]
    meters: Meters


@dataclass(frozen=True)
class Batch(Hands):
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
        self.meters.skipped("postgres", rows.num_rows - new)
        self.meters.watermark(watermark)
        return new

    def append(self, table: Table, rows: pa.Table) -> int:
        """`Lake.append` of this batch, counted."""
        new = self.lake.append(table, rows, self.id)
        self.meters.skipped(table.name, rows.num_rows - new)
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
        made_at: the column that says when a row was made: a time, or microseconds since 1970.
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
        name: names its progress and its ledger rows.
        feed: where its rows come from; None for a stream that reads tables and only settles.
        sink: writes one micro-batch; rows that it has already written must change nothing.
        settle: what need not happen with each micro-batch; called every `streams.settle_seconds`
            and once more at a clean stop, and finds by itself what is to do.
        copy: the same every `streams.copy_seconds`, for what somebody waits for in the lake.
    """

    name: str
    feed: Feed | None = None
    sink: Callable[[Batch], None] | None = None
    settle: Callable[[Hands], None] | None = None
    copy: Callable[[Hands], None] | None = None


class _Clock(threading.Thread):
    """Calls a function every so often, and ends with its first error; asked like a query."""

    def __init__(self, call: Callable[[], None], seconds: float) -> None:
        super().__init__(name="clock", daemon=True)
        self._call, self._seconds = call, seconds
        self._over = threading.Event()
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self._over.wait(self._seconds):
                self._call()
        except Exception as error:  # the runner asks for it, and decides
            self._error = error

    @property
    def isActive(self) -> bool:  # noqa: N802  (Spark's name)
        return self.is_alive()

    @property
    def status(self) -> dict[str, str]:
        return {"message": "Running"}

    def exception(self) -> Exception | None:
        return self._error

    def stop(self) -> None:
        self._over.set()
        self.join()


@dataclass
class _Running:
    """A query or a clock, the streams that it serves, and its failures in a row.

    Attributes:
        feed: what the query reads; None for a clock.
        chore: what the clock calls of each of its streams.
        failed_batches: since the application began; `failures` begins anew with a finished batch.
    """

    feed: Feed | None
    streams: list[Stream]
    chore: Literal["settle", "copy"] | None = None
    query: StreamingQuery | _Clock | None = None
    ready: bool = False
    failures: int = 0
    retry_at: float = 0.0
    failed_batches: int = 0
    finished_batches: int = 0
    finished_rows: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)

    def finished(self, rows: int) -> None:
        """Note a finished batch, or a finished round of the clock."""
        self.failures = 0
        self.finished_batches += 1
        self.finished_rows += rows

    @property
    def name(self) -> str:
        """The streams' names; of the checkpoint, too.

        So streams that did not run together before start a checkpoint of their own, and their
        sinks skip what they have.
        """
        return "+".join(sorted(s.name for s in self.streams))


def _by_feed(streams: Sequence[Stream]) -> list[_Running]:
    feeds = list(dict.fromkeys(s.feed for s in streams if s.feed))
    queries = [_Running(f, [s for s in streams if s.feed == f]) for f in feeds]
    clocks = [
        _Running(None, [s for s in streams if s.copy], "copy"),
        _Running(None, [s for s in streams if s.settle], "settle"),
    ]
    return queries + [clock for clock in clocks if clock.streams]


class Runner:
    """Runs streams side by side in one Spark application until it is told to stop."""

    def __init__(self, settings: Settings, streams: Sequence[Stream]) -> None:
        self._settings = settings
        self._stop = threading.Event()
        # First: a warehouse or a catalog that does not answer says so before Spark has started.
        self._lake = open_lake(settings)
        self._spark = build_session(settings, "storelake:" + ",".join(s.name for s in streams))
        self._context = Context(self._spark, settings, load_stores(settings.stores_file))
        self._db = Database(
            settings.postgres.dsn, max(settings.postgres.pool_size, len(streams) + 2)
        )
        self._running = _by_feed(streams)
        self._memory = FreedMemory()
        self.metrics = Metrics(
            [s.name for s in streams], [s.name for s in streams if s.settle is not None]
        )
        self._lag = LagWatch(self.metrics, self._queries(), self._context.open_log)

    def _queries(self) -> dict[str, tuple[list[str], tuple[str, ...]]]:
        """The streams that each query serves, and the brokers that it reads."""
        streams = self._settings.streams
        return {
            entry.name: (
                [s.name for s in entry.streams],
                (streams.source,)
                if streams.source == "memory"
                else entry.feed.brokers(self._settings),
            )
            for entry in self._running
            if entry.feed
        }

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Start every stream and block until SIGTERM, SIGINT, `stop()`, or `until()` is true.

        Raises:
            StreamFailedError: one stream failed too often; all are stopped.
        """
        try:
            create_tables(self._spark, self._settings)
            create_views(self._spark, self._settings)
            self._spark.streams.addListener(ProgressListener(self._progressed))
            if self._settings.streams.metrics_port:
                self._lag.start()
            while not self._stop.wait(WATCH_SECONDS):
                for entry in self._running:
                    self._watch(entry)
                self._report()
                self._memory.give_back()
                if until and until():
                    break
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Ask for a clean stop: every stream ends after the batch it is in."""
        self._stop.set()

    def _start(self, entry: _Running) -> None:
        limits = self._settings.streams
        if entry.feed is None:
            pauses = {"copy": limits.copy_seconds, "settle": limits.settle_seconds}
            entry.query = _Clock(self._round(entry), pauses[entry.chore or "settle"])
            return
        pause = int(limits.trigger_seconds * entry.feed.pace * 1000)
        brokers = entry.feed.brokers(self._settings)
        place = entry.name if brokers == ("kafka",) else f"{entry.name}@{'+'.join(brokers)}"
        place += f".{entry.feed.edition}" if entry.feed.edition > 1 else ""
        entry.query = (
            entry.feed.build(self._context, entry.name)
            .writeStream.queryName(entry.name)
            .outputMode(entry.feed.output_mode)
            .option("checkpointLocation", self._settings.checkpoint(place))
            .trigger(processingTime=f"{pause} milliseconds")
            .foreachBatch(self._sink(entry))
            .start()
        )

    def _hands(self, stream: Stream) -> Hands:
        meters = self.metrics.of(stream.name)
        return Hands(stream.name, self._lake.another(), self._db, self._context, {}, meters)

    def _sink(self, entry: _Running) -> Callable[[DataFrame, int], None]:
        """Collect the batch once, then hand it to each stream."""
        sinks = [(s.sink, self._hands(s)) for s in entry.streams if s.sink]
        prepare = entry.feed and entry.feed.prepare and entry.feed.prepare(self._context)
        made_at = entry.feed.made_at if entry.feed else ""

        def sink(df: DataFrame, batch_id: int) -> None:
            with entry.busy:
                if self._stop.is_set():
                    raise _StoppingError(entry.name)
                rows = df.toArrow()
                rows = prepare(rows) if prepare else rows
                oldest = _oldest(rows, made_at)
                # Sinks wait for disks and the database most of the time, so they wait together.
                with ThreadPoolExecutor(len(sinks)) as pool:
                    written = [
                        pool.submit(
                            _write, write, Batch(**vars(hands), rows=rows, id=batch_id), oldest
                        )
                        for write, hands in sinks
                    ]
                for one in written:
                    one.result()
                entry.finished(rows.num_rows)

        return sink

    def _round(self, entry: _Running) -> Callable[[], None]:
        """One round of a clock: the chore of each of its streams, in turn."""
        settles = entry.chore == "settle"
        chores = [(s.settle if settles else s.copy, self._hands(s)) for s in entry.streams]

        def once() -> None:
            for do, hands in chores:
                if do:
                    do(hands)
                if settles:
                    self.metrics.settled(hands.stream)
            entry.finished(0)

        return once

    def _watch(self, entry: _Running) -> None:
        if entry.query is not None and entry.query.isActive:
            entry.ready = entry.ready or not _initializing(entry.query)
            return
        if entry.query is not None:
            cause = _telling(str(entry.query.exception() or "it ended without an error"))
            entry.query, entry.ready = None, False
            self._failed(entry, cause)
        elif time.monotonic() >= entry.retry_at and not self._starting():
            try:
                self._start(entry)
            except Exception as error:  # whatever keeps a query from starting is retried, then told
                self._failed(entry, _telling(str(error)))

    def _starting(self) -> bool:
        """Whether a query is still starting its planner: one at a time, they starve each other."""
        return any(e.query is not None and not e.ready for e in self._running)

    def _failed(self, entry: _Running, cause: str) -> None:
        limits, name = self._settings.streams, entry.name
        entry.failures += 1
        entry.failed_batches += 1
        self.metrics.failed([s.name for s in entry.streams])
        if entry.failures > limits.retries:
            raise StreamFailedError(
                f"stream {name} failed {entry.failures} times in a row: {cause}"
            )
        wait = min(limits.retry_base_seconds * 2 ** (entry.failures - 1), limits.retry_max_seconds)
        entry.retry_at = time.monotonic() + wait
        log.warning("%s failed, retry in %.1f s: %s", name, wait, cause, extra={"stream": name})

    def _progressed(self, query: str, progress: Progress, ends: Sequence[Offsets]) -> None:
        """A micro-batch is committed; called by Spark's listener."""
        for entry in self._running:
            if entry.feed and entry.name == query:  # a clock may serve the same streams
                self.metrics.progressed([s.name for s in entry.streams], progress)
                self._lag.moved(query, ends)

    def _report(self) -> None:
        """Write `var/run/streams.json`: what other processes may know about the streams."""
        folder = self._settings.var_dir / "run"
        folder.mkdir(parents=True, exist_ok=True)
        streams = {s.name: self._progress(s) for e in self._running for s in e.streams}
        for name, state in streams.items():
            self.metrics.is_up(name, state["ready"])
        who = {"host": gethostname(), "pid": os.getpid(), "at": time.time()}
        text = json.dumps({**who, "streams": streams})
        fresh = folder / f"streams.{os.getpid()}.tmp"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(folder / "streams.json")

    def _progress(self, stream: Stream) -> dict[str, Any]:
        entries = [e for e in self._running if stream in e.streams]
        return {
            "ready": all(e.ready for e in entries),
            "finished_batches": entries[0].finished_batches,
            "finished_rows": entries[0].finished_rows,
            "settled": entries[-1].finished_batches if stream.settle else None,
            "failed_batches": sum(e.failed_batches for e in entries),
            "failures": max(e.failures for e in entries),
        }

    def _shut_down(self) -> None:
        self._stop.set()
        for entry in self._running:
            # The lock is free between batches; a batch that starts now is refused by its sink.
            with entry.busy:
                query = entry.query
            if query is not None:
                query.stop()
        self._lag.stop()
        self._settle_for_good()
        self._db.close()
        self._lake.close()
        (self._settings.var_dir / "run" / "streams.json").unlink(missing_ok=True)
        self._spark.stop()

    def _settle_for_good(self) -> None:
        """What the last batches left to do; if it cannot be done now, the next start does it."""
        for entry in self._running:
            if entry.feed is None and entry.query is not None and not entry.failures:
                try:
                    self._round(entry)()
                except Exception as error:  # a clean stop stays one
                    log.warning("not settled before the stop: %s", _telling(str(error)))


def _write(write: Callable[[Batch], None], batch: Batch, oldest: datetime | None) -> None:
    """One sink of a micro-batch, timed."""
    started = time.monotonic()
    write(batch)
    latency = time.time() - oldest.timestamp() if oldest else None
    batch.meters.wrote(time.monotonic() - started, latency)


def _oldest(rows: pa.Table, made_at: str) -> datetime | None:
    """When the oldest row was made; None without rows, or where no row says it."""
    moment: datetime | None = pc.min(rows[made_at].cast(pa.timestamp("us", "UTC"))).as_py()
    return moment


def _initializing(query: StreamingQuery | _Clock) -> bool:
    return str(query.status["message"]).startswith("Initializing")


def _telling(error: str) -> str:
    """The most telling line of an error that crossed two languages."""
    lines = [line.strip() for line in error.splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return (telling or lines or ["no message"])[-1][:500]


def run_streams(settings: Settings, streams: Sequence[Stream]) -> None:
    """Run streams until a signal; what `storelake run` and `spark-submit` call."""
    runner = Runner(settings, streams)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    port = settings.streams.metrics_port
    registry, variable = runner.metrics.registry, "STORELAKE_STREAMS__METRICS_PORT"
    with served(registry, settings.metrics_host, port, variable):
        runner.run()


def submit(*streams: Stream) -> None:
    """The main of what `spark-submit` is given: streaming/jobs/NAME.py, streaming/main.py."""
    try:
        settings = load_settings()
        configure_logging("streams", settings.log_level)
        logging.getLogger("py4j").setLevel(logging.WARNING)
        run_streams(settings, streams)
    except StorelakeError as error:
        log.error("%s", error)
        raise SystemExit(1) from error

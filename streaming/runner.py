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
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.query import StreamingQuery

from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from conf.stores import Stores, load_stores
from streaming.connectors.iceberg import Lake, create_tables
from streaming.connectors.postgres import Database
from streaming.session import build_session

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
        streams, kafka = self.settings.streams, self.settings.kafka
        options = {
            "subscribe": ",".join(topics),
            "maxRowsPerBatch": str(streams.max_rows_per_batch),
            "prefetchRows": str(streams.prefetch_rows),
            "readTasks": str(streams.read_tasks),
            "onDataLoss": streams.on_data_loss,
            "groupId": f"storelake-{query_id}",
        }
        if streams.source == "memory":
            options["path"] = str(self.settings.var_dir / "memory")
        else:
            options |= {f"kafka.{k}": v for k, v in kafka.client_options.items()}
            options["kafka.bootstrap.servers"] = kafka.bootstrap
        source = self.spark.readStream.format(f"storelake_{streams.source}")
        return source.options(**options).load()


@dataclass
class Batch:
    """One micro-batch in the hands of one stream's sink."""

    rows: pa.Table
    """All rows of the feed, collected once; `streams.max_rows_per_batch` bounds them."""
    id: int
    stream: str
    lake: Lake
    db: Database
    context: Context
    memory: dict[str, Any]
    """What the stream keeps between batches; empty after a restart: a cache, never truth."""


@dataclass(frozen=True)
class Feed:
    """What one query reads and computes, for one or more streams.

    Attributes:
        name: of the feed.
        build: (context, consumer group) -> streaming DataFrame.
        output_mode: of the query; `update` for stateful ones.
    """

    name: str
    build: Callable[[Context, str], DataFrame]
    output_mode: str = "append"


@dataclass(frozen=True)
class Stream:
    """One stream.

    Attributes:
        name: names its progress and its ledger rows.
        feed: where its rows come from.
        sink: writes one micro-batch; rows that it has already written must change nothing.
    """

    name: str
    feed: Feed
    sink: Callable[[Batch], None]


@dataclass
class _Running:
    """A query, the streams that it serves, and its failures in a row.

    Attributes:
        name: the streams' names; names the checkpoint, so that a set of streams that was not run
            together before starts a checkpoint of its own, and its sinks skip what they have.
    """

    feed: Feed
    streams: list[Stream]
    query: StreamingQuery | None = None
    failures: int = 0
    retry_at: float = 0.0
    finished_batches: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)

    @property
    def name(self) -> str:
        return "+".join(sorted(s.name for s in self.streams))


def _by_feed(streams: Sequence[Stream]) -> list[_Running]:
    feeds = list(dict.fromkeys(s.feed for s in streams))
    return [_Running(f, [s for s in streams if s.feed == f]) for f in feeds]


class Runner:
    """Runs streams side by side in one Spark application until it is told to stop."""

    def __init__(self, settings: Settings, streams: Sequence[Stream]) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._spark = build_session(settings, "storelake:" + ",".join(s.name for s in streams))
        self._context = Context(self._spark, settings, load_stores(settings.stores_file))
        self._db = Database(settings.postgres.dsn, max(settings.postgres.pool_size, len(streams)))
        self._running = _by_feed(streams)

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Start every stream and block until SIGTERM, SIGINT, `stop()`, or `until()` is true.

        Raises:
            StreamFailedError: one stream failed too often; all are stopped.
        """
        try:
            create_tables(self._spark, self._settings)
            while not self._stop.wait(WATCH_SECONDS):
                for entry in self._running:
                    self._watch(entry)
                self._report()
                if until and until():
                    break
        finally:
            self._shut_down()

    def stop(self) -> None:
        """Ask for a clean stop: every stream ends after the batch it is in."""
        self._stop.set()

    def _start(self, entry: _Running) -> None:
        trigger = f"{int(self._settings.streams.trigger_seconds * 1000)} milliseconds"
        checkpoint = self._settings.checkpoints / entry.name
        entry.query = (
            entry.feed.build(self._context, entry.name)
            .writeStream.queryName(entry.name)
            .outputMode(entry.feed.output_mode)
            .option("checkpointLocation", f"file://{checkpoint}")
            .trigger(processingTime=trigger)
            .foreachBatch(self._sink(entry))
            .start()
        )

    def _sink(self, entry: _Running) -> Callable[[DataFrame, int], None]:
        """Collect the batch once, then hand it to each stream in turn."""
        kept = {s.name: (Lake(self._settings), dict[str, Any]()) for s in entry.streams}

        def sink(df: DataFrame, batch_id: int) -> None:
            with entry.busy:
                if self._stop.is_set():
                    raise _StoppingError(entry.name)
                rows = df.toArrow()

                def write(stream: Stream) -> None:
                    lake, memory = kept[stream.name]
                    batch = Batch(
                        rows, batch_id, stream.name, lake, self._db, self._context, memory
                    )
                    stream.sink(batch)

                # Sinks wait for disks and the database most of the time, so they wait together.
                with ThreadPoolExecutor(len(entry.streams)) as pool:
                    list(pool.map(write, entry.streams))
                entry.failures = 0
                entry.finished_batches += 1

        return sink

    def _watch(self, entry: _Running) -> None:
        if entry.query is not None and entry.query.isActive:
            return
        if entry.query is not None:
            cause = _telling(str(entry.query.exception() or "it ended without an error"))
            entry.query = None
            self._failed(entry, cause)
        elif time.monotonic() >= entry.retry_at and not self._initializing():
            try:
                self._start(entry)
            except Exception as error:  # whatever keeps a query from starting is retried, then told
                self._failed(entry, _telling(str(error)))

    def _initializing(self) -> bool:
        """Whether a query is still starting its planner: one at a time, they starve each other."""
        queries = [e.query for e in self._running]
        return any(q is not None and q.isActive and _initializing(q) for q in queries)

    def _failed(self, entry: _Running, cause: str) -> None:
        limits, name = self._settings.streams, entry.name
        entry.failures += 1
        if entry.failures > limits.retries:
            raise StreamFailedError(
                f"stream {name} failed {entry.failures} times in a row: {cause}"
            )
        wait = min(limits.retry_base_seconds * 2 ** (entry.failures - 1), limits.retry_max_seconds)
        entry.retry_at = time.monotonic() + wait
        log.warning("%s failed, retry in %.1f s: %s", name, wait, cause)

    def _report(self) -> None:
        """Write `var/run/streams.json`: what other processes may know about the streams."""
        folder = self._settings.var_dir / "run"
        folder.mkdir(parents=True, exist_ok=True)
        streams = {s.name: _progress(e) for e in self._running for s in e.streams}
        text = json.dumps({"pid": os.getpid(), "at": time.time(), "streams": streams})
        fresh = folder / f"streams.{os.getpid()}.tmp"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(folder / "streams.json")

    def _shut_down(self) -> None:
        self._stop.set()
        for entry in self._running:
            # The lock is free between batches; a batch that starts now is refused by its sink.
            with entry.busy:
                query = entry.query
            if query is not None:
                query.stop()
        self._db.close()
        (self._settings.var_dir / "run" / "streams.json").unlink(missing_ok=True)
        self._spark.stop()


def _initializing(query: StreamingQuery) -> bool:
    return str(query.status["message"]).startswith("Initializing")


def _progress(entry: _Running) -> dict[str, Any]:
    last = entry.query.lastProgress if entry.query is not None else None
    return {
        "ready": entry.query is not None
        and entry.query.isActive
        and not _initializing(entry.query),
        "finished_batches": entry.finished_batches,
        "failures": entry.failures,
        "batch_id": last["batchId"] if last else None,
        "rows": last["numInputRows"] if last else None,
        "duration_ms": dict(last["durationMs"]) if last else None,
    }


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
    runner.run()


def submit(stream: Stream) -> None:
    """The main of a job file: `spark-submit streaming/jobs/NAME.py`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        run_streams(load_settings(), [stream])
    except StorelakeError as error:
        log.error("%s", error)
        raise SystemExit(1) from error

"""Runs streams in one Spark application: leases, queries, interval tasks, a clean stop.

A stream is data (`streaming.stream.Stream`). Data errors never come here: transforms and
`rejections` send them to quarantine. What fails here is infrastructure: a query or a task is tried
again with exponential back-off, and is `failed` after `streams.retries` failures in a row.
A failed stream stops only itself, and the program ends with exit code 1; it ends at once when all
have failed, or were taken over by another application.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

import psutil

from conf.settings import Settings
from conf.stores import Stores
from conf.stores.watch import StoreFile
from streaming.lake.formats import create_tables, open_lake
from streaming.lake.iceberg.views import create_views
from streaming.lineage.watch import LineageWatch
from streaming.runtime.failures import StreamFailedError
from streaming.runtime.health import Health
from streaming.runtime.lag import LagWatch
from streaming.runtime.lease import Leases
from streaming.runtime.listener import ProgressListener
from streaming.runtime.memory import FreedMemory
from streaming.runtime.metrics import Progress, StreamMetrics
from streaming.runtime.part import Part
from streaming.runtime.periodic import PeriodicTask, stream_tasks
from streaming.runtime.query import Application, shared_queries
from streaming.runtime.report import StreamsReport
from streaming.runtime.session import begin_workers, build_session
from streaming.sinks.postgres import STREAM_BOUNDS, Database
from streaming.sources.log import Offsets
from streaming.stream import Context, SinkContext, Stream

log = logging.getLogger("storelake.streams")

WATCH_SECONDS = 0.5
STARTING = 2
"""Queries that start side by side: the first ones commit sooner than if all shared the cores."""
STOP_SECONDS = 15.0
"""For a clean stop; after that the process is killed, and the next start replays the rest."""

HOUR_SECONDS = 3600.0


class Runner:
    """Runs streams side by side in one Spark application until it is stopped.

    Raises:
        LeaseHeldError: another application writes one of the streams.
    """

    def __init__(self, settings: Settings, streams: Sequence[Stream]) -> None:
        self._settings, self._streams = settings, streams
        self._stop = threading.Event()
        names = [s.name for s in streams]
        application = "storelake:" + ",".join(names)
        with ExitStack() as stack:
            # First, so that a warehouse, a catalog or a database that does not answer is an error
            # before Spark starts, and so is a stream that another application holds.
            self._lake = open_lake(settings)
            stack.callback(self._lake.close)
            limits = settings.streams
            self._leases = Leases(
                settings.postgres.dsn,
                names,
                application,
                limits.lease_duration,
                limits.take_over,
            )
            self._leases.acquire()
            stack.callback(self._leases.release)
            self._db = Database(
                settings.postgres.dsn,
                max(settings.postgres.pool_size, 2 * len(streams) + 2),
                self._leases,
                STREAM_BOUNDS,
            )
            stack.callback(self._db.close)
            log.info("starting Spark for %d streams", len(streams))
            spark = build_session(settings, application)
            stack.callback(spark.stop)
            self._spark, self._closing = spark, stack.pop_all()
        self._store_file = StoreFile(settings.stores_file)
        self._context = Context(spark, settings, self._store_file.stores)
        self.metrics = StreamMetrics(names, [s.name for s in streams if s.on_interval is not None])
        self._app = Application(
            self._context,
            self._sink_context,
            self._leases.epoch,
            self._db,
            self.metrics,
            self._stop,
        )
        self._queries = shared_queries(self._app, streams)
        self._ready = 0
        self._memory = FreedMemory()
        self._tasks = stream_tasks(streams, self._sink_context, self._stores, settings.streams)
        keep = settings.streams.ledger_keep
        self._ledger = PeriodicTask(
            "stream_batches",
            "expire",
            lambda: log.debug("%d batches expired", self._db.expire_batches(keep)),
            HOUR_SECONDS,
            limits=settings.streams,
        )
        self._lag = LagWatch(self.metrics, self._context.open_log)
        ui = spark.sparkContext.uiWebUrl
        self._report = StreamsReport(settings, self.metrics, names, self._parts, ui)
        if ui:
            log.info("Spark's UI is at %s", ui)
        self._lineage = (
            LineageWatch(settings, self.metrics.registry, names, self._db, self._report.state)
            if settings.lineage.enabled
            else None
        )

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Start every stream and block until SIGTERM, SIGINT, `stop()`, or `until()` is true.

        Raises:
            StreamFailedError: a stream has failed, or was taken over, and did not recover; the
                others ran until the stop.
        """
        try:
            create_tables(self._spark, self._settings)
            create_views(self._spark, self._settings)
            log.info("the lake has its tables and views; starting %d queries", len(self._queries))
            self._spark.streams.addListener(ProgressListener(self._progressed))
            if self._settings.streams.metrics_port:
                self._lag.start()
            for task in (*self._tasks, self._ledger):
                task.start()
            self._report.start()
            if self._lineage:
                self._lineage.start()
            while not self._stop.is_set():
                self._watch()
                self._memory.give_back()
                if (until and until()) or all(h.is_failed for h in self._healths()):
                    break
                self._stop.wait(WATCH_SECONDS)
        finally:
            self._shut_down()
        if broken := [h.sentence for h in self._healths() if h.is_failed]:
            raise StreamFailedError("; ".join(dict.fromkeys(broken)))

    def stop(self) -> None:
        """Request a clean stop: every stream ends after the batch it is in.

        Does not wait for what hangs: the process ends after `STOP_SECONDS`.
        """
        if not self._stop.is_set():
            self._stop.set()
            timer = threading.Timer(STOP_SECONDS, self._abandon)
            timer.daemon = True
            timer.start()

    def _sink_context(self, stream: Stream) -> SinkContext:
        lake = self._lake.another(self._leases.epoch(stream.name))
        settings, stores = self._settings, self._stores()
        return SinkContext(stream.name, lake, self._db, settings, stores, {}, self.metrics)

    def _stores(self) -> Stores:
        return self._context.stores

    def _reload_stores(self) -> None:
        """Let the queries start again with a store file that has changed."""
        if self._store_file.reload():
            log.info("the store file has changed: %d queries start again", len(self._queries))
            self._context = replace(self._context, stores=self._store_file.stores)
            self._app = replace(self._app, context=self._context)
            for query in self._queries:
                query.restart(self._app)

    def _watch(self) -> None:
        """Check the store file, all leases and all queries once."""
        self._reload_stores()
        for stream, cause in list(self._leases.lost.items()):
            for part in self._of(stream):
                part.fence(stream, cause)
        for query in self._queries:
            query.watch(may_start=sum(q.is_starting for q in self._queries) < STARTING)
        self._queries = [part for query in self._queries for part in query.split()]
        self._report.watched()
        self._log_ready()

    def _log_ready(self) -> None:
        ready = sum(query.health.ready for query in self._queries)
        if ready != self._ready:
            log.info("%d of %d queries are ready", ready, len(self._queries))
            if ready == len(self._queries):
                begin_workers(self._spark)
        self._ready = ready

    def _parts(self, stream: str) -> tuple[Health | None, list[Health]]:
        """Health of the query of a stream, and of its tasks (`on_interval` last)."""
        queries = [q.health for q in self._queries if stream in q.serves]
        tasks = [t.health for t in self._tasks if stream in t.serves]
        return (queries[0] if queries else None), tasks

    def _of(self, stream: str) -> list[Part]:
        """The query of a stream, and its tasks."""
        parts: list[Part] = [*self._queries, *self._tasks]
        return [part for part in parts if stream in part.serves]

    def _healths(self) -> list[Health]:
        return [*(q.health for q in self._queries), *(t.health for t in self._tasks)]

    def _progressed(self, query: str, progress: Progress, ends: Sequence[Offsets]) -> None:
        """Record a committed micro-batch; called by Spark's listener."""
        for one in self._queries:
            if one.name == query:
                one.health.ready = True
                self.metrics.progressed(one.serves, progress)
                self._lag.moved(query, one.serves, one.brokers, ends)

    def _shut_down(self) -> None:
        """Stop and close everything, whatever fails on the way; the first error is raised last."""
        self._stop.set()
        with self._closing as stack:  # the last callback runs first
            if self._lineage:
                stack.callback(self._lineage.stop)
            stack.callback(self._report.stop)
            for task in reversed(self._tasks):
                stack.callback(task.run_once)
            stack.callback(self._lag.stop)
            for task in (*self._tasks, self._ledger):
                stack.callback(task.stop)
            for query in self._queries:
                stack.callback(query.stop)

    def _abandon(self) -> None:
        """End now, with the JVM: something hangs and does not stop."""
        hanging = [h.name for h in self._healths() if h.busy_since is not None]
        log.error(
            "the stop has taken %.0f s (%s): the process is killed; the next start replays "
            "what was not committed",
            STOP_SECONDS,
            ", ".join(hanging) or "no write is running",
        )
        logging.shutdown()
        with suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
        os._exit(1)

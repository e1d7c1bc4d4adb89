"""One query of Spark and the streams that share it: read once, parsed once, written by each sink.

A batch is committed when every sink has written it. Where some sinks keep failing and the others do
not, the query is split: each part continues with a copy of the checkpoint, so that one failing
stream stops only itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql.functions import sum as sum_
from pyspark.sql.streaming.query import StreamingQuery

from streaming.runtime.failures import SinkError, StoppingError, cause_in_text, root_cause
from streaming.runtime.health import Health
from streaming.runtime.jvm import hadoop_configuration, java
from streaming.runtime.lease import FencedError
from streaming.runtime.listener import READ
from streaming.runtime.metrics import StreamMetrics
from streaming.runtime.task_results import QueryPlan
from streaming.runtime.writer import BatchWriter
from streaming.sinks.postgres import Database
from streaming.steps import compose
from streaming.stream import Context, SinkContext, Stream

log = logging.getLogger("storelake.streams")

SPLIT_SECONDS = 5.0
"""Only when the same sinks, and nothing else, have failed again and again for so long are their
streams moved to a query of their own: a server that restarts fails some sinks and not others for a
moment."""

STEP_SECONDS = 5.0
"""By how much the wall clock must step back for a query to be started again."""

WAITS = ("Waiting for data to arrive", "Waiting for next trigger")
"""Status messages of a query that has looked for data. Spark's event of a query without data comes
only after ten seconds (`spark.sql.streaming.noDataProgressEventInterval`)."""


def clock() -> float:
    """How far the wall clock is ahead of the monotonic one, in seconds; a step changes it."""
    return time.time() - time.monotonic()


@dataclass(frozen=True)
class Application:
    """Resources that the queries of one application share.

    Attributes:
        context: session, settings, stores.
        sink_context: stream -> resources of its sink.
        epoch: name of a stream -> epoch of its lease.
        db: Postgres.
        metrics: of all streams.
        stopping: set once the program stops: no further batch begins.
    """

    context: Context
    sink_context: Callable[[Stream], SinkContext]
    epoch: Callable[[str], int]
    db: Database
    metrics: StreamMetrics
    stopping: threading.Event


class SharedQuery:
    """A query and the streams that it serves: started, watched, tried again, split.

    Args:
        app: resources that all queries share.
        streams: that it serves, all of one plan.
    """

    def __init__(self, app: Application, streams: Sequence[Stream]) -> None:
        self._app, self.streams = app, list(streams)
        source, self._steps, self._state, self._pace = streams[0].plan
        assert source is not None  # noqa: S101 - others have no query
        self._source = source
        self.health = Health(self.name, app.context.settings.streams)
        self._query: StreamingQuery | None = None
        self._busy = threading.Lock()
        # The sinks that failed in every attempt of late, and in the first and the last of them.
        self._blamed: tuple[frozenset[str], float, float] | None = None
        self._restarting = False
        self._fenced: dict[str, str] = {}
        self._clock = clock()  # the furthest ahead since the query was started

    @property
    def name(self) -> str:
        """The streams' names; it also names the checkpoint.

        Streams that run together for the first time therefore start a new checkpoint, and their
        sinks skip what they have committed.
        """
        return "+".join(sorted(self.serves))

    @property
    def serves(self) -> list[str]:
        """Names of its streams."""
        return [stream.name for stream in self.streams]

    @property
    def brokers(self) -> tuple[str, ...]:
        """The brokers that the query reads."""
        settings = self._app.context.settings
        if settings.streams.source == "memory":
            return ("memory",)
        return self._source.brokers(settings)

    @property
    def checkpoint(self) -> str:
        """Where Spark keeps the offsets and the state of the query."""
        settings = self._app.context.settings
        brokers = self._source.brokers(settings)
        place = self.name if brokers == ("kafka",) else f"{self.name}@{'+'.join(brokers)}"
        version = self._state.version if self._state else 1
        place += f".{version}" if version > 1 else ""
        return settings.checkpoint(place)

    @property
    def is_starting(self) -> bool:
        """Whether it runs, and has not looked for data yet."""
        return self._query is not None and not self.health.ready

    def watch(self, may_start: bool) -> None:
        """Check the query once: record its end, and start it when that is due."""
        if self._query is not None and self._query.isActive:
            self._look(self._query)
        elif self._query is not None:
            ended, self._query = self._query, None
            self._ended(str(ended.exception() or "it ended without an error"))
        elif may_start and self.health.is_due and not self._apart:
            try:
                self._start()
            except Exception as error:  # whatever keeps a query from starting is tried again
                self._blamed = None
                self._failed(root_cause(error))

    def split(self) -> list[SharedQuery]:
        """This query, or the two that replace it where only some sinks keep failing.

        A checkpoint that cannot be copied counts as a failure of this query, and is retried.
        """
        apart = self._apart
        if not apart or self._query is not None or not self.health.is_due:
            return [self]
        parts = [
            SharedQuery(self._app, [s for s in self.streams if (s.name in apart) is own])
            for own in (True, False)
        ]
        try:
            for part in parts:
                _copy_checkpoint(self._app.context, self.checkpoint, part.checkpoint)
        except Exception as error:  # a disk, or an S3: the other queries continue
            self._failed(f"the checkpoint cannot be copied: {root_cause(error)}")
            return [self]
        mine, others = parts
        mine.health.failures, mine.health.failed_total = (
            self.health.failures,
            self.health.failed_total,
        )
        mine.health.cause, mine.health.retry_at = self.health.cause, self.health.retry_at
        for stream, cause in self._fenced.items():
            mine.fence(stream, cause)
        log.warning("%s continues without %s", others.name, mine.name)
        return parts

    @property
    def _apart(self) -> frozenset[str]:
        """The streams to split off: taken over, or failing repeatedly; empty if that is all."""
        sinks, first, last = self._blamed or (frozenset(), 0.0, 0.0)
        blamed = sinks if last - first >= SPLIT_SECONDS else frozenset()
        apart = frozenset(self._fenced) or blamed
        return apart if apart < set(self.serves) else frozenset()

    def fence(self, stream: str, cause: str) -> None:
        """Stop writing a stream that another application has taken over."""
        if stream in self._fenced:
            return
        self._fenced[stream] = cause
        if set(self.serves) == self._fenced.keys():
            self.health.fence(cause)
        self._stop_query()

    def stop(self) -> None:
        """End after the batch that is running; one that starts now is refused by its sink."""
        with self._busy:
            pass
        self._stop_query()

    def restart(self, app: Application) -> None:
        """Start again with other resources, after the batch that is running."""
        self._restarting = True
        self.stop()
        self._app, self._restarting, self.health.ready = app, False, False
        self.health.idle()

    def _stop_query(self) -> None:
        query, self._query = self._query, None
        if query is not None:
            try:
                query.stop()
            except Exception as error:  # it is abandoned; its sinks do not write any more
                log.warning("%s does not stop: %s", self.name, root_cause(error))

    def _start(self) -> None:
        context = self._app.context
        pause = int(context.settings.streams.trigger_seconds * self._pace * 1000)
        rows = self._source.read(context, self.name).observe(READ, sum_("rows").alias("rows"))
        if self._state:  # other plans run their steps with the writes of a batch, in one task
            steps = compose(self._steps, context.settings, context.stores)
            rows = rows.transform(self._state.make(context, steps))
        self._clock = clock()
        self._query = (
            rows.writeStream.queryName(self.name)
            .outputMode("update" if self._state else "append")
            .option("checkpointLocation", self.checkpoint)
            .trigger(processingTime=f"{pause} milliseconds")
            .foreachBatch(self._sink())
            .start()
        )

    def _look(self, query: StreamingQuery) -> None:
        """Update the time that the present trigger has taken; end a query that waits for a clock.

        Spark's trigger waits until the wall clock shows a time, which is an hour longer where the
        clock has stepped back by an hour.
        """
        back = self._clock - clock()
        self._clock = max(self._clock, clock())
        if back > STEP_SECONDS:
            self.stop()
            self._failed(f"the clock of this machine stepped back by {back:.0f} s")
            return
        status = query.status
        if status["message"] in WAITS:
            self.health.ready = True
        if status["isTriggerActive"]:
            self.health.began()
        elif not self._busy.locked():
            self.health.idle()

    def _ended(self, text: str) -> None:
        error, self._error = self._error, None
        if isinstance(error, SinkError):
            fenced = {n: e for n, e in error.errors.items() if isinstance(e, FencedError)}
            for stream, cause in fenced.items():
                self.fence(stream, str(cause))
            if fenced:
                return
            self._blame(frozenset(error.errors))
        else:
            self._blamed = None
        self._failed(root_cause(error) if error else cause_in_text(text))

    def _blame(self, sinks: frozenset[str]) -> None:
        """Note which sinks failed, and since when only they do."""
        now = time.monotonic()
        same = self._blamed is not None and self._blamed[0] == sinks
        self._blamed = sinks, self._blamed[1] if same and self._blamed else now, now

    def _failed(self, cause: str) -> None:
        self.health.failed(cause)
        self._app.metrics.failed(self.serves)

    _error: Exception | None = None
    """Exception of the newest batch in this process; Spark only has a text of two stack traces."""

    def _sink(self) -> Callable[[DataFrame, int], None]:
        """The `foreachBatch` function: each task returns or writes its rows, the driver commits."""
        app, context = self._app, self._app.context
        streams = tuple(s for s in self.streams if s.write)
        plan = QueryPlan(context.settings, context.stores, self._steps, streams)
        writer = BatchWriter(plan, app.sink_context, app.epoch, app.db)

        def sink(df: DataFrame, batch_id: int) -> None:
            with self._busy:
                if app.stopping.is_set() or self._restarting:
                    raise StoppingError(self.name)
                self.health.began()
                try:
                    rows = writer.write(df, batch_id)
                except Exception as error:
                    self._error = error
                    raise
                self._blamed = None
                self.health.finished(rows)

        return sink


def _copy_checkpoint(context: Context, source: str, target: str) -> None:
    """Copy a checkpoint over an older one, by Hadoop's client: it may be on an S3.

    The copy gets a new query id: Spark ends a query when another one of its id starts.
    """
    hadoop, conf = java(context.spark).org.apache.hadoop.fs, hadoop_configuration(context.spark)
    here, there = (hadoop.Path(place) for place in (source, target))
    files = here.getFileSystem(conf)
    files.delete(there, True)
    if files.exists(here):
        hadoop.FileUtil.copy(files, here, files, there, False, conf)
        files.delete(hadoop.Path(there, "metadata"), False)


def shared_queries(app: Application, streams: Sequence[Stream]) -> list[SharedQuery]:
    """One query per plan, for the streams that have a source."""
    plans = dict.fromkeys(s.plan for s in streams if s.source)
    return [SharedQuery(app, [s for s in streams if s.plan == plan]) for plan in plans]

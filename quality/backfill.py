"""`storelake backfill`: computed on a branch, validated, published; the streams may run.

After a crash it resumes where it was; a repetition changes nothing. A lock in Postgres allows one
backfill of a table at a time. `streaming.recompute.backfill` computes the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone

from pyiceberg.table import Table as IcebergTable
from pyspark.sql import SparkSession
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from conf.settings import Settings
from quality.engines import Engines
from quality.publish import (
    BranchPublishError,
    drop_branch,
    is_begun,
    open_branch,
    publish_branch,
)
from quality.results import Result
from streaming.lake.formats import require_iceberg
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import TABLES, Table
from streaming.progress import Progress
from streaming.recompute.backfill import SOURCES, Backfill, BackfillError, Filled, read_progress
from streaming.recompute.retention import AGED
from streaming.runtime.session import build_session
from streaming.sinks.postgres import Database

PREFIX = "backfill-"
ATTEMPTS = 3

Notify = Callable[[str], None]


@dataclass
class Backfilled:
    """Outcome of a backfill.

    Attributes:
        filled: counted over the pieces that this run computed.
        published: False when something critical failed: the branch is kept, unpublished.
    """

    filled: Filled = field(default_factory=Filled)
    published: bool = True
    results: list[Result] = field(default_factory=list)


def run_backfill(
    settings: Settings,
    name: str,
    start: datetime,
    end: datetime,
    notify: Notify,
    *,
    engines: Engines,
    from_scratch: bool = False,
) -> Backfilled:
    """Compute what came in [start, end) again into a table that a stream appends to.

    Args:
        settings: of the deployment, whose streams may be running.
        name: of the table.
        start: with a time zone; by the time at which the broker got the messages.
        end: the same.
        notify: called with each step.
        engines: for the validation.
        from_scratch: discard what an earlier run has computed and not published.

    Raises:
        BackfillError: the table or window cannot be computed, or another backfill of it runs.
        PublishError: main has rewritten the same rows, again and again.
    """
    require_iceberg(settings, "A backfill")
    table = find_table(name)
    start, end = check_window(settings, table, start, end)
    notify("starting Spark")
    spark = build_session(settings, "storelake:backfill")
    try:
        return compute(
            settings,
            spark,
            table,
            start,
            end,
            notify=notify,
            engines=engines,
            from_scratch=from_scratch,
        )
    finally:
        spark.stop()


def compute(
    settings: Settings,
    spark: SparkSession,
    table: Table,
    start: datetime,
    end: datetime,
    *,
    notify: Notify,
    engines: Engines,
    from_scratch: bool = False,
) -> Backfilled:
    """The same in a session that runs, for a table and a window that are fine."""
    with (
        closing(open_catalog(settings)) as catalog,
        closing(Database(settings.postgres.dsn, 2)) as db,
        _alone(db, table),
    ):
        lake = IcebergLake(settings, catalog)
        if from_scratch:
            _drop_all(lake.load(table))
        again = Retrying(
            retry=retry_if_exception_type(BranchPublishError),
            stop=stop_after_attempt(ATTEMPTS),
            before_sleep=lambda _: _drop_all(lake.load(table)),
            reraise=True,
        )
        window = _Window(settings, lake, spark, table, start, end)
        return again(window.run, notify, engines)


def find_table(name: str) -> Table:
    """A table that can be computed from bronze.

    Raises:
        BackfillError: it cannot, and why; or there is none of that name.
    """
    table = next((t for t in TABLES if t.name == name), None)
    able = ", ".join(SOURCES)
    if table is None:
        raise BackfillError(f"The lake has no table {name}; these can be backfilled: {able}.")
    if name in SOURCES:
        return table
    if table.name.startswith("bronze."):
        why = "is what backfills are made from: replay its topic instead"
    elif table.copy_of:
        why = f"is a copy of {table.copy_of} in Postgres, which `storelake restate` computes again"
    else:
        why = "does not follow from bronze alone"
    raise BackfillError(f"{name} {why}; these can be backfilled: {able}.")


def check_window(
    settings: Settings, table: Table, start: datetime, end: datetime
) -> tuple[datetime, datetime]:
    """The window in UTC.

    Raises:
        BackfillError: it is empty or has no time zone, or what it held must not come back.
    """
    if start.tzinfo is None or end.tzinfo is None or start >= end:
        raise BackfillError(
            f"From {start.isoformat()} to {end.isoformat()} is no window: both need a time zone, "
            "like 2024-05-01T10:00:00Z, and the first must be earlier."
        )
    oldest = datetime.now(timezone.utc) - settings.retention.detections
    if start < oldest and table in [aged for aged, _ in AGED]:
        raise BackfillError(
            f"Rows of {table.name} from before {oldest:%Y-%m-%d %H:%M} UTC are past their "
            "retention and must not come back: begin the window later."
        )
    return start.astimezone(timezone.utc), end.astimezone(timezone.utc)


@dataclass(frozen=True)
class _Window:
    settings: Settings
    lake: IcebergLake
    spark: SparkSession
    table: Table
    start: datetime
    end: datetime

    @property
    def branch(self) -> str:
        return f"{PREFIX}{self.start:%Y%m%dT%H%M%SZ}-{self.end:%Y%m%dT%H%M%SZ}"

    def run(self, notify: Notify, engines: Engines) -> Backfilled:
        """On the branch of the window, which may be there already."""
        since, positions = self._begin()
        work = Backfill(self.settings, self.lake, self.spark, self.table, self.branch, positions)
        done = Backfilled()
        pieces = work.pieces(self.start, self.end)
        if not pieces:
            self._drop()
            raise BackfillError(self._nothing(work))
        for number, piece in enumerate(pieces, 1):
            if piece.end > since:
                notify(f"{piece.start:%Y-%m-%d %H:%M}, {number} of {len(pieces)}")
                _add(done.filled, work.fill(piece))
        if not is_begun(self.lake.load(self.table), self.branch):
            self._drop()  # nothing differs
            return done
        notify("validating")
        published = publish_branch(self.settings, self.table.name, self.branch, engines)
        done.published, done.results = published.rows is not None, published.results
        return done

    def _begin(self) -> tuple[datetime, Progress]:
        """From when to resume, and the positions up to which the branch has messages."""
        iceberg = self.lake.load(self.table)
        others = sorted(_branches(iceberg) - {self.branch})
        if others:
            raise BackfillError(
                f"{self.table.name} has an unfinished backfill, {others[0]}: finish it with the "
                "same window, or give it up with --anew."
            )
        if is_begun(iceberg, self.branch):
            return read_progress(iceberg, self.branch)
        if self.branch in iceberg.metadata.refs:
            drop_branch(iceberg, self.branch)
        # Before the branch: what the stream had come to then is on it.
        positions = self._positions()
        if not positions or iceberg.refresh().current_snapshot() is None:
            raise BackfillError(
                f"The stream {self.table.writer} has not written to {self.table.name} yet, and "
                "would write what a backfill has written: let it run first."
            )
        open_branch(iceberg, self.branch)
        return self.start, positions

    def _positions(self) -> Progress:
        """How far the stream has come: by its last table, or in quarantine by that itself."""
        known = dict(self.lake.progress(SOURCES[self.table.name].last))
        for at, position in self.lake.progress(self.table).items():
            known[at] = max(position, known.get(at, ""))
        return known

    def _drop(self) -> None:
        drop_branch(self.lake.load(self.table), self.branch)

    def _nothing(self, work: Backfill) -> str:
        span = work.span()
        has = f"it has {span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M} UTC" if span else "none"
        return (
            f"{work.source.bronze.name} has no message that came from {self.start.isoformat()} to "
            f"{self.end.isoformat()}, and that the stream has come to; {has}."
        )


@contextmanager
def _alone(db: Database, table: Table) -> Iterator[None]:
    with db.transaction() as connection:
        locked = connection.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (PREFIX + table.name,)
        ).fetchone()
        if not locked or not locked[0]:
            raise BackfillError(f"Another backfill of {table.name} runs.")
        yield


def _branches(iceberg: IcebergTable) -> set[str]:
    refs = iceberg.metadata.refs
    return {name for name in refs if name.startswith(PREFIX) and not name.endswith("-base")}


def _drop_all(iceberg: IcebergTable) -> None:
    for branch in _branches(iceberg):
        drop_branch(iceberg, branch)


def _add(total: Filled, one: Filled) -> None:
    total.messages += one.messages
    total.added += one.added
    total.replaced += one.replaced

"""`storelake quality run`: every table by its suites, one after the other, off the hot path.

A table of the lake is validated by what was committed since the newest snapshot that passed, so
what failed is validated again, and reported, until it is repaired. An error in one table does not
stop the run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

import pyarrow as pa
from great_expectations.core import ExpectationSuiteValidationResult
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from conf.errors import first_line
from conf.settings import Settings
from conf.stores import load_stores
from quality import documents, store
from quality.context import AuditContext
from quality.engines import Engines
from quality.results import Result, broken, to_result
from quality.store import QualityError, Reached
from quality.suite import FactSuite, Suite
from quality.suites import all_suites
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Commit, Increment, TableState
from streaming.sinks.postgres import Database

Engine = Literal["auto", "pandas", "spark"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ValidationPlan:
    """What the operator asked for.

    Attributes:
        layer, table: only these; all without.
        since: a snapshot id, or a time in UTC, in place of what was validated before.
        engine: `auto` takes Spark for increments above `quality.spark_above_rows`.
    """

    layer: str | None = None
    table: str | None = None
    since: int | datetime | None = None
    engine: Engine = "auto"

    def wants(self, suite: Suite) -> bool:
        """Whether a suite is asked for."""
        return self.table in (None, suite.table) and self.layer in (
            None,
            suite.table.split(".")[0],
        )


@dataclass
class QualityRun:
    """One run.

    Attributes:
        at: the time that data was validated at, UTC.
        results: of every expectation that there was something to validate for.
        documents: results of Great Expectations by suite, for Data Docs.
    """

    id: str
    at: datetime
    results: list[Result] = field(default_factory=list)
    documents: dict[str, ExpectationSuiteValidationResult] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failures(self) -> list[Result]:
        """What is not as expected, the critical ones first."""
        return sorted((r for r in self.results if not r.success), key=lambda r: (r.severity, r.id))


def run_quality(
    settings: Settings,
    plan: ValidationPlan,
    notify: Callable[[str], None],
    *,
    engines: Engines,
    suites: Sequence[Suite] | None = None,
    now: datetime | None = None,
) -> QualityRun:
    """Validate what is new, keep the results, move the tags.

    Args:
        settings: of the deployment, whose streams may be running.
        plan: which tables.
        notify: called with the name of each table.
        engines: kept between runs by who runs again and again.
        suites: what tables must be like; by default all that the product has.
        now: the time to validate at; by default the clock's.

    Raises:
        QualityError: the plan names nothing, or the lake has no place for results.
    """
    started = time.monotonic()
    stores = load_stores(settings.stores_file)
    known = all_suites(settings, stores) if suites is None else suites
    wanted = [suite for suite in known if plan.wants(suite)]
    if not wanted:
        raise QualityError(
            f"There is no suite for {plan.table or plan.layer}; these tables have some: "
            + ", ".join(sorted({suite.table for suite in known}))
        )
    run = QualityRun(store.new_run_id(), now or datetime.now(timezone.utc))
    with (
        open_lake(settings) as lake,
        closing(Database(settings.postgres.dsn, 2)) as db,
    ):
        before: dict[str, Reached] = {}

        def start(state: TableState, name: str) -> int:
            reached = Reached.of(state, name, before.get(name))
            if isinstance(plan.since, int) and not _find(state, plan.since):
                return reached.passed_sequence_number  # the snapshot of another table
            return _start(plan, reached, state)

        context = AuditContext(settings, stores, run.at, lake, db, start)
        round_ = _Round(context, engines, plan, run)
        before |= store.read_reached(context)
        reached = []
        for table in dict.fromkeys(suite.table for suite in wanted):
            notify(table)
            of_table = [suite for suite in wanted if suite.table == table]
            after = round_.validate_table(of_table, before.get(table))
            reached += [after] if after else []
        # A validation of other rows than those that are due does not move the tags.
        store.write(context, run.id, run.results, reached if plan.since is None else [])
    documents.keep(settings, run.id, run.at, run.documents)
    run.seconds = time.monotonic() - started
    return run


@dataclass(frozen=True)
class _Round:
    """One run under way."""

    context: AuditContext
    engines: Engines
    plan: ValidationPlan
    run: QualityRun

    @retry(
        retry=retry_if_exception_type(FileNotFoundError),  # replaced and removed meanwhile
        stop=stop_after_attempt(3),
        reraise=True,
    )
    def validate_table(self, suites: Sequence[Suite], before: Reached | None) -> Reached | None:
        """All suites of one table; returns how far a table of the lake has been validated."""
        name = suites[0].table
        in_lake = not name.startswith("postgres.")
        state = self.context.table(name) if in_lake else None
        if in_lake and state is None:
            self.run.results.append(broken(suites[0], "exists", "There is no such table."))
            return None
        increment = None
        if state is not None:
            reached = Reached.of(state, name, before)
            increment = state.added_since(_start(self.plan, reached, state))
        results = [one for suite in suites for one in self._validate_suite(suite, increment)]
        self.run.results += results
        if increment is None or increment.newest is None:
            return None
        failed = any(not r.success and r.severity == "critical" for r in results)
        return reached.after(increment.newest, self.run.id, self.run.at, passed=not failed)

    def _validate_suite(self, suite: Suite, increment: Increment | None) -> list[Result]:
        """One suite; what cannot be validated is a result, too."""
        newest = increment.newest if increment else None
        snapshot_id = newest.id if newest else None
        try:
            validated, rows = self._validate(suite, increment)
        except FileNotFoundError:
            raise
        except Exception as error:
            # Whatever it is: the other suites are validated, and this one is named.
            log.warning("%s.%s could not be validated", suite.table, suite.name, exc_info=True)
            return [broken(suite, "readable", first_line(error), snapshot_id)]
        if validated is None:
            return []
        self.run.documents[f"{suite.table}.{suite.name}"] = validated
        return [to_result(suite, snapshot_id, one, rows) for one in validated.results]

    def _validate(
        self, suite: Suite, increment: Increment | None
    ) -> tuple[ExpectationSuiteValidationResult | None, int]:
        """The result and the number of its rows; None with nothing to validate."""
        if isinstance(suite, FactSuite):
            return self._by_pandas(suite, suite.load(self.context))
        if increment is None or not increment.rows:
            return None, 0
        if self.plan.engine == "spark" or (
            self.plan.engine == "auto"
            and increment.rows > self.context.settings.quality.spark_above_rows
        ):
            return self.engines.validate_files(suite, increment), increment.rows
        return self._by_pandas(suite, suite.shape(increment.to_arrow()))

    def _by_pandas(
        self, suite: Suite, rows: pa.Table
    ) -> tuple[ExpectationSuiteValidationResult | None, int]:
        if not rows.num_rows:
            return None, 0
        return self.engines.validate_rows(suite, rows), rows.num_rows


def _start(plan: ValidationPlan, reached: Reached, state: TableState) -> int:
    """The sequence number after which rows are validated.

    Raises:
        QualityError: the table does not know the snapshot.
    """
    since = plan.since
    if since is None:
        return reached.passed_sequence_number
    if isinstance(since, int):
        commit = _find(state, since)
        if commit is None:
            raise QualityError(
                f"{reached.table_name} has no snapshot {since}; it may have expired: name a "
                "newer one, or a time."
            )
        return commit.sequence
    return max((one.sequence for one in state.commits if one.at <= since), default=0)


def _find(state: TableState, commit_id: int) -> Commit | None:
    return next((one for one in state.commits if one.id == commit_id), None)

"""Where results go: two tables of the lake, a copy in Postgres, and a tag on what passed.

Results first, then how far they reach: a run that dies in between validates the same rows again, in
a run of its own. At least once, that is, with a key that keeps runs apart.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
from psycopg import sql

from conf.errors import StorelakeError
from quality.context import AuditContext
from quality.results import Result
from streaming.lake.protocol import Commit, TableState
from streaming.lake.tables import QUALITY_VALIDATED_SNAPSHOTS, QUALITY_VALIDATION_RESULTS, Table
from streaming.sinks.postgres import stage

TAG = "validated"
"""The newest snapshot of a table up to which nothing critical has failed."""

_STAGE = {
    **dict.fromkeys(("run_id", "layer", "table_name", "suite", "expectation"), "text"),
    "ran_at": "timestamptz",
    **dict.fromkeys(("kind", "severity", "state"), "text"),
    **dict.fromkeys(("snapshot_id", "row_count", "unexpected_count"), "bigint"),
    "unexpected_share": "double precision",
    "observed": "text",
    "samples": "jsonb",
    "says": "text",
}


class QualityError(StorelakeError):
    """Validation cannot run at all; the message states why."""


@dataclass(frozen=True)
class Reached:
    """How far one table has been validated: a row of `quality.validated_snapshots`."""

    table_name: str
    table_uuid: str
    snapshot_id: int
    sequence_number: int
    passed_snapshot_id: int | None
    passed_sequence_number: int
    run_id: str
    validated_at: datetime

    @classmethod
    def of(cls, state: TableState, name: str, before: Reached | None) -> Reached:
        """`before`, or nothing validated when there is none or the table was created again."""
        if before is not None and before.table_uuid == state.identity:
            return before
        never = datetime.min.replace(tzinfo=timezone.utc)
        return cls(name, state.identity, 0, 0, None, 0, "", never)

    def after(self, commit: Commit, run_id: str, at: datetime, *, passed: bool) -> Reached:
        """The same, once all up to a commit was validated."""
        commits: dict[str, Any] = {"snapshot_id": commit.id, "sequence_number": commit.sequence}
        if passed:
            commits |= {f"passed_{name}": value for name, value in commits.items()}
        return replace(self, run_id=run_id, validated_at=at, **commits)


def read_reached(context: AuditContext) -> dict[str, Reached]:
    """By table; without tables that were never validated, or were created again since.

    Raises:
        QualityError: the lake has no place for results yet.
    """
    _require(context, QUALITY_VALIDATED_SNAPSHOTS)
    rows = context.lake.read(QUALITY_VALIDATED_SNAPSHOTS.name).to_pylist()
    return {row["table_name"]: Reached(**row) for row in rows}


def write(
    context: AuditContext, run_id: str, results: Sequence[Result], reached: Iterable[Reached]
) -> None:
    """Results into the lake and Postgres, then how far they reach, then the tags."""
    if results:
        rows = [_row(run_id, context.now, result) for result in results]
        _append(context, rows)
        _replicate(context, rows)
    reached = list(reached)
    _replace(context, reached)
    for one in reached:
        # A table that is gone has no tag to move.
        if one.passed_snapshot_id is not None and context.table(one.table_name) is not None:
            context.lake.tag(one.table_name, one.passed_snapshot_id, TAG)


def new_run_id() -> str:
    """Unique."""
    return uuid.uuid4().hex


def _row(run_id: str, ran_at: datetime, result: Result) -> dict[str, Any]:
    reported = asdict(result)
    return {
        "run_id": run_id,
        "ran_at": ran_at,
        "layer": result.layer,
        "table_name": reported.pop("table"),
        "expectation": reported.pop("name"),
        "row_count": reported.pop("rows"),
        "unexpected_count": reported.pop("unexpected"),
        "unexpected_share": result.share,
        **reported,
    }


def _require(context: AuditContext, table: Table) -> None:
    if context.table(table.name) is None:
        raise QualityError(
            f"The lake has no table {table.name}: start the streams once with `storelake run`, "
            "which makes what is missing."
        )


def _append(context: AuditContext, rows: list[dict[str, Any]]) -> None:
    _require(context, QUALITY_VALIDATION_RESULTS)
    schema = context.lake.schema(QUALITY_VALIDATION_RESULTS.name)
    context.lake.add(QUALITY_VALIDATION_RESULTS, pa.Table.from_pylist(rows, schema=schema))


def _replace(context: AuditContext, reached: list[Reached]) -> None:
    """All rows at once: there is one a table."""
    if not reached:
        return
    new = {one.table_name: asdict(one) for one in reached}
    kept: Mapping[str, dict[str, Any]] = {
        name: asdict(one) for name, one in read_reached(context).items()
    }
    schema = context.lake.schema(QUALITY_VALIDATED_SNAPSHOTS.name)
    rows = pa.Table.from_pylist(list({**kept, **new}.values()), schema=schema)
    context.lake.replace(QUALITY_VALIDATED_SNAPSHOTS, rows)


def _replicate(context: AuditContext, rows: list[dict[str, Any]]) -> None:
    keep: timedelta = context.settings.quality.results_keep
    columns = sql.SQL(", ").join(map(sql.Identifier, _STAGE))
    insert = sql.SQL("INSERT INTO quality_results ({0}) SELECT {0} FROM new_results")
    with context.db.transaction() as connection:
        stage(connection, "new_results", _STAGE, pa.Table.from_pylist(rows))
        connection.execute(insert.format(columns))
        connection.execute("DELETE FROM quality_results WHERE ran_at < %s", (context.now - keep,))

"""Where results go: two tables of the lake, a copy in Postgres, and a tag on what passed.

Results first, then how far they reach: a run that dies in between judges the same rows again, in a
run of its own. At least once, that is, with a key that keeps runs apart.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from conf.errors import StorelakeError
from quality.house import LiveHouse
from quality.results import Result
from streaming.connectors.commits import LakeTransaction, retry_conflicts
from streaming.connectors.postgres import stage
from streaming.tables import QUALITY_VALIDATED_SNAPSHOTS, QUALITY_VALIDATION_RESULTS, Table

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
    """Validation cannot run at all; the message says why."""


@dataclass(frozen=True)
class Reached:
    """How far one table has been judged: a row of `quality.validated_snapshots`."""

    table_name: str
    table_uuid: str
    snapshot_id: int
    sequence_number: int
    passed_snapshot_id: int | None
    passed_sequence_number: int
    run_id: str
    validated_at: datetime

    @classmethod
    def of(cls, iceberg: IcebergTable, name: str, before: Reached | None) -> Reached:
        """What was known, unless nobody has judged the table, or it was made anew since."""
        identity = str(iceberg.metadata.table_uuid)
        if before is not None and before.table_uuid == identity:
            return before
        never = datetime.min.replace(tzinfo=timezone.utc)
        return cls(name, identity, 0, 0, None, 0, "", never)

    def after(self, snapshot: Snapshot, run_id: str, at: datetime, *, passed: bool) -> Reached:
        """The same, once all up to a snapshot was judged."""
        sequence = snapshot.sequence_number or 0
        judged = replace(
            self,
            snapshot_id=snapshot.snapshot_id,
            sequence_number=sequence,
            run_id=run_id,
            validated_at=at,
        )
        if not passed:
            return judged
        return replace(
            judged,
            passed_snapshot_id=snapshot.snapshot_id,
            passed_sequence_number=sequence,
        )


def read_reached(house: LiveHouse) -> dict[str, Reached]:
    """By table; nothing for a table that nobody has judged, or that was made anew since.

    Raises:
        QualityError: the lake has no place for results yet.
    """
    rows = _load(house, QUALITY_VALIDATED_SNAPSHOTS).scan().to_arrow().to_pylist()
    return {row["table_name"]: Reached(**row) for row in rows}


def write(
    house: LiveHouse, run_id: str, results: Sequence[Result], reached: Iterable[Reached]
) -> None:
    """Results into the lake and Postgres, then how far they reach, then the tags."""
    if results:
        rows = [_row(run_id, house.now, result) for result in results]
        _append(house, rows)
        _mirror(house, rows)
    reached = list(reached)
    _replace(house, reached)
    for one in reached:
        if one.passed_snapshot_id is not None:
            _tag(house, one.table_name, one.passed_snapshot_id)


def new_run_id() -> str:
    """Unique."""
    return uuid.uuid4().hex


def _row(run_id: str, ran_at: datetime, result: Result) -> dict[str, Any]:
    said = asdict(result)
    return {
        "run_id": run_id,
        "ran_at": ran_at,
        "layer": result.layer,
        "table_name": said.pop("table"),
        "expectation": said.pop("name"),
        "row_count": said.pop("rows"),
        "unexpected_count": said.pop("unexpected"),
        "unexpected_share": result.share,
        **said,
    }


def _load(house: LiveHouse, table: Table) -> IcebergTable:
    found = house.table(table.name)
    if found is None:
        raise QualityError(
            f"The lake has no table {table.name}: start the streams once with `storelake run`, "
            "which makes what is missing."
        )
    return found


@retry_conflicts
def _append(house: LiveHouse, rows: list[dict[str, Any]]) -> None:
    iceberg = _load(house, QUALITY_VALIDATION_RESULTS)
    iceberg.append(pa.Table.from_pylist(rows, schema=iceberg.schema().as_arrow()))


@retry_conflicts
def _replace(house: LiveHouse, reached: list[Reached]) -> None:
    """All rows at once: there is one a table."""
    iceberg = _load(house, QUALITY_VALIDATED_SNAPSHOTS)
    new = {one.table_name: asdict(one) for one in reached}
    kept: Mapping[str, dict[str, Any]] = {
        row["table_name"]: row for row in iceberg.scan().to_arrow().to_pylist()
    }
    if new:
        rows = pa.Table.from_pylist(
            list({**kept, **new}.values()), schema=iceberg.schema().as_arrow()
        )
        with LakeTransaction(iceberg) as change:
            if kept:
                change.overwrite(rows)
            else:
                change.append(rows)


@retry_conflicts
def _tag(house: LiveHouse, name: str, snapshot_id: int) -> None:
    """Move the tag; a table that is gone, or a snapshot that has expired, has none to move."""
    iceberg = house.table(name)
    if iceberg is None or iceberg.metadata.snapshot_by_id(snapshot_id) is None:
        return
    tag = iceberg.metadata.refs.get(TAG)
    if tag is None or tag.snapshot_id != snapshot_id:
        iceberg.manage_snapshots().create_tag(snapshot_id, TAG).commit()


def _mirror(house: LiveHouse, rows: list[dict[str, Any]]) -> None:
    keep: timedelta = house.settings.quality.results_keep
    table = pa.Table.from_pylist(rows)
    with house.db.transaction() as connection:
        _insert(connection, table)
        connection.execute("DELETE FROM quality_results WHERE ran_at < %s", (house.now - keep,))


def _insert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    stage(connection, "judged", _STAGE, rows)
    columns = sql.SQL(", ").join(map(sql.Identifier, _STAGE))
    insert = "INSERT INTO quality_results ({0}) SELECT {0} FROM judged"
    connection.execute(sql.SQL(insert).format(columns))

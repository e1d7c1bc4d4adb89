"""Computes a window of an append table again from bronze, on a branch of the table.

It uses the transforms of the stream (`streaming.steps`) and works in pieces. The branch
starts from the present table. For each message of the window that the stream has committed, the
branch then has the rows that the stream would write today: missing ones are added, differing ones
replaced, equal ones kept, so that a second backfill changes nothing. Each piece is one commit with
its end (`PROGRESS`), from which an interrupted backfill continues. Readers of the table do not see
the branch until `quality.backfill` has validated and published it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import (
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    LessThanOrEqual,
    Or,
)
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table as IcebergTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.stores import load_stores
from streaming.lake.iceberg.commits import LakeTransaction, retry_conflicts
from streaming.lake.iceberg.files import read_tasks, write_files
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.replace_files import change_files
from streaming.lake.protocol import shape
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    QUARANTINE_DETECTIONS,
    QUARANTINE_ORDER_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
    Table,
)
from streaming.progress import Progress, from_text, to_text
from streaming.recompute.window import up_to
from streaming.steps import RECALL_ORDERS, VALIDATE_DETECTIONS, VALIDATE_ORDERS, in_tasks
from streaming.stream import PlanStep
from streaming.transforms.quarantine import split_validated
from streaming.transforms.silver_detections import to_silver_detections

POSITION = ("topic", "partition", "position")
PROGRESS = "storelake.backfill"
"""Property of a snapshot of a branch, JSON: `to`, the end of the last piece, and `positions` of the
stream when the branch was created."""
BUCKET = timedelta(minutes=1)
MESSAGES = 50_000
"""Messages of a piece, about: it is held in memory."""


class BackfillError(StorelakeError):
    """A window that cannot be computed; the message states why."""


@dataclass(frozen=True)
class BackfillSource:
    """How a table is computed from bronze.

    Attributes:
        bronze: the table of the messages.
        last: the table that the stream writes last, with its positions.
        steps: as of the plan of the stream.
        rows: validated rows -> rows of the table.
    """

    bronze: Table
    last: Table
    steps: tuple[PlanStep, ...]
    rows: Callable[[pa.Table], pa.Table]


def _good(validated: pa.Table) -> pa.Table:
    return split_validated(validated)[0]


def _rejected(validated: pa.Table) -> pa.Table:
    return split_validated(validated)[1]


def _objects(validated: pa.Table) -> pa.Table:
    return to_silver_detections(_good(validated))


_ORDERS = (VALIDATE_ORDERS, RECALL_ORDERS)
SOURCES: Mapping[str, BackfillSource] = {
    SILVER_ORDERS.name: BackfillSource(BRONZE_ORDER_EVENTS, SILVER_ORDERS, _ORDERS, _good),
    QUARANTINE_ORDER_EVENTS.name: BackfillSource(
        BRONZE_ORDER_EVENTS, SILVER_ORDERS, _ORDERS, _rejected
    ),
    SILVER_DETECTIONS.name: BackfillSource(
        BRONZE_DETECTIONS, SILVER_DETECTIONS, (VALIDATE_DETECTIONS,), _objects
    ),
    QUARANTINE_DETECTIONS.name: BackfillSource(
        BRONZE_DETECTIONS, SILVER_DETECTIONS, (VALIDATE_DETECTIONS,), _rejected
    ),
}
"""Append table -> its source."""


@dataclass(frozen=True)
class Piece:
    """Messages received in [start, end), in UTC, and their number."""

    start: datetime
    end: datetime
    messages: int


@dataclass
class Filled:
    """Counts of a backfill: messages read, rows added, rows replaced."""

    messages: int = 0
    added: int = 0
    replaced: int = 0


@dataclass(frozen=True)
class Backfill:
    """One window of one table.

    Attributes:
        settings: of the deployment, whose streams may be running.
        lake: of the table.
        spark: session that computes the rows.
        table: one of `SOURCES`.
        branch: of the table, created after `positions` were read.
        positions: of the stream; it writes later messages itself.
    """

    settings: Settings
    lake: IcebergLake
    spark: SparkSession
    table: Table
    branch: str
    positions: Progress

    @property
    def source(self) -> BackfillSource:
        """How the table is computed from bronze."""
        return SOURCES[self.table.name]

    def pieces(self, start: datetime, end: datetime) -> list[Piece]:
        """The window in pieces of about `MESSAGES`; empty where bronze has no rows."""
        minutes = (
            self._bronze(start, end)
            .groupBy(F.date_trunc("minute", "timestamp").alias("minute"))
            .count()
            .orderBy("minute")
            .toArrow()
            .to_pylist()
        )
        found: list[Piece] = []
        for row in minutes:
            first = max(row["minute"].astimezone(timezone.utc), start)
            last = min(row["minute"].astimezone(timezone.utc) + BUCKET, end)
            if found and found[-1].messages + row["count"] <= MESSAGES:
                found[-1] = Piece(found[-1].start, last, found[-1].messages + row["count"])
            else:
                found.append(Piece(first, last, row["count"]))
        return found

    def span(self) -> tuple[datetime, datetime] | None:
        """Times of the first and the last message of bronze, in UTC."""
        rows = self.spark.table(f"{self.settings.catalog.name}.{self.source.bronze.name}")
        (found,) = (
            rows.agg(F.min("timestamp").alias("first"), F.max("timestamp").alias("last"))
            .toArrow()
            .to_pylist()
        )
        return (found["first"], found["last"]) if found["first"] else None

    def fill(self, piece: Piece) -> Filled:
        """Backfill one piece in one commit to the branch; no commit where nothing differs."""
        stores = load_stores(self.settings.stores_file)
        validate = in_tasks(self.source.steps, self.settings, stores)
        validated = self._bronze(piece.start, piece.end).transform(validate).toArrow()
        iceberg = self.lake.load(self.table)
        made = shape(self.source.rows(validated), iceberg.schema().as_arrow(), self.table)
        near = iceberg.scan(_around(validated)).use_ref(self.branch)
        there = shape(near.to_arrow(), iceberg.schema().as_arrow(), self.table)
        old = there.filter(_among(there, validated))
        known = _among(made, old)
        filled = Filled(validated.num_rows)
        if self._sorted(made.filter(known)).equals(self._sorted(old)):
            missing = made.filter(pc.invert(known))
            filled.added = missing.num_rows
            if missing.num_rows:
                self._commit(write_files(iceberg, missing), [], piece.end)
        else:
            filled.added, filled.replaced = made.num_rows, old.num_rows
            added, removed = write_files(iceberg, made), []
            for task in near.plan_files():
                rows = read_tasks(iceberg, [task])
                mine = _among(rows, validated)
                if pc.any(mine).as_py():
                    removed.append(task.file)
                    added += write_files(iceberg, rows.filter(pc.invert(mine)))
            self._commit(added, removed, piece.end)
        return filled

    @retry_conflicts
    def _commit(
        self, added: Sequence[DataFile], removed: Sequence[DataFile], end: datetime
    ) -> None:
        """Commit files that are written already, and with them how far the backfill has come."""
        iceberg = self.lake.load(self.table)
        done = {"to": end.isoformat(), "positions": to_text(self.positions)}
        properties = {PROGRESS: json.dumps(done)}
        with LakeTransaction(iceberg) as change:
            change_files(
                change, iceberg.io, added, removed, properties=properties, branch=self.branch
            )

    def _bronze(self, start: datetime, end: datetime) -> DataFrame:
        rows = self.spark.table(f"{self.settings.catalog.name}.{self.source.bronze.name}")
        came = F.col("timestamp")
        return rows.where((came >= F.lit(start)) & (came < F.lit(end)) & up_to(self.positions))

    def _sorted(self, rows: pa.Table) -> pa.Table:
        keys = dict.fromkeys((*POSITION, *self.table.key))
        return rows.sort_by([(name, "ascending") for name in keys])


def read_progress(iceberg: IcebergTable, branch: str) -> tuple[datetime, Progress]:
    """End of the last piece of a branch, and the positions of the stream when it was created.

    Raises:
        BackfillError: somebody else has written to the branch.
    """
    snapshot = iceberg.metadata.snapshot_by_id(iceberg.metadata.refs[branch].snapshot_id)
    summary = snapshot.summary if snapshot else None
    if summary is None or PROGRESS not in summary.additional_properties:
        raise BackfillError(
            f"Somebody has written to the branch {branch} by hand: publish it by "
            "`storelake quality publish`, or give it up with --anew."
        )
    done: dict[str, Any] = json.loads(summary.additional_properties[PROGRESS])
    return datetime.fromisoformat(done["to"]), from_text(done["positions"])


def _among(rows: pa.Table, messages: pa.Table) -> pa.ChunkedArray:
    """For each row, whether its message is among these."""
    names = list(POSITION)
    wanted = messages.select(names).group_by(names).aggregate([])
    numbered = rows.select(names).append_column("row", pa.array(range(rows.num_rows), pa.int64()))
    kinds = pa.schema([numbered.schema.field(name) for name in names])
    found = numbered.join(wanted.cast(kinds), names, join_type="left semi")
    return pc.is_in(numbered["row"], value_set=found["row"])


def _around(messages: pa.Table) -> BooleanExpression:
    """Filter for the rows of these messages: first to last position of each partition."""
    bounds = messages.group_by(["topic", "partition"]).aggregate(
        [("position", "min"), ("position", "max")]
    )
    ranges: list[BooleanExpression] = [
        And(
            And(
                EqualTo(term="topic", value=row["topic"]),
                EqualTo(term="partition", value=row["partition"]),
            ),
            And(
                GreaterThanOrEqual(term="position", value=row["position_min"]),
                LessThanOrEqual(term="position", value=row["position_max"]),
            ),
        )
        for row in bounds.to_pylist()
    ]
    return Or(*ranges) if len(ranges) > 1 else ranges[0]

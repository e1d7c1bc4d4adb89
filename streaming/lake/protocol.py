"""The interface of every table format of the lake, for streams and readers.

`iceberg/` and `delta/` implement it, `formats.py` chooses by `catalog.format`; one behaviour suite
runs on both (`tests/support/lake_suite.py`).

Delivery guarantee of both: exactly-once in effect. An append commits its rows and the newest source
positions that the table then holds together, and drops rows up to there first; an upsert writes
absolute values by key (docs/adr/0002, docs/adr/0022). One writer a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.expressions.visitors import bind
from pyiceberg.io.pyarrow import _pyarrow_to_schema_without_ids, expression_to_pyarrow
from pyiceberg.schema import assign_fresh_schema_ids
from typing_extensions import Self

from conf.errors import StorelakeError
from conf.settings import Settings
from streaming.lake.tables import Table
from streaming.progress import Progress, fresh, spans
from streaming.runtime.lease import FencedError

Where = BooleanExpression
"""A filter on rows, whatever the format: PyIceberg's expressions have no catalog in them."""

EVERYTHING: Where = AlwaysTrue()


class LakeError(StorelakeError):
    """A table of the lake differs from `tables.py`, and must not be changed automatically."""


class MissingTableError(LakeError):
    """The table has not been created yet, or was dropped."""

    def __init__(self, table: str) -> None:
        super().__init__(
            f"There is no table {table} in the lake: start the streams (again), which makes what "
            "is missing; what a dropped table held comes back from bronze by `storelake backfill` "
            "or `storelake restate`."
        )


@dataclass(frozen=True)
class Commit:
    """One commit of a table that can still be read.

    Attributes:
        id: an Iceberg snapshot id, a Delta version.
        sequence: rises with every commit of the table, from 1 on.
        at: UTC.
    """

    id: int
    sequence: int
    at: datetime


@dataclass(frozen=True)
class Staged:
    """Rows that a task has prepared for an append, which the driver commits.

    Attributes:
        rows: how many.
        spans: topic partition -> its first and last position among the rows.
        content: data files, or the rows themselves, as the format has them; can be pickled.
    """

    rows: int
    spans: Mapping[tuple[str, int], tuple[str, str]]
    content: Any


class Increment(Protocol):
    """Rows that were committed to a table after some commit, and are still there."""

    @property
    def newest(self) -> Commit | None:
        """The last commit of the loaded table; None before the first one with rows."""

    @property
    def schema(self) -> pa.Schema:
        """Of the table."""

    @property
    def rows(self) -> int:
        """Number of rows."""

    @property
    def paths(self) -> list[str]:
        """URIs of the Parquet files that hold exactly these rows."""

    @property
    def access(self) -> dict[str, str]:
        """Properties with which another process reads the files: an S3 and its keys, if any."""

    def span(self, column: str) -> tuple[datetime, datetime] | None:
        """The earliest and the latest value of a time (UTC) or a day; None without any.

        By the statistics of the files.
        """

    def to_arrow(self, columns: Sequence[str] = ("*",)) -> pa.Table:
        """The rows.

        Raises:
            FileNotFoundError: a file was replaced and removed since the table was loaded.
        """


class TableState(Protocol):
    """A table of the lake at the time it was loaded."""

    @property
    def identity(self) -> str:
        """An id that changes when the table is created again."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""

    @property
    def commits(self) -> Sequence[Commit]:
        """Those that can still be read, in no order."""

    @property
    def newest(self) -> Commit | None:
        """The last one; None for a table without rows."""

    def added_since(self, sequence: int) -> Increment:
        """Rows that commits after `sequence` added and that are still there; 0: all rows.

        A row that was rewritten counts as added.
        """


class Lake(Protocol):
    """Reads and writes of one query.

    Close it, or use it in a `with` block.
    """

    settings: Settings

    def another(self, epoch: int | None = None) -> Lake:
        """The same tables for another query, over the same connections: do not close it.

        Args:
            epoch: of the lease of the stream that writes through it; None for readers, and for
                writers that are no stream.
        """

    def close(self) -> None:
        """Close the connections."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def state(self, table: str) -> TableState | None:
        """A table as it is now; None when there is no such table."""

    def read(
        self, table: str, columns: Sequence[str] = ("*",), where: Where = EVERYTHING
    ) -> pa.Table:
        """Rows of a table as it is now.

        Raises:
            LakeError: there is no such table.
        """

    def schema(self, table: str) -> pa.Schema:
        """The columns of a table as it is now.

        Raises:
            LakeError: there is no such table.
        """

    def progress(self, table: Table) -> Progress:
        """The newest source position that the table holds of each partition."""

    def fresh(self, table: Table, rows: pa.Table) -> pa.Table:
        """The rows that the table does not hold yet, by their source positions."""
        return fresh(rows, self.progress(table)) if rows.num_rows else rows

    def append(self, table: Table, rows: pa.Table, batch_id: int) -> int:
        """Append the rows that the table does not hold yet; every attempt loads the table again.

        Columns that the table lacks are left out; those that only a newer release declares are
        null.

        Returns:
            The number of rows written.

        Raises:
            FencedError: the table was written under a newer lease of the stream.
        """

    def stage(self, table: Table, rows: pa.Table) -> Staged:  # noqa: ARG002 - formats use it
        """Prepare rows of whole topic partitions for `append_staged`; called in a task.

        By default the rows themselves go to the driver. Files of a task that nobody commits are
        removed by maintenance, as orphans.
        """
        return Staged(rows.num_rows, spans(rows), rows)

    def append_staged(self, table: Table, staged: Sequence[Staged], batch_id: int) -> int:
        """`append` of what tasks have staged, in one commit.

        Returns:
            The number of rows written.

        Raises:
            FencedError: the table was written under a newer lease of the stream.
        """
        return self.append(table, pa.concat_tables([one.content for one in staged]), batch_id)

    def upsert(self, table: Table, rows: pa.Table, time_key: str) -> None:
        """Replace the rows with the same keys, in one commit.

        Args:
            table: a small table with the strategy `upsert`.
            rows: absolute values, every column of the table, unique by the table's key.
            time_key: a time that a key never changes; it bounds what is read and rewritten.

        Raises:
            FencedError: the table was written under a newer lease of the stream.
        """

    def add(self, table: Table, rows: pa.Table) -> None:
        """Append rows without source positions: at least once; the key identifies repeats."""

    def replace(self, table: Table, rows: pa.Table) -> None:
        """Replace all rows of a small table."""

    def tag(self, table: str, commit_id: int, tag: str) -> None:
        """Move a tag to a commit; no effect if the format has no tags, or the commit expired."""


def require_epoch(mine: int | None, newest: int, table: str) -> None:
    """Reject a commit of a stream that another application has taken over.

    Args:
        mine: the epoch of the writer's lease; None: the writer is no stream.
        newest: the epoch that the loaded table was last written under; 0 before the first.
        table: its name.

    Raises:
        FencedError: the table is ahead.
    """
    if mine is not None and mine < newest:
        raise FencedError(
            f"{table} was written under epoch {newest} of its stream's lease, and this application "
            f"holds epoch {mine}: another one has taken the stream over"
        )


def to_arrow_filter(schema: pa.Schema, where: Where) -> pc.Expression:
    """The filter as an Arrow expression."""
    unnamed = assign_fresh_schema_ids(_pyarrow_to_schema_without_ids(schema))
    return expression_to_pyarrow(bind(unnamed, where, case_sensitive=True))


def shape(rows: pa.Table, schema: pa.Schema, table: Table) -> pa.Table:
    """The rows with the columns of the table; null in those that only a newer release declares."""
    for name in set(schema.names) - {*rows.column_names, *(c.name for c in table.fields)}:
        rows = rows.append_column(schema.field(name), pa.nulls(len(rows), schema.field(name).type))
    return rows.select(schema.names).cast(schema)

"""A Delta table at the time it was loaded, and the rows that were added since some version.

New files are those that the table has now and did not have at that version. If the log has expired
that version, all rows count as new: more work, but no row is missed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from typing_extensions import override

from conf.settings import Settings
from conf.storage import delta_options, file_properties
from streaming.lake.protocol import (
    EVERYTHING,
    Commit,
    Increment,
    TableState,
    Where,
    to_arrow_filter,
)

ROUNDED = timedelta(milliseconds=1)
"""Delta truncates the bounds of times to whole milliseconds."""

log = logging.getLogger("storelake.lake")


def schema_of(delta: DeltaTable) -> pa.Schema:
    """The columns of a table."""
    return pa.schema(delta.schema().to_arrow())


def read(delta: DeltaTable, columns: Sequence[str], where: Where) -> pa.Table:
    """Rows of a table; files outside of the bounds of the filter are not read."""
    dataset = delta.to_pyarrow_dataset()
    wanted = None if "*" in columns else list(columns)
    fitting = None if where is EVERYTHING else to_arrow_filter(dataset.schema, where)
    return dataset.to_table(wanted, filter=fitting)


@dataclass(frozen=True)
class DeltaState(TableState):
    """A Delta table at one version, which is both the id and the sequence of a commit.

    Attributes:
        delta: the loaded table.
        settings: of the deployment, with the access to its files.
    """

    delta: DeltaTable
    settings: Settings

    @property
    @override
    def identity(self) -> str:
        return str(self.delta.metadata().id)

    @property
    @override
    def schema(self) -> pa.Schema:
        return schema_of(self.delta)

    @property
    @override
    def commits(self) -> list[Commit]:
        return self._commits()

    @property
    @override
    def newest(self) -> Commit | None:
        return next(iter(self._commits(1)), None)

    def _commits(self, limit: int | None = None) -> list[Commit]:
        """Newest first; without version 0, which created the table."""
        return [
            Commit(one["version"], one["version"], _at(one["timestamp"]))
            for one in self.delta.history(limit)
            if one["version"]
        ]

    @override
    def added_since(self, sequence: int) -> DeltaIncrement:
        newest = self.newest
        if newest is None or newest.sequence <= sequence:
            return DeltaIncrement(self.delta, self.settings, newest, frozenset())
        now = _paths(self.delta)
        return DeltaIncrement(self.delta, self.settings, newest, now - self._paths_at(sequence))

    def _paths_at(self, version: int) -> frozenset[str]:
        if not version:
            return frozenset()
        try:
            at, options = self.delta.table_uri, delta_options(self.settings)
            return _paths(DeltaTable(at, version=version, storage_options=options))
        except TableNotFoundError:
            log.info(
                "the log of %s has expired version %d: all of its rows count as new",
                self.delta.metadata().name,
                version,
            )
            return frozenset()


@dataclass(frozen=True)
class DeltaIncrement(Increment):
    """Data files of one version that an older one did not have.

    Attributes:
        delta, settings: see `DeltaState`.
        version: its commit; None for a table without rows.
        files: their paths below the table.
    """

    delta: DeltaTable
    settings: Settings
    version: Commit | None
    files: frozenset[str]

    @property
    @override
    def newest(self) -> Commit | None:
        return self.version

    @property
    @override
    def schema(self) -> pa.Schema:
        return schema_of(self.delta)

    @cached_property
    def _actions(self) -> pa.Table:
        """The `add` actions of the files, with their statistics."""
        actions = pa.table(self.delta.get_add_actions(flatten=True))
        ours = pc.is_in(actions["path"], pa.array(sorted(self.files), pa.string()))
        return actions.filter(ours)

    @property
    @override
    def rows(self) -> int:
        return sum(self._actions["num_records"].to_pylist())

    @property
    @override
    def access(self) -> dict[str, str]:
        return {k: v for k, v in file_properties(self.settings).items() if k.startswith("s3.")}

    @property
    @override
    def paths(self) -> list[str]:
        return [f"{self.delta.table_uri.rstrip('/')}/{path}" for path in sorted(self.files)]

    @override
    def span(self, column: str) -> tuple[datetime, datetime] | None:
        """The upper bound of a timestamp may be up to a millisecond too high."""
        kind = self.schema.field(column).type if column in self.schema.names else pa.null()
        if not pa.types.is_temporal(kind) or f"min.{column}" not in self._actions.column_names:
            return None
        low, high = (
            [_moment(one) for one in self._actions[f"{end}.{column}"].to_pylist() if one]
            for end in ("min", "max")
        )
        if not low or not high:
            return None
        return min(low), max(high) + (timedelta(0) if pa.types.is_date(kind) else ROUNDED)

    @override
    def to_arrow(self, columns: Sequence[str] = ("*",)) -> pa.Table:
        whole = self.delta.to_pyarrow_dataset()
        parts = [one for one in whole.get_fragments() if one.path in self.files]
        part = pads.FileSystemDataset(parts, whole.schema, whole.format, whole.filesystem)
        return part.to_table(None if "*" in columns else list(columns))


def _paths(delta: DeltaTable) -> frozenset[str]:
    return frozenset(pa.table(delta.get_add_actions())["path"].to_pylist())


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)


def _moment(value: date | datetime) -> datetime:
    """A bound as a time in UTC; a day is its midnight."""
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)

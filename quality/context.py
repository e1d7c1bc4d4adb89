"""What suites may look at: the lake without Spark, Postgres through the pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from conf.settings import Settings
from conf.stores import Stores
from streaming.lake.protocol import EVERYTHING, Lake, TableState, Where
from streaming.lake.tables import TABLES
from streaming.progress import Progress
from streaming.sinks.postgres import Database

_TABLES = {table.name: table for table in TABLES}


@dataclass
class AuditContext:
    """What a suite may look at beside the rows of its table; all of it is only read, as it is now.

    Attributes:
        now: the time that data is validated at, in UTC.
        lake: tables of the lake, without Spark.
        db: the serving database.
        start: a table and its name -> the sequence number after which rows are validated.
    """

    settings: Settings
    stores: Stores
    now: datetime
    lake: Lake
    db: Database
    start: Callable[[TableState, str], int] = lambda _table, _name: 0

    def table(self, name: str) -> TableState | None:
        """A table of the lake, or None when there is no such table."""
        return self.lake.state(name)

    def scan(self, table: str, columns: Sequence[str], where: Where = EVERYTHING) -> pa.Table:
        """Rows of a table of the lake; no rows and no columns when there is no such table."""
        if self.table(table) is None:
            return pa.table({})
        return self.lake.read(table, columns, where)

    def schema(self, table: str) -> pa.Schema | None:
        """The columns of a table of the lake, as it is now; None when there is no such table."""
        state = self.table(table)
        return None if state is None else state.schema

    def touched(self, table: str) -> tuple[datetime, datetime] | None:
        """First and last time, in UTC, of the rows that have not been validated yet.

        By the statistics of files, in the table's `time_column`; a day counts as its midnight. None
        when nothing is new.
        """
        state = self.table(table)
        if state is None:
            return None
        return state.added_since(self.start(state, table)).span(_TABLES[table].time_column)

    def progress(self, table: str) -> Progress:
        """The newest source positions that a stream has written into a table of the lake."""
        if self.table(table) is None:
            return {}
        return self.lake.progress(_TABLES[table])

    def committed_at(self, table: str) -> datetime | None:
        """The time of the last commit to a table of the lake, in UTC; None before the first."""
        state = self.table(table)
        newest = state.newest if state else None
        return newest.at if newest else None

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Rows of the serving database."""
        return self.db.fetch(sql, parameters)

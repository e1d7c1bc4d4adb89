"""What suites may look at: the lake through PyIceberg, Postgres through the pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.table import Table as IcebergTable

from conf.settings import Settings
from conf.stores import Stores
from quality.increment import added_since
from streaming.connectors.iceberg import Lake
from streaming.connectors.postgres import Database
from streaming.progress import Progress
from streaming.tables import TABLES

_TABLES = {table.name: table for table in TABLES}


@dataclass(frozen=True)
class LiveHouse:
    """The real one; the tables are read as they are at that moment.

    Attributes:
        start: a table and its name -> the sequence number after which rows are judged.
    """

    settings: Settings
    stores: Stores
    now: datetime
    catalog: Catalog
    db: Database
    start: Callable[[IcebergTable, str], int] = lambda _table, _name: 0

    def table(self, name: str) -> IcebergTable | None:
        """A table of the lake, or None when there is no such table."""
        try:
            return self.catalog.load_table(name)
        except NoSuchTableError:
            return None

    def scan(
        self,
        table: str,
        columns: Sequence[str],
        where: BooleanExpression = AlwaysTrue(),  # noqa: B008 (it has no state)
    ) -> pa.Table:
        """Rows of a table of the lake; no rows and no columns when there is no such table."""
        iceberg = self.table(table)
        if iceberg is None:
            return pa.table({})
        return iceberg.scan(row_filter=where, selected_fields=tuple(columns)).to_arrow()

    def schema(self, table: str) -> pa.Schema | None:
        """The columns of a table of the lake, as it is now; None when there is no such table."""
        iceberg = self.table(table)
        return None if iceberg is None else iceberg.schema().as_arrow()

    def touched(self, table: str) -> tuple[datetime, datetime] | None:
        """From when to when the rows are that are judged now, by the statistics of their files."""
        iceberg = self.table(table)
        if iceberg is None:
            return None
        return added_since(iceberg, self.start(iceberg, table)).span(_TABLES[table].time_column)

    def progress(self, table: str) -> Progress:
        """The newest source positions that a stream has written into a table of the lake."""
        if self.table(table) is None:
            return {}
        return Lake(self.settings, self.catalog).progress(_TABLES[table])

    def committed_at(self, table: str) -> datetime | None:
        """When somebody last wrote into a table of the lake, in UTC; None if nobody has."""
        iceberg = self.table(table)
        snapshot = iceberg.current_snapshot() if iceberg else None
        if snapshot is None:
            return None
        return datetime.fromtimestamp(snapshot.timestamp_ms / 1000, tz=timezone.utc)

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Rows of the serving database."""
        return self.db.fetch(sql, parameters)

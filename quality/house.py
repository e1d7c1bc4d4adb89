"""What suites may look at: the lake through PyIceberg, Postgres through the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.table import Table as IcebergTable

from conf.settings import Settings
from conf.stores import Stores
from quality.increment import Increment
from streaming.connectors.postgres import Database
from streaming.tables import TABLES

_TIME_COLUMNS = {table.name: table.time_column for table in TABLES}


def _moment(value: datetime | date) -> datetime:
    """A day counts as its midnight in UTC."""
    if isinstance(value, datetime):
        return value
    return datetime.combine(value, time(), timezone.utc)


@dataclass(frozen=True)
class LiveHouse:
    """The real one; the tables are read as they are at that moment."""

    settings: Settings
    stores: Stores
    now: datetime
    catalog: SqlCatalog
    db: Database
    increments: dict[str, Increment] = field(default_factory=dict)
    """By table, the rows that are being judged."""

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
        """The columns of a table of the lake; None when there is no such table."""
        iceberg = self.table(table)
        return iceberg.schema().as_arrow() if iceberg is not None else None

    def touched(self, table: str) -> tuple[datetime, datetime] | None:
        """From when to when the rows are that are being judged, by the table's `time_column`."""
        increment, column = self.increments.get(table), _TIME_COLUMNS[table]
        if increment is None or not increment.rows:
            return None
        bounds = pc.min_max(increment.to_arrow((column,))[column])
        low, high = (bounds[name].as_py() for name in ("min", "max"))
        return (_moment(low), _moment(high)) if low is not None else None

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Rows of the serving database."""
        return self.db.fetch(sql, parameters)

"""An audit context in memory: Arrow tables and prepared answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from quality.context import AuditContext
from streaming.lake.protocol import EVERYTHING, Where, to_arrow_filter
from streaming.lake.tables import TABLES
from streaming.progress import Progress, advance

_TIME_COLUMNS = {table.name: table.time_column for table in TABLES}


@dataclass
class MemoryContext(AuditContext):
    """A deployment without files and servers.

    Attributes:
        tables: of the lake, by name.
        answers: of the serving database: the text of a query -> its rows; others have none.
        news: table -> result of `touched`; the span of all its rows, if it is not here.
    """

    lake: Any = None
    db: Any = None
    tables: dict[str, pa.Table] = field(default_factory=dict)
    answers: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    news: dict[str, tuple[datetime, datetime] | None] = field(default_factory=dict)

    def scan(
        self,
        table: str,
        columns: Sequence[str],
        where: Where = EVERYTHING,
    ) -> pa.Table:
        """See `AuditContext`."""
        rows = self.tables.get(table)
        if rows is None:
            return pa.table({})
        if where is not EVERYTHING:
            rows = rows.filter(to_arrow_filter(rows.schema, where))
        return rows.select(list(columns))

    def schema(self, table: str) -> pa.Schema | None:
        """See `AuditContext`."""
        rows = self.tables.get(table)
        return None if rows is None else rows.schema

    def touched(self, table: str) -> tuple[datetime, datetime] | None:
        """See `AuditContext`."""
        if table in self.news:
            return self.news[table]
        rows = self.tables.get(table)
        column = _TIME_COLUMNS[table]
        if rows is None or not rows.num_rows or column not in rows.column_names:
            return None
        bounds = pc.min_max(rows[column].cast(pa.timestamp("us"))).as_py()
        if bounds["min"] is None:
            return None
        low, high = (bounds[end].replace(tzinfo=timezone.utc) for end in ("min", "max"))
        return low, high

    def progress(self, table: str) -> Progress:
        """See `AuditContext`; here computed from the rows."""
        rows = self.tables.get(table)
        return {} if rows is None or not rows.num_rows else advance({}, rows)

    def committed_at(self, table: str) -> datetime | None:
        """See `AuditContext`; here it is now."""
        return self.now if table in self.tables else None

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """See `AuditContext`."""
        return [dict(row) for row in self.answers.get(sql, ())]

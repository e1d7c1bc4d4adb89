"""`SHOW TABLES`: the tables and views of all namespaces, which no engine lists by itself."""

from __future__ import annotations

import re

from conf.settings import Settings
from queries.engine import RowStream
from queries.lake import open_shelf

SHOW_TABLES = re.compile(r"SHOW\s+TABLES(?:\s+(?:FROM|IN)\s+(?:\w+\.)?(\w+))?\s*;?", re.IGNORECASE)
SHOW_COLUMNS = re.compile(r"^\s*SHOW\s+COLUMNS\s+(?:FROM|IN)\s+", re.IGNORECASE)
"""DuckDB has none, nor has Spark for a view; both have DESCRIBE."""


def show_tables(settings: Settings, sql: str) -> RowStream | None:
    """The answer from the catalog, the same for every engine; None for another statement."""
    found = SHOW_TABLES.fullmatch(sql.strip())
    if found is None:
        return None
    with open_shelf(settings) as shelf:
        rows = [
            (*name.split(".", 1), "VIEW" if shelf.is_view(name) else "BASE TABLE")
            for name in shelf.names()
        ]
    chosen = [row for row in rows if found[1] in {None, row[0]}]
    return RowStream.of(("table_schema", "table_name", "table_type"), ("VARCHAR",) * 3, chosen)

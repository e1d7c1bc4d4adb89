"""`SHOW TABLES`: the tables and views of all namespaces, which no engine lists by itself."""

from __future__ import annotations

import re

from conf.settings import Settings
from queries.engine import QueryError, RowStream
from queries.lake import open_shelf
from queries.references import COMMENT

SHOW_TABLES = re.compile(r"SHOW\s+TABLES(?:\s+(?:FROM|IN)\s+(?:\w+\.)?(\w+))?[\s;]*", re.IGNORECASE)
SHOW_COLUMNS = re.compile(r"^\s*SHOW\s+COLUMNS\s+(?:FROM|IN)\s+", re.IGNORECASE)
"""DuckDB has none, nor has Spark for a view; both have DESCRIBE."""


def show_tables(settings: Settings, sql: str) -> RowStream | None:
    """The answer from the catalog, the same for every engine; None for another statement.

    Raises:
        QueryError: there is no such namespace.
    """
    found = SHOW_TABLES.fullmatch(COMMENT.sub(" ", sql).strip())
    if found is None:
        return None
    with open_shelf(settings) as shelf:
        rows = [
            (*name.split(".", 1), "VIEW" if shelf.is_view(name) else "BASE TABLE")
            for name in shelf.names()
        ]
    wanted = found[1] and found[1].lower()
    chosen = [row for row in rows if wanted in {None, row[0].lower()}]
    if wanted and not chosen:
        known = ", ".join(sorted({row[0] for row in rows}))
        raise QueryError(f"The lake has no namespace {found[1]}: there are {known}.")
    return RowStream.of(("table_schema", "table_name", "table_type"), ("VARCHAR",) * 3, chosen)

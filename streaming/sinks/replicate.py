"""Replicates tables that Postgres computes to the lake, row by row as they change.

Replication follows `change_id`, which rises with every change in Postgres. The cursor is the
highest one in the lake table itself, so the next call copies what a crash has left out. Rows carry
absolute values and are written by key, so copying one twice changes nothing. They are copied in the
order of their changes, a part at a time: a new table in the lake gets years of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streaming.lake.tables import Table
from streaming.stream import SinkContext

ROWS_AT_ONCE = 20_000
"""Rows in memory, and in one commit."""


def replicate(sink_context: SinkContext, table: Table) -> int:
    """Copy the rows that changed since the last copy.

    Args:
        sink_context: of the stream that is the only writer of both tables.
        table: the lake table, with `copy_of`; its column names are a subset of that one's, and its
            `time_column` is in the key and bounds the upsert.

    Returns:
        The number of rows copied.
    """
    # S608: names come from this repository, not from input.
    query = f"SELECT {', '.join(_known(sink_context, table)[1].names)} FROM {table.copy_of}"  # noqa: S608
    return replicate_rows(sink_context, table, query, ROWS_AT_ONCE)


def replicate_rows(
    sink_context: SinkContext,
    table: Table,
    query: str,
    at_once: int,
    to_row: Callable[[dict[str, Any]], dict[str, Any]] = dict,
) -> int:
    """The same of the rows of a query.

    Args:
        sink_context: of the stream.
        table: the lake table.
        query: of all rows, with their `change_id`; without a condition.
        at_once: rows in memory.
        to_row: a row of the query -> one of the table.
    """
    query += " WHERE change_id > %s ORDER BY change_id LIMIT %s"
    copied, found = 0, at_once
    while found == at_once:
        cursor, schema = _known(sink_context, table)
        changed = [to_row(row) for row in sink_context.db.fetch(query, (cursor, at_once))]
        found = len(changed)
        if changed:
            rows = pa.Table.from_pylist(changed, schema=schema)
            sink_context.lake.upsert(table, rows, table.time_column)
            sink_context.memory[table.name] = (newest_change(rows), schema)
        copied += found
    return copied


def _known(sink_context: SinkContext, table: Table) -> tuple[int, pa.Schema]:
    """The newest change in a table of the lake, and its schema."""
    if table.name not in sink_context.memory:
        copied = newest_change(sink_context.lake.read(table.name, ("change_id",)))
        sink_context.memory[table.name] = (copied, sink_context.lake.schema(table.name))
    known: tuple[int, pa.Schema] = sink_context.memory[table.name]
    return known


def newest_change(rows: pa.Table, column: str = "change_id") -> int:
    """The highest change id in the rows; 0 without any."""
    newest = pc.max(rows[column]).as_py()
    return int(newest or 0)

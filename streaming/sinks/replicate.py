"""Replicates tables that Postgres computes to the lake, row by row as they change.

Replication follows `change_id`, which rises with every change in Postgres. The cursor is the
highest one in the lake table itself, so the next call copies what a crash has left out. Rows carry
absolute values and are written by key, so copying one twice changes nothing.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from streaming.lake.tables import Table
from streaming.stream import SinkContext


def replicate(sink_context: SinkContext, table: Table) -> int:
    """Copy the rows that changed since the last copy.

    Args:
        sink_context: of the stream that is the only writer of both tables.
        table: the lake table, with `copy_of`; its column names are a subset of that one's, and its
            `time_column` is in the key and bounds the upsert.

    Returns:
        The number of rows copied.
    """
    if table.name not in sink_context.memory:
        copied = newest_change(sink_context.lake.read(table.name, ("change_id",)))
        sink_context.memory[table.name] = (copied, sink_context.lake.schema(table.name))
    cursor, schema = sink_context.memory[table.name]
    # S608: names come from this repository, not from input.
    query = f"SELECT {', '.join(schema.names)} FROM {table.copy_of} WHERE change_id > %s"  # noqa: S608
    rows = pa.Table.from_pylist(sink_context.db.fetch(query, (cursor,)), schema=schema)
    if rows.num_rows:
        sink_context.lake.upsert(table, rows, table.time_column)
        sink_context.memory[table.name] = (newest_change(rows), schema)
    return int(rows.num_rows)


def newest_change(rows: pa.Table, column: str = "change_id") -> int:
    """The highest change id in the rows; 0 without any."""
    newest = pc.max(rows[column]).as_py()
    return int(newest or 0)

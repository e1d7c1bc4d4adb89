"""Gold tables that Postgres computes, copied to the lake row by row as they change.

The copy follows `change_id`, which rises with every change in Postgres. The cursor is the highest
one in the lake table itself: whatever a crash leaves behind, the next batch copies. Rows carry
absolute values and are written by key, so a copy may happen twice.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from streaming.runner import Batch
from streaming.tables import Table


def mirror(batch: Batch, table: Table, source: str, time_key: str) -> int:
    """Copy the rows of the Postgres table `source` that changed since the last copy.

    Args:
        batch: its query must be the only writer of both tables.
        table: the lake table; its column names are a subset of the source's.
        source: the Postgres table, with `change_id`.
        time_key: the key column that bounds the upsert.

    Returns:
        The number of rows copied.
    """
    cursor = batch.memory.get("mirrored")
    if cursor is None:
        cursor = newest_change(
            batch.lake.load(table).scan(selected_fields=("change_id",)).to_arrow()
        )
    schema = batch.lake.load(table).schema().as_arrow()
    # S608: names come from this repository, not from input.
    query = f"SELECT {', '.join(schema.names)} FROM {source} WHERE change_id > %s"  # noqa: S608
    rows = pa.Table.from_pylist(batch.db.fetch(query, (cursor,)), schema=schema)
    if rows.num_rows:
        batch.lake.upsert(table, rows, time_key)
        cursor = newest_change(rows)
    batch.memory["mirrored"] = cursor
    return int(rows.num_rows)


def newest_change(rows: pa.Table, column: str = "change_id") -> int:
    """The highest change id in the rows; 0 without any."""
    newest = pc.max(rows[column]).as_py()
    return int(newest or 0)

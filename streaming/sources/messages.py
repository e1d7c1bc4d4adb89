"""Stores messages as received in Postgres tables, such as those of rejected messages."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.types.json import Json

from streaming.source import SOURCE_COLUMNS

MESSAGE_COLUMNS = {
    "topic": "text",
    "partition": "int4",
    "position": "text",
    "key": "bytea",
    "value": "bytea",
    "headers": "json",
    "received_at": "timestamptz",
}
"""Columns of a table of messages. `headers`: pairs of name and value (base64)."""

Header = tuple[str, bytes | None]


def header_pairs(headers: Sequence[Mapping[str, Any]] | None) -> list[Header]:
    """Headers of a source row as pairs."""
    return [(h["key"], h["value"]) for h in headers or []]


def headers_from_json(pairs: Sequence[Sequence[str | None]] | None) -> list[dict[str, Any]] | None:
    """The column `headers` -> headers of a source row."""
    if pairs is None:
        return None
    return [{"key": k, "value": None if v is None else base64.b64decode(v)} for k, v in pairs]


def message_rows(rows: pa.Table) -> Iterator[tuple[dict[str, Any], tuple[Any, ...]]]:
    """Each row as a dict, and the values of `MESSAGE_COLUMNS`.

    Args:
        rows: missing source columns count as null; a missing time becomes the present one.
    """
    now = datetime.now(timezone.utc)
    for batch in rows.to_batches(max_chunksize=100):  # large values are in memory a few at a time
        for row in batch.to_pylist():
            message = {name: row.get(name) for name in SOURCE_COLUMNS}
            headers = header_pairs(message["headers"])
            yield (
                row,
                (
                    *(message[name] for name in ("topic", "partition", "position", "key", "value")),
                    Json(_as_json(headers)) if headers else None,
                    message["timestamp"] or now,
                ),
            )


def insert_messages(
    connection: psycopg.Connection[Any],
    table: str,
    columns: Mapping[str, str],
    values: Iterable[Sequence[Any]],
) -> None:
    """Insert rows that the table does not hold yet, by COPY into a temporary table.

    Args:
        connection: in a transaction.
        table: with a primary key; existing rows are not changed.
        columns: name -> Postgres type.
        values: one sequence per row, in the order of the columns.
    """
    staged, target = sql.Identifier(f"new_{table}"), sql.Identifier(table)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    ddl = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    create = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS")
    connection.execute(create.format(staged, sql.SQL(ddl)))
    copy_sql = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(staged, names)
    with connection.cursor() as cursor, cursor.copy(copy_sql) as copy:
        copy.set_types(list(columns.values()))
        for row in values:
            copy.write_row(row)
    insert = "INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING"
    connection.execute(sql.SQL(insert).format(target, names, names, staged))


def _as_json(headers: Sequence[Header]) -> list[list[str | None]]:
    return [[n, None if v is None else base64.b64encode(v).decode()] for n, v in headers]

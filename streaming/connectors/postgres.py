"""The serving database: one transaction a micro-batch, with its row in the ledger.

Delivery guarantee: exactly-once in effect. `stream_batches(query_id, batch_id)` and every row of the
batch commit together; a batch whose ledger row exists is skipped, whatever is in it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import psycopg
import pyarrow as pa
import pyarrow.csv as pa_csv
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

T = TypeVar("T")


class Database:
    """A pool of connections and the ledger.

    Args:
        dsn: a libpq connection string.
        pool_size: connections at most.
    """

    def __init__(self, dsn: str, pool_size: int) -> None:
        self._pool = ConnectionPool(
            dsn,
            min_size=1,
            max_size=pool_size,
            timeout=10,
            check=ConnectionPool.check_connection,
            kwargs={"options": "-c timezone=UTC -c application_name=storelake"},
            open=True,
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction: committed at the end, rolled back on an error."""
        with self._pool.connection() as connection, connection.transaction():
            yield connection

    def commit_batch(
        self,
        query_id: str,
        batch_id: int,
        work: Callable[[psycopg.Connection[Any]], T],
        *,
        rows_in: int = 0,
        watermark: datetime | None = None,
    ) -> T | None:
        """Run `work` and write the ledger row in one transaction.

        Returns:
            What `work` returned, or None when the ledger already has the batch: then nothing runs.
        """
        with self.transaction() as connection:
            fresh = connection.execute(
                "INSERT INTO stream_batches (query_id, batch_id, rows_in, watermark) "
                "VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (query_id, batch_id, rows_in, watermark),
            ).rowcount
            return work(connection) if fresh else None

    def watermark_before(self, query_id: str, batch_id: int) -> datetime | None:
        """The highest watermark of the batches before this one (UTC), or None at the start."""
        with self.transaction() as connection:
            row = connection.execute(
                "SELECT max(watermark) FROM stream_batches WHERE query_id = %s AND batch_id < %s",
                (query_id, batch_id),
            ).fetchone()
        return row[0] if row else None

    def fetch(self, query: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Rows of a query, as dicts."""
        with self.transaction() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.encode(), parameters).fetchall()


def stage(
    connection: psycopg.Connection[Any], name: str, columns: Mapping[str, str], rows: pa.Table
) -> None:
    """COPY an Arrow table into the temporary table `name`, empty at every transaction.

    Args:
        connection: in a transaction.
        name: of the temporary table.
        columns: their names and Postgres types; `rows` has them, flat (JSON travels as text).
        rows: a null stays a null, an empty text stays one.
    """
    table = sql.Identifier(name)
    ddl = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    create = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS")
    connection.execute(create.format(table, sql.SQL(ddl)))  # type: ignore[arg-type]
    buffer = io.BytesIO()
    pa_csv.write_csv(rows.select(list(columns)), buffer, pa_csv.WriteOptions(include_header=False))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(table)) as copy,
    ):
        copy.write(buffer.getbuffer())

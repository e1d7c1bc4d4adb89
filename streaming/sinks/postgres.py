"""The serving database: one transaction per micro-batch, with its positions and its ledger row.

Delivery guarantee: exactly-once in effect. The rows of a batch, their newest source positions
(`stream_offsets`) and the ledger row (`stream_batches`) commit together; rows up to the committed
positions are dropped first. Where the process holds leases, each transaction of a stream checks its
epoch: it fails if another application has taken the stream over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

import psycopg
import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from streaming.progress import Progress, advance, fresh
from streaming.sources.silence import SilenceWatch

STREAM_BOUNDS = (
    "-c lock_timeout=60s -c statement_timeout=600s -c idle_in_transaction_session_timeout=300s"
)
"""Timeouts of the transactions of streams. They wait for locks of `storelake restate`; a client
that has lost its network loses its own locks."""

_OFFSETS_SQL = """
    INSERT INTO stream_offsets (stream, topic, partition, position) VALUES (%s, %s, %s, %s)
    ON CONFLICT (stream, topic, partition) DO UPDATE SET position = EXCLUDED.position"""

_LEDGER_SQL = """
    INSERT INTO stream_batches AS b (query_id, batch_id, rows_in, rows_new, watermark)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (query_id, batch_id) DO UPDATE SET
        rows_in = b.rows_in + EXCLUDED.rows_in, rows_new = b.rows_new + EXCLUDED.rows_new,
        runs = b.runs + 1,
        watermark = greatest(b.watermark, EXCLUDED.watermark), committed_at = now()"""


_WATERMARK_SQL = """
    INSERT INTO stream_watermarks AS w (stream, watermark) VALUES (%s, %s)
    ON CONFLICT (stream) DO UPDATE SET watermark = greatest(w.watermark, EXCLUDED.watermark)"""

_ARROW_TYPES = {
    "text": pa.string(),
    "jsonb": pa.string(),
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", "UTC"),
}
"""Type of a staged column -> type of its values. An amount is staged as text."""


def committed(connection: psycopg.Connection[Any], stream: str) -> tuple[Progress, datetime | None]:
    """Committed positions of a stream, and its watermark (UTC), by an open transaction."""
    offsets = connection.execute(
        "SELECT topic, partition, position FROM stream_offsets WHERE stream = %s", (stream,)
    ).fetchall()
    newest = connection.execute(
        "SELECT watermark FROM stream_watermarks WHERE stream = %s", (stream,)
    ).fetchone()
    done = {(topic, partition): position for topic, partition, position in offsets}
    return done, newest[0] if newest else None


class Fence(Protocol):
    """Checks that this process may write for a stream (`streaming.lease.Leases`)."""

    def require(self, connection: psycopg.Connection[Any], stream: str) -> None:
        """Raise where another application has taken the stream over."""


class Database:
    """A pool of connections and the ledger.

    Args:
        dsn: a libpq connection string.
        pool_size: connections at most.
        fence: checked by each transaction of a stream; None for readers and single commands.
        options: of each session, as libpq takes them.
    """

    def __init__(
        self, dsn: str, pool_size: int, fence: Fence | None = None, options: str = ""
    ) -> None:
        self._fence = fence
        self._silence = SilenceWatch(dsn)
        self._pool = ConnectionPool(
            dsn,
            min_size=1,
            max_size=pool_size,
            timeout=10,
            check=ConnectionPool.check_connection,
            kwargs={"options": f"-c timezone=UTC -c application_name=storelake {options}"},
            open=True,
        )

    def close(self) -> None:
        """Close every connection."""
        self._silence.close()
        self._pool.close()

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction: committed at the end, rolled back on an error."""
        with (
            self._pool.connection() as connection,
            self._silence.operation(connection),
            connection.transaction(),
        ):
            yield connection

    @contextmanager
    def writing(self, stream: str) -> Iterator[psycopg.Connection[Any]]:
        """A transaction that writes for a stream; other writers of the stream wait.

        Raises:
            FencedError: another application has taken the stream over.
        """
        with self.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (stream,))
            if self._fence is not None:
                self._fence.require(connection, stream)
            yield connection

    def progress(self, stream: str) -> tuple[Progress, datetime | None]:
        """Committed positions of a stream, and its watermark (UTC)."""
        with self.transaction() as connection:
            return committed(connection, stream)

    def commit_batch(
        self,
        stream: str,
        batch_id: int,
        rows: pa.Table,
        write: Callable[[psycopg.Connection[Any], pa.Table], None],
        *,
        watermark: datetime | None = None,
    ) -> int:
        """Write the new rows, the positions and the ledger row in one transaction.

        Args:
            stream: its name; a stream has one writer at a time.
            batch_id: of the query that runs the stream.
            rows: with topic, partition, position.
            write: called with the connection and the new rows, when there are any.
            watermark: of the stream after this batch.

        Returns:
            The number of new rows.
        """
        if not rows.num_rows:
            return 0
        with self.writing(stream) as connection:
            done, _ = committed(connection, stream)
            new = fresh(rows, done)
            if new.num_rows:
                write(connection, new)
                with connection.cursor() as cursor:
                    cursor.executemany(
                        _OFFSETS_SQL, [(stream, *at, p) for at, p in advance({}, new).items()]
                    )
            connection.execute(
                _LEDGER_SQL, (stream, batch_id, rows.num_rows, new.num_rows, watermark)
            )
            if watermark is not None:
                connection.execute(_WATERMARK_SQL, (stream, watermark))
            return int(new.num_rows)

    def expire_batches(self, keep: timedelta) -> int:
        """Delete ledger rows of batches that were committed longer ago; returns how many."""
        with self.transaction() as connection:
            return connection.execute(
                "DELETE FROM stream_batches WHERE committed_at < now() - %s", (keep,)
            ).rowcount

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
        columns: name -> Postgres type, one of `_ARROW_TYPES`.
        rows: with these columns, in a type that can be cast (JSON as text).
    """
    table = sql.Identifier(name)
    ddl = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    create = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT DELETE ROWS")
    connection.execute(create.format(table, sql.SQL(ddl)))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table)) as copy,
    ):
        for part in _binary(rows, columns):
            copy.write(part)


def _binary(rows: pa.Table, columns: Mapping[str, str]) -> Iterator[bytes]:
    """The columns in the binary format of COPY."""
    types = {name: kind.removesuffix(' COLLATE "C"') for name, kind in columns.items()}
    schema = pa.schema([(name, _ARROW_TYPES[kind]) for name, kind in types.items()])
    encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(
        schema,
        {field.name: _encoder(field, types[field.name]) for field in schema},
    )
    yield encoder.write_header()
    for batch in rows.select(schema.names).cast(schema).to_batches():
        yield encoder.write_batch(batch)
    yield encoder.finish()


def _encoder(field: pa.Field, kind: str) -> Any:
    if kind == "jsonb":
        return StringEncoderBuilder.new_with_output(field, Jsonb())
    return ArrowToPostgresBinaryEncoder.infer_encoder(field)

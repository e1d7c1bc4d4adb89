"""The serving database: rows and their source positions in one transaction.

Delivery guarantee: exactly-once in effect. Rows and their newest source positions
(`stream_offsets`) commit together; rows up to the committed positions are dropped first. The ledger
(`stream_batches`) and the watermark of a stream follow when all rows of a micro-batch are there.
Where the process holds leases, each transaction of a stream checks its epoch: it fails if another
application has taken the stream over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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


_LOCK_SQL = """
    SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0)),
        (SELECT count(pg_advisory_xact_lock(hashtextextended(p, 0))) FROM unnest(%s::text[]) p)"""

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


@dataclass(frozen=True)
class ClosedBatch:
    """What a micro-batch was for one stream.

    Attributes:
        rows: that its sink passed to Postgres.
        new: of these.
        watermark: of the stream after it (UTC).
    """

    rows: int
    new: int
    watermark: datetime | None = None


class Fence(Protocol):
    """Checks that this process may write for a stream (`streaming.runtime.lease.Leases`)."""

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
        self.fence = fence
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
        """A transaction that writes for a stream; all other writers of the stream wait.

        Raises:
            FencedError: another application has taken the stream over.
        """
        with self.transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (stream,))
            self._check_lease(connection, stream)
            yield connection

    @contextmanager
    def _writing_rows(self, stream: str, rows: pa.Table) -> Iterator[psycopg.Connection[Any]]:
        """The same for the topic partitions of some rows: writers of other partitions go on."""
        held = sorted({(t, n) for t, n in advance({}, rows)})
        with self.transaction() as connection:
            connection.execute(_LOCK_SQL, (stream, [f"{stream}/{t}/{n}" for t, n in held]))
            self._check_lease(connection, stream)
            yield connection

    def _check_lease(self, connection: psycopg.Connection[Any], stream: str) -> None:
        if self.fence is not None:
            self.fence.require(connection, stream)

    def progress(self, stream: str) -> tuple[Progress, datetime | None]:
        """Committed positions of a stream, and its watermark (UTC)."""
        with self.transaction() as connection:
            return committed(connection, stream)

    def commit_rows(
        self,
        stream: str,
        rows: pa.Table,
        write: Callable[[psycopg.Connection[Any], pa.Table], None],
    ) -> int:
        """Write the new rows and their positions in one transaction.

        Several processes may do so at once for one stream, for different topic partitions. Of two
        that hold the same partition, one waits, and then finds its rows committed.

        Args:
            stream: its name.
            rows: with topic, partition, position.
            write: called with the connection and the new rows, when there are any.

        Returns:
            The number of new rows.

        Raises:
            FencedError: another application has taken the stream over.
        """
        if not rows.num_rows:
            return 0
        with self._writing_rows(stream, rows) as connection:
            done, _ = committed(connection, stream)
            new = fresh(rows, done)
            if new.num_rows:
                write(connection, new)
                with connection.cursor() as cursor:
                    cursor.executemany(
                        _OFFSETS_SQL, [(stream, *at, p) for at, p in advance({}, new).items()]
                    )
            return int(new.num_rows)

    def close_batch(self, batch_id: int, streams: Mapping[str, ClosedBatch]) -> None:
        """Write the ledger rows and the watermarks of a micro-batch whose rows are committed.

        A batch that is repeated is added to its ledger row. A watermark never falls.
        """
        if not streams:  # a query of the lake alone needs no Postgres
            return
        with self.transaction() as connection, connection.cursor() as cursor:
            cursor.executemany(
                _LEDGER_SQL,
                [(name, batch_id, b.rows, b.new, b.watermark) for name, b in streams.items()],
            )
            moved = [(name, b.watermark) for name, b in streams.items() if b.watermark]
            cursor.executemany(_WATERMARK_SQL, moved)

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


def advance_stored_watermark(
    connection: psycopg.Connection[Any], stream: str, watermark: datetime | None
) -> None:
    """Move the watermark of a stream, with rows that depend on it; it never falls."""
    if watermark is not None:
        connection.execute(_WATERMARK_SQL, (stream, watermark))


def stage(
    connection: psycopg.Connection[Any],
    name: str,
    columns: Mapping[str, str],
    rows: pa.Table,
    *,
    keep: bool = False,
) -> None:
    """COPY an Arrow table into the temporary table `name`, in place of what it holds.

    Args:
        connection: in a transaction.
        name: of the temporary table.
        columns: name -> Postgres type, one of `_ARROW_TYPES`.
        rows: with these columns, in a type that can be cast (JSON as text).
        keep: the rows beyond the transaction; always the same for a table of one session.
    """
    table = sql.Identifier(name)
    ddl = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
    at_commit = sql.SQL("PRESERVE" if keep else "DELETE")
    create = sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} ({}) ON COMMIT {} ROWS")
    connection.execute(create.format(table, sql.SQL(ddl), at_commit))
    if keep:
        connection.execute(sql.SQL("TRUNCATE {}").format(table))
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

"""The console's way into the database: few connections, read only, impatient.

The role may read what `infra/postgres/roles.py` names; the connections could not write if it might.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from psycopg_pool import ConnectionPool, PoolTimeout

POOL_SECONDS = 2.0
CONNECTIONS = 2


def check_connection(dsn: str) -> None:
    """Come into the database and leave again.

    Raises:
        psycopg.OperationalError: with the reason of the server, or of the network.
    """
    psycopg.connect(dsn, connect_timeout=int(POOL_SECONDS)).close()


class ReadSnapshot:
    """One consistent look at the database: every question sees the same moment."""

    def __init__(self, connection: psycopg.Connection[Any], at: datetime) -> None:
        self.at = at
        self._connection = connection

    def ask(self, query: str, parameters: Mapping[str, Any]) -> list[Any]:
        """The rows as named tuples; a query that fails leaves the snapshot usable.

        Raises:
            psycopg.Error: it failed; `OperationalError` where the database went away.
        """
        with (
            self._connection.transaction(),
            self._connection.cursor(row_factory=namedtuple_row) as cursor,
        ):
            return cursor.execute(query.encode(), parameters).fetchall()


class Reader:
    """A pool of connections that only read.

    Args:
        dsn: a libpq connection string, of the console's role.
        timeout: of each question.
    """

    def __init__(self, dsn: str, timeout: timedelta) -> None:
        milliseconds = int(timeout / timedelta(milliseconds=1))
        options = (
            "-c timezone=UTC -c application_name=storelake-console "
            f"-c default_transaction_read_only=on -c statement_timeout={milliseconds} "
            r"-c default_transaction_isolation=repeatable\ read"
        )
        self._dsn = dsn
        self._pool = ConnectionPool(
            dsn,
            min_size=0,  # so that a database which is away is tried at every look, without pauses
            max_size=CONNECTIONS,
            timeout=POOL_SECONDS,
            reconnect_timeout=POOL_SECONDS,
            check=ConnectionPool.check_connection,
            kwargs={"options": options},
            open=True,
        )

    @contextmanager
    def look(self) -> Iterator[ReadSnapshot]:
        """A snapshot of the database, with the database's own time (UTC).

        Raises:
            psycopg.OperationalError: there is no way in.
        """
        with self._connection() as connection:
            row = connection.execute("SELECT now()").fetchone()
            assert row is not None  # noqa: S101 - for the types
            yield ReadSnapshot(connection, row[0])

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            pooled = self._pool.getconn()
        except PoolTimeout:
            check_connection(self._dsn)  # states why, which the pool does not
            raise
        try:
            with pooled:
                yield pooled
        finally:
            self._pool.putconn(pooled)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

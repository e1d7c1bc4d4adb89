"""Finds connections to Postgres on which no answer will come, and closes them.

TCP keep-alive finds a peer that is gone. It does not find a stopped server, nor a proxy that keeps
a connection open and forwards nothing: there a client waits for ever. So long operations are
checked through a second connection, which queries whether the backend still works. Where it does
not, or where the server does not answer at all, the socket is shut down: the waiting thread gets an
`OperationalError`, as after a reset. A statement that is only slow continues.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

log = logging.getLogger("storelake.postgres")

LOOK_SECONDS = 5.0
SLOW_SECONDS = 25.0
"""An operation that takes longer is checked; two equal bad results close it, within 40 s."""

_WORKS_SQL = """
    SELECT state = 'active' AND wait_event_type IS DISTINCT FROM 'Client', state_change
    FROM pg_stat_activity WHERE pid = %s"""

UNREACHABLE = "the server does not answer"
WAITING = "the server waits for this client, and this client for the server"


@dataclass
class _Operation:
    """A connection in use, the start of its use (monotonic), and the last bad result."""

    connection: psycopg.Connection[Any]
    since: float
    suspicion: tuple[Any, ...] | None = None


class SilenceWatch:
    """Checks the operations of one process on one server, in a thread of its own.

    Args:
        dsn: a libpq connection string, for the second connection.
        slow_seconds: time after which an operation is checked.
        look_seconds: between two checks.
    """

    def __init__(
        self, dsn: str, slow_seconds: float = SLOW_SECONDS, look_seconds: float = LOOK_SECONDS
    ) -> None:
        self._dsn, self._slow, self._pause = dsn, slow_seconds, look_seconds
        self._operations: dict[int, _Operation] = {}
        self._over = threading.Event()
        threading.Thread(target=self._run, name="silence", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()

    @contextmanager
    def operation(self, connection: psycopg.Connection[Any]) -> Iterator[None]:
        """Watch a connection while inside."""
        self.begin(connection)
        try:
            yield
        finally:
            self.end(connection)

    def begin(self, connection: psycopg.Connection[Any]) -> None:
        """Watch a connection until `end`."""
        self._operations[id(connection)] = _Operation(connection, time.monotonic())

    def end(self, connection: psycopg.Connection[Any]) -> None:
        """Stop watching a connection."""
        self._operations.pop(id(connection), None)

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            for operation in list(self._operations.values()):
                if time.monotonic() - operation.since > self._slow:
                    self._look(operation)

    def _look(self, operation: _Operation) -> None:
        """Close a connection after two equal bad results in a row."""
        connection = operation.connection
        with suppress(psycopg.Error, OSError):  # it has ended meanwhile
            if connection.pgconn.transaction_status != TransactionStatus.ACTIVE:
                operation.suspicion = None  # between two statements: this process works
                return
            before, operation.suspicion = operation.suspicion, self._suspicion(connection)
            if operation.suspicion is None or operation.suspicion != before:
                return
            seconds = time.monotonic() - operation.since
            log.error("no answer from Postgres for %.0f s (%s): reconnecting", seconds, before[0])
            self.end(connection)
            with socket.socket(fileno=os.dup(connection.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)

    def _suspicion(self, connection: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
        """The problem of a connection that waits for the server; None while the server works."""
        backend = connection.pgconn.backend_pid
        try:
            with psycopg.connect(self._dsn, options="-c statement_timeout=3s") as other:
                row = other.execute(_WORKS_SQL, (backend,)).fetchone()
        except psycopg.Error:
            return (UNREACHABLE,)
        works, changed_at = row or (False, None)
        return None if works else (WAITING, changed_at)

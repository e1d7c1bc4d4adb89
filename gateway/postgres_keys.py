"""The keys in Postgres, read over one connection that is made again when it breaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import psycopg

from gateway.keys import Key, KeyStoreError

_READ = """
    SELECT id, branches, scopes, secret_sha256, expires_at, previous_sha256, previous_ends_at
    FROM gateway_keys WHERE revoked_at IS NULL AND expires_at > now()
"""
_SAVE = """
    UPDATE gateway_keys k SET last_used_at = u.at
    FROM unnest(%s::text[], %s::timestamptz[]) AS u (id, at)
    WHERE k.id = u.id AND (k.last_used_at IS NULL OR k.last_used_at < u.at)
"""


class PostgresKeys:
    """The table `gateway_keys`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def read(self) -> Mapping[str, Key]:
        """All keys that are neither revoked nor expired."""
        async with self._connected() as connection:
            rows = await (await connection.execute(_READ)).fetchall()
        return {row[0]: _key(row) for row in rows}

    async def save_used(self, used: Mapping[str, datetime]) -> None:
        """Move `last_used_at` of the keys forward, never back."""
        async with self._connected() as connection:
            await connection.execute(_SAVE, (list(used), list(used.values())))

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            if self._connection is None:
                self._connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True)
            yield self._connection
        except BaseException as error:  # cancelled in the middle of a query, too
            await self.close()
            if isinstance(error, psycopg.Error):
                raise KeyStoreError(str(error)) from error
            raise


def _key(row: tuple[Any, ...]) -> Key:
    key_id, branches, scopes, secret, ends, previous, previous_ends = row
    secrets = [(secret, ends)] + ([(previous, previous_ends)] if previous else [])
    whose = None if branches is None else frozenset(branches)
    return Key(key_id, whose, frozenset(scopes), tuple(secrets))

"""The table of the gateway's keys, as operators change it. The gateway reads it by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg

from conf.errors import database_down
from conf.gateway_keys import KeyParts, new_key, read_key
from conf.settings import Settings
from infra.errors import ServiceError

_STATE = """CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired'
    WHEN previous_ends_at > now() THEN 'rotating' ELSE 'valid' END"""


class KeyRow(NamedTuple):
    """A key without its secret; `branches` is None where it is for all of them; times in UTC."""

    id: str
    name: str
    branches: list[str] | None
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    state: str


def create_key(
    settings: Settings,
    *,
    name: str,
    branches: Sequence[str] | None,
    scopes: Sequence[str],
    lifetime: timedelta,
    key: KeyParts | None = None,
) -> KeyParts:
    """Store a new key; its secret is in what is returned, and nowhere else.

    A `key` that is given is stored, unless its id is there already, revoked or not.

    Raises:
        ServiceError: Postgres does not answer, or has no such table yet.
    """
    key = key or new_key()
    with _connection(settings) as connection:
        connection.execute(
            "INSERT INTO gateway_keys (id, name, branches, scopes, secret_sha256, expires_at) "
            "VALUES (%s, %s, %s, %s, %s, now() + %s) ON CONFLICT (id) DO NOTHING",
            (
                key.id,
                name,
                list(branches) if branches else None,
                list(scopes),
                key.digest,
                lifetime,
            ),
        )
    return key


def list_keys(settings: Settings) -> list[KeyRow]:
    """All keys, the newest first; revoked and expired ones, too."""
    with _connection(settings) as connection:
        rows = connection.execute(
            "SELECT id, name, branches, scopes, created_at, expires_at, last_used_at, "  # noqa: S608
            f"{_STATE} AS state FROM gateway_keys ORDER BY created_at DESC, id"
        )
        return [KeyRow(*row) for row in rows]


def revoke_key(settings: Settings, key_id: str) -> None:
    """End a key and all its secrets; one that is revoked keeps its time."""
    with _connection(settings) as connection:
        changed = connection.execute(
            "UPDATE gateway_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = %s",
            (key_id,),
        )
        _require(changed.rowcount, f"No key has the id {key_id}: see `storelake keys list`.")


def rotate_key(
    settings: Settings, key_id: str, *, overlap: timedelta, lifetime: timedelta
) -> KeyParts:
    """Give a key a new secret; the present one ends after the overlap, an older one at once."""
    key = new_key(key_id)
    with _connection(settings) as connection:
        changed = connection.execute(
            "UPDATE gateway_keys SET previous_sha256 = secret_sha256, "
            "previous_ends_at = least(expires_at, now() + %s), secret_sha256 = %s, "
            "expires_at = now() + %s WHERE id = %s AND revoked_at IS NULL",
            (overlap, key.digest, lifetime, key_id),
        )
        _require(
            changed.rowcount,
            f"No key that is not revoked has the id {key_id}: see `storelake keys list`.",
        )
    return key


def renew_key(settings: Settings, text: str, lifetime: timedelta) -> bool:
    """Move the end of a key that is valid; returns whether it was."""
    key = read_key(text)
    if key is None:
        return False
    with _connection(settings) as connection:
        changed = connection.execute(
            "UPDATE gateway_keys SET expires_at = now() + %s WHERE id = %s AND secret_sha256 = %s "
            "AND revoked_at IS NULL AND expires_at > now()",
            (lifetime, key.id, key.digest),
        )
        return changed.rowcount == 1


def _require(rows: int, sentence: str) -> None:
    if not rows:
        raise ServiceError(sentence)


@contextmanager
def _connection(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    conf = settings.postgres
    try:
        with psycopg.connect(settings.owner_dsn) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            yield connection
    except psycopg.errors.UndefinedTable as error:
        raise ServiceError("The database has no keys yet: run `storelake migrate`.") from error
    except psycopg.OperationalError as error:
        place = f"Postgres at {conf.host}:{conf.port}"
        raise ServiceError(database_down(place, error)) from error

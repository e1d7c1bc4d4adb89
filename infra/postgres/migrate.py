"""Brings the schema of the database up to date."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from conf.errors import database_down, first_line
from conf.settings import PostgresSettings, Settings
from infra.errors import ServiceError
from infra.postgres.roles import grant_roles

MIGRATIONS = Path(__file__).parent / "migrations"
FUNCTIONS = Path(__file__).parent / "functions"
# Any number serves, as long as every storelake takes the same one.
LOCK_KEY = 7_305_112_001
LOCK_TIMEOUT = "120s"


def migrate(settings: Settings) -> list[str]:
    """Apply the new migrations of `migrations/`, then the new and changed files of `functions/`.

    Each migration runs in a transaction of its own, all functions in one. Two processes may call
    this at once: the second waits and finds nothing to do. Afterwards each role has
    the rights that `roles` declares.

    Args:
        settings: which database, and the password of its owner.

    Returns:
        What was applied now: the names of migrations, and functions as `name()`.

    Raises:
        ServiceError: the database does not answer, a migration or function fails, or a role
            is missing.
        SettingsError: there is no password.
    """
    conf = settings.postgres.acting_as("owner")
    try:
        # yoyo's own lock is a row, which a killed process leaves behind; the lock of a session
        # ends with it.
        with psycopg.connect(conf.dsn, autocommit=True) as guard:
            guard.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_TIMEOUT))
            guard.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
            applied = _apply_migrations(conf) + _apply_functions(guard)
            grant_roles(guard, settings)
            return applied
    except psycopg.errors.LockNotAvailable as error:
        raise ServiceError(
            "Another process is migrating the database: wait until it has ended, then run "
            "`storelake migrate` again."
        ) from error
    except psycopg.OperationalError as error:
        place = f"Postgres at {conf.host}:{conf.port}"
        raise ServiceError(database_down(place, error)) from error


def _apply_migrations(conf: PostgresSettings) -> list[str]:
    # Only here: a third of a second that `storelake status` need not pay.
    from yoyo import get_backend, read_migrations  # noqa: PLC0415

    user, password = quote(conf.login, safe=""), quote(conf.secret, safe="")
    address = f"{conf.host}:{conf.port}/{quote(conf.database, safe='')}"
    applied: list[str] = []
    with get_backend(f"postgresql+psycopg://{user}:{password}@{address}") as backend:
        for migration in backend.to_apply(read_migrations(str(MIGRATIONS))):
            try:
                backend.apply_one(migration)
            except psycopg.Error as error:
                raise ServiceError(
                    f"Migration {migration.id} failed and was rolled back ({first_line(error)}): "
                    f"mend {migration.id}.sql, then run the command again."
                ) from error
            applied.append(str(migration.id))
    return applied


def _apply_functions(connection: psycopg.Connection[Any]) -> list[str]:
    """Create or replace each function whose file has another hash than the applied one."""
    applied: list[str] = []
    with connection.transaction():
        hashes = dict(
            connection.execute(
                "SELECT name, sha256 FROM applied_functions WHERE to_regproc(name) IS NOT NULL"
            ).fetchall()
        )
        for file in sorted(FUNCTIONS.glob("*.sql")):
            text = file.read_bytes()
            digest = sha256(text).hexdigest()
            if hashes.get(file.stem) != digest:
                _replace_function(connection, file.stem, text, digest)
                applied.append(f"{file.stem}()")
    return applied


def _replace_function(
    connection: psycopg.Connection[Any], name: str, text: bytes, digest: str
) -> None:
    try:
        connection.execute(text)
        connection.execute(
            "INSERT INTO applied_functions (name, sha256) VALUES (%s, %s) ON CONFLICT (name) "
            "DO UPDATE SET sha256 = EXCLUDED.sha256, applied_at = now()",
            (name, digest),
        )
    except psycopg.Error as error:
        raise ServiceError(
            f"Function {name}() failed and all functions were rolled back ({first_line(error)}): "
            f"correct functions/{name}.sql (a new signature needs a migration that drops the old "
            "function), then run the command again."
        ) from error

"""Brings the schema of the database up to date."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from conf.errors import first_line
from conf.settings import PostgresSettings, Settings
from infra.errors import ServiceError
from infra.postgres.roles import grant_console

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number will do, as long as every storelake takes the same one.
LOCK_KEY = 7_305_112_001
LOCK_TIMEOUT = "120s"


def migrate(settings: Settings) -> list[str]:
    """Apply the migrations of `migrations/` that the database does not have yet, in order.

    Each runs in a transaction of its own. Two processes may call this at once: the second waits
    and finds nothing to do. Afterwards the role of the console, where the server has one, may read
    what is in `roles.READS`.

    Args:
        settings: which database, and its password.

    Returns:
        The names that were applied now.

    Raises:
        ServiceError: the database does not answer, or a migration fails.
        SettingsError: there is no password.
    """
    conf = settings.postgres
    try:
        # yoyo's own lock is a row, which a killed process leaves behind; the lock of a session
        # goes with it.
        with psycopg.connect(conf.dsn, autocommit=True) as guard:
            guard.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_TIMEOUT))
            guard.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
            applied = _apply(conf)
            grant_console(guard, settings.console.user)
            return applied
    except psycopg.errors.LockNotAvailable as error:
        raise ServiceError(
            "Another process is migrating the database: wait until it has ended, then run "
            "`storelake migrate` again."
        ) from error
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise ServiceError(
            f"Postgres at {conf.host}:{conf.port} does not answer ({reason}): run `storelake up`, "
            "or check STORELAKE_POSTGRES__HOST, __PORT and __PASSWORD."
        ) from error


def _apply(conf: PostgresSettings) -> list[str]:
    # Only here: a third of a second that `storelake status` need not pay.
    from yoyo import get_backend, read_migrations  # noqa: PLC0415

    user, password = quote(conf.user, safe=""), quote(conf.secret, safe="")
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

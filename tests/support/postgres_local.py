"""A database server that one test may stop, fill or leave empty; the shared one continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conf.settings import PostgresSettings, Settings
from conf.settings.storage import ROLES
from infra.local.passwords import with_secrets
from infra.local.postgres import PostgresService
from infra.local.process import wait_until
from streaming.sinks.postgres import Database
from tests.conftest import free_ports


@contextmanager
def own_postgres(settings: Settings, folder: Path) -> Iterator[PostgresService]:
    """A server without tables, on a port and in a folder of its own; gone with its data afterwards.

    Args:
        settings: of its deployment, but for the folder and Postgres.
        folder: empty; becomes the folder of the deployment.

    Yields:
        The server; its settings have its password.
    """
    (port,) = free_ports(1)
    postgres = settings.postgres.model_copy(update={"port": port, "password": None})
    own = settings.model_copy(update={"var_dir": folder, "postgres": postgres})
    server = PostgresService(with_secrets(own))
    try:
        start(server)
        yield server
    finally:
        server.stop()
        server.places.delete_outside()


def start(server: PostgresService) -> None:
    """Start it, for the first time or again, and wait until it answers."""
    server.start()
    assert wait_until(server.ready, 60), server.last_lines()


def delete_rows(db: Database, tables: str) -> None:
    """Delete all rows of tables, given as `a, b`; parents first, whose rows take others along."""
    with db.transaction() as connection:
        for table in tables.split(", "):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608


def role_passwords(postgres: PostgresSettings) -> dict[str, str]:
    """The variables of the passwords of all roles that are known."""
    known = {
        "PASSWORD" if role == "owner" else f"{role.upper()}_PASSWORD": postgres.password_of(role)
        for role in ROLES
    }
    return {
        f"STORELAKE_POSTGRES__{name}": secret.get_secret_value()
        for name, secret in known.items()
        if secret
    }

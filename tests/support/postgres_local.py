"""A database server that one test may stop, fill or leave empty; the shared one continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conf.settings import Settings
from infra.local.passwords import with_secrets
from infra.local.postgres import PostgresService
from infra.local.process import wait_until
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

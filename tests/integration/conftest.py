"""What tests with a real database share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conf.settings import Settings
from streaming.connectors.postgres import Database


@pytest.fixture(scope="module")
def db(services: Settings) -> Iterator[Database]:
    """A pool of connections to the migrated database."""
    database = Database(services.postgres.dsn, 2)
    yield database
    database.close()

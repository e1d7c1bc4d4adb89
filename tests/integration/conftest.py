"""What tests with a real database, or with Pulsar, share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conf.settings import Settings
from infra.local.pulsar import PulsarService, ensure_pulsar_topic
from streaming.sinks.postgres import Database
from tests.support.pulsar_local import LEDGERS, start_pulsar


@pytest.fixture(scope="module")
def db(services: Settings) -> Iterator[Database]:
    """A pool of connections to the migrated database."""
    database = Database(services.postgres.dsn, 2)
    yield database
    database.close()


@pytest.fixture(scope="session")
def pulsar_service(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PulsarService]:
    """A real Pulsar of the integration tests, with the topic of the detections; some restart it."""
    own = settings.pulsar.model_copy(update={"broker_options": LEDGERS})
    var_dir = tmp_path_factory.mktemp("pulsar")
    service = PulsarService(settings.model_copy(update={"var_dir": var_dir, "pulsar": own}))
    start_pulsar(service)
    assert ensure_pulsar_topic(own)
    assert not ensure_pulsar_topic(own)
    yield service
    service.stop()

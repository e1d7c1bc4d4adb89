"""`storelake prepare`, as the containers start it: on services of somebody else that are empty."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from conf.settings import Settings
from dashboard.streams import Topics
from infra.postgres.migrate import migrate
from streaming.lake.formats import open_lake
from streaming.lake.tables import TABLES
from tests.conftest import settings_from
from tests.support.postgres_local import own_postgres, role_passwords

pytestmark = pytest.mark.requirement("D1")

TOPICS = ("order_created", "order_updated", "order_cancelled", "order_events", "order_dlq")


@pytest.fixture(scope="module")
def empty(
    services: Settings, environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The variables of a deployment whose Kafka and Postgres run, with nothing in them."""
    folder = tmp_path_factory.mktemp("prepared")
    with own_postgres(services, folder / "postgres") as server:
        postgres = server.settings.postgres
        yield {
            **environment,
            **{f"STORELAKE_KAFKA__{t.upper()}": f"prepared-{t}" for t in (*TOPICS, "detections")},
            "STORELAKE_POSTGRES__PORT": str(postgres.port),
            **role_passwords(postgres),
            "STORELAKE_POSTGRES__LOCAL": "false",
            "STORELAKE_VAR_DIR": str(folder / "sandbox"),
        }


def prepare(variables: Mapping[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "prepare"],
        cwd=folder,
        env={**variables, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_it_makes_what_is_missing_and_leaves_what_is_there(
    empty: dict[str, str], tmp_path: Path
) -> None:
    settings = settings_from(empty)
    for _ in range(2):
        done = prepare(empty, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "are there" in done.stdout

        client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap})
        assert set(settings.kafka.all_topics) <= client.list_topics(timeout=10).topics.keys()
        assert migrate(settings) == []
        with closing(open_lake(settings)) as lake:
            assert all(lake.read(table.name).num_rows == 0 for table in TABLES)
    # As the console queries the topics.
    assert set(Topics(settings.kafka).ends().values()) == {0}


def test_a_wrong_password_is_one_sentence(empty: dict[str, str], tmp_path: Path) -> None:
    done = prepare({**empty, "STORELAKE_POSTGRES__PASSWORD": "not-this-one"}, tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "password" in done.stderr

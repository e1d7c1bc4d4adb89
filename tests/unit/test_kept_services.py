"""A start by the supervisor and one by a command exclude each other by a lock."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from conf.settings import Settings
from infra.errors import ServiceError
from infra.local.kafka import KafkaService
from infra.local.locks import exclusive
from infra.local.services import all_services

SLEEPER = [sys.executable, "-IS", "-c", "import time; time.sleep(100)"]


class Small(KafkaService):
    """In place of a broker a process that sleeps."""

    def start(self) -> None:
        self.daemon.spawn(SLEEPER, cwd=Path("/"))


@pytest.fixture
def cancel() -> Event:
    return Event()


@pytest.fixture
def kept(settings: Settings, tmp_path: Path, cancel: Event) -> Iterator[Small]:
    one = Small(settings.model_copy(update={"var_dir": tmp_path}), cancel)
    yield one
    one.daemon.stop(patience_seconds=1.0)


def test_what_a_command_has_started_meanwhile_is_not_started_again(
    kept: Small, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with exclusive(tmp_path / "run" / "up.lock", "the services", 1.0):
            launch = pool.submit(kept.start_again)
            pid = kept.daemon.spawn(SLEEPER, cwd=tmp_path)
            assert not launch.done()
        launch.result(20)
    found = kept.daemon.find()
    assert found is not None
    assert found.pid == pid


def test_what_does_not_run_is_started_though_its_pid_file_is_left(
    kept: Small, tmp_path: Path
) -> None:
    kept.start_again()
    first = kept.daemon.find()
    assert first is not None
    first.kill()
    first.wait(10)

    kept.start_again()

    assert kept.daemon.find() not in (None, first)


def test_a_start_that_waits_for_a_command_ends_with_the_supervisor(
    kept: Small, tmp_path: Path, cancel: Event
) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        exclusive(tmp_path / "run" / "up.lock", "the services", 1.0),
    ):
        launch = pool.submit(kept.start_again)
        cancel.set()
        with pytest.raises(ServiceError, match="Another storelake command is busy"):
            launch.result(20)
    assert kept.daemon.find() is None


def test_every_service_that_can_be_part_of_a_deployment_can_be_kept(settings: Settings) -> None:
    names = [one.name for one in all_services(settings, Event())]
    assert names == ["kafka", "postgres", "pulsar", "minio", "trino"]

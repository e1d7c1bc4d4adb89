"""The smoke test and readiness checks of a deployment that is not complete."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from socket import gethostname

import psutil
import pytest

from conf.settings import Settings, load_settings
from infra.local.streams import stream_states, streams_ready
from quality.smoke_test import CheckError, require_running
from tests.conftest import free_ports


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    kafka, controller, postgres, gateway = free_ports(4)
    return load_settings(
        var_dir=tmp_path,
        kafka={"port": kafka, "controller_port": controller},
        postgres={"port": postgres, "password": "not a placeholder"},
        gateway={"port": gateway},
    )


@pytest.fixture
def elsewhere(settings: Settings) -> Settings:
    """External services, so that only streams and gateway belong to the deployment."""
    update = {
        "kafka": settings.kafka.model_copy(update={"bootstrap_servers": "kafka.example:9092"}),
        "postgres": settings.postgres.model_copy(update={"local": False}),
    }
    return settings.model_copy(update=update)


def report(
    settings: Settings, pid: int, *names: str, ready: bool = True, host: str | None = None
) -> None:
    """Write the state file of an application."""
    file = settings.var_dir / "run" / "streams.json"
    file.parent.mkdir(exist_ok=True)
    streams = {name: {"ready": ready} for name in names}
    who = {"host": host or gethostname(), "pid": pid, "at": time.time()}
    file.write_text(json.dumps({**who, "streams": streams}), encoding="utf-8")


def test_without_services_it_names_up(settings: Settings) -> None:
    with pytest.raises(CheckError, match="kafka does not run: start it with `storelake up`"):
        require_running(settings)


def test_without_streams_it_names_them_and_run(elsewhere: Settings) -> None:
    report(elsewhere, os.getpid(), "footfall", "order_event_processor")

    with pytest.raises(CheckError, match=r"bronze_order_events, real_time_metrics.*storelake run"):
        require_running(elsewhere)


def test_without_a_gateway_it_names_gateway(elsewhere: Settings) -> None:
    report(
        elsewhere,
        os.getpid(),
        "bronze_order_events",
        "order_event_processor",
        "real_time_metrics",
    )

    with pytest.raises(CheckError, match=r"gateway is not ready at http.*storelake gateway"):
        require_running(elsewhere)


def test_the_state_file_of_a_killed_application_does_not_count(elsewhere: Settings) -> None:
    report(elsewhere, os.getpid(), "footfall")
    assert streams_ready(elsewhere)

    nobody = 2**22 + 1  # above the largest pid that Linux gives
    report(elsewhere, nobody, "footfall")
    assert stream_states(elsewhere) == {}
    assert not streams_ready(elsewhere)


def test_an_application_whose_pid_was_given_to_a_later_process_does_not_run(
    elsewhere: Settings,
) -> None:
    report(elsewhere, os.getpid(), "footfall")
    file = elsewhere.var_dir / "run" / "streams.json"
    assert streams_ready(elsewhere)
    state = json.loads(file.read_text())
    file.write_text(json.dumps({**state, "at": psutil.Process().create_time() - 3600}))
    assert stream_states(elsewhere) == {}


def test_a_pid_of_another_machine_is_ignored(elsewhere: Settings) -> None:
    report(elsewhere, 2**22 + 1, "footfall", host="streams")
    assert streams_ready(elsewhere)


def test_streams_are_ready_when_all_of_them_are(elsewhere: Settings) -> None:
    assert not streams_ready(elsewhere)
    report(elsewhere, os.getpid(), "footfall", ready=False)
    assert not streams_ready(elsewhere)

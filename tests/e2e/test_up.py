"""`storelake up` on an empty folder: everything comes up, runs, and restarts when it dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from conf.settings import Settings
from infra.local.board import StateDir
from infra.local.places import Places, server_account
from infra.local.process import wait_until
from infra.local.streams import stream_states
from tests.conftest import own_ports, settings_from
from tests.support.broken_files import BREAK
from tests.support.processes import processes_of, running
from tests.support.stranger import Target, files_below, listening, try_everything

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("D1")]

PROCESSES = ("streams", "gateway", "quality", "maintenance", "console")
SERVICES = ("kafka", "postgres")
# States and counters; what tills and cameras have sent is on none of them.
OPEN_PAGES = {"/health", "/ready", "/metrics", "/docs", "/openapi.json"}


@pytest.fixture(scope="module")
def public() -> Iterator[Path]:
    """A folder that everybody may enter: what is in it protects itself, or nothing does."""
    with TemporaryDirectory(prefix="storelake-up-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def fresh(
    environment: Mapping[str, str], public: Path
) -> Iterator[tuple[Mapping[str, str], Settings]]:
    """The variables of a deployment in an empty folder, and its settings."""
    variables = {**environment, **own_ports(), "STORELAKE_VAR_DIR": str(public / "var")}
    settings = settings_from(variables)
    yield variables, settings
    storelake(variables, "down")
    storelake(variables, "reset", "--yes")  # as root, Postgres may have data outside of the folder
    assert processes_of(settings.var_dir) == []


def storelake(variables: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=Path(__file__).parents[2],
        env=dict(variables),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def rows(variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    found = json.loads(storelake(variables, "status", "--json").stdout)
    return {row["name"]: row for row in found}


def all_run(variables: Mapping[str, str]) -> bool:
    return storelake(variables, "status").returncode == 0


def test_everything_of_an_empty_folder_is_ready_and_nothing_died_on_the_way(
    fresh: tuple[Mapping[str, str], Settings],
) -> None:
    variables, _ = fresh
    done = storelake(variables, "up")
    assert done.returncode == 0, done.stderr
    found = rows(variables)
    assert {name: found[name]["state"] for name in (*SERVICES, *PROCESSES, "supervisor")} == (
        dict.fromkeys((*SERVICES, *PROCESSES, "supervisor"), "running")
    )
    assert {name: found[name]["restarts"] for name in (*SERVICES, *PROCESSES)} == (
        dict.fromkeys((*SERVICES, *PROCESSES), 0)
    )
    assert all(stream["state"] == "running" for stream in found["streams"]["streams"].values())
    assert "No data yet: `storelake seed --days 14`" in " ".join(done.stdout.split())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_reads_and_writes_nothing(
    fresh: tuple[Mapping[str, str], Settings],
) -> None:
    _, settings = fresh
    data = Places(settings.var_dir / "postgres", server_account()).existing_root()
    assert data is not None
    ports = sorted(set(listening(running(settings.var_dir))))
    assert {settings.kafka.port, settings.postgres.port, settings.gateway.port} <= set(ports)

    found = try_everything(
        Target(
            files_below(settings.var_dir, data), ports, settings.kafka.port, settings.postgres.port
        )
    )

    assert (found.read, found.written, found.logins) == ([], [], [])
    metrics = {settings.streams.metrics_port, settings.quality.metrics_port}
    metrics.add(settings.maintenance.metrics_port)  # every path of an exporter is its metrics
    open_pages = {p for port in {*found.pages} - metrics for p in found.pages[port]}
    assert open_pages <= OPEN_PAGES


@pytest.mark.parametrize("service", SERVICES)
def test_a_killed_service_is_back_within_30_seconds_and_the_streams_go_on(
    fresh: tuple[Mapping[str, str], Settings], service: str
) -> None:
    variables, settings = fresh
    driver = StateDir(settings.var_dir).daemon("streams").find()
    process = StateDir(settings.var_dir).daemon(service).find()
    assert process is not None
    since = time.monotonic()

    process.kill()

    assert wait_until(lambda: not psutil.pid_exists(process.pid) or not process.is_running(), 30)
    assert wait_until(lambda: rows(variables)[service]["state"] == "running", 60)
    assert time.monotonic() - since < 30
    assert wait_until(lambda: all_run(variables), 120)
    assert StateDir(settings.var_dir).daemon("streams").find() == driver


def test_no_second_driver_is_started_when_the_pid_file_of_the_first_is_cut_off(
    fresh: tuple[Mapping[str, str], Settings],
) -> None:
    variables, settings = fresh
    board = StateDir(settings.var_dir)
    driver, supervisor = board.daemon("streams").find(), board.supervisor.find()
    assert driver is not None
    assert supervisor is not None
    supervisor.kill()
    supervisor.wait(10)
    for name in (
        "programs/streams.json",
        "wanted.json",
        "supervisor-state.json",
        "supervisor.json",
    ):
        BREAK["cut off"](settings.var_dir / "run" / name)

    done = storelake(variables, "start")

    assert done.returncode == 0, done.stderr
    assert board.daemon("streams").find() == driver
    drivers = [one for one in processes_of(settings.var_dir) if one.endswith("cli.main run")]
    assert len(drivers) == 1
    assert stream_states(settings)
    assert all_run(variables)

"""`storelake start` and `stop` with a real gateway: it outlives the command, and death too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import psutil
import pytest

from conf.settings import Settings
from infra.local.process import is_alive, wait_until
from infra.local.readiness import gateway_ready
from infra.local.supervisor import StateDir
from tests.support.processes import processes_of
from tests.unit.test_programs import LISTENER

pytestmark = [pytest.mark.timeout(240), pytest.mark.requirement("D1")]


def storelake(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.fixture
def tidy(services: Settings, environment: Mapping[str, str]) -> Iterator[Settings]:
    yield services
    storelake(environment, "stop")


def gateway_of(settings: Settings) -> psutil.Process | None:
    return StateDir(settings.var_dir).daemon("gateway").find()


def row(environment: Mapping[str, str], name: str) -> dict[str, Any]:
    rows = json.loads(storelake(environment, "status", "--json").stdout)
    return next(one for one in rows if one["name"] == name)


def state_and_restarts(environment: Mapping[str, str], name: str) -> tuple[str, int]:
    found = row(environment, name)
    return found["state"], found["restarts"]


def test_a_gateway_in_the_background_comes_back_from_death_until_it_is_stopped(
    tidy: Settings, environment: Mapping[str, str]
) -> None:
    started = storelake(environment, "start", "gateway")
    assert started.returncode == 0, started.stderr
    assert gateway_ready(tidy)
    first = gateway_of(tidy)
    assert first is not None

    again = storelake(environment, "start", "gateway")
    assert again.returncode == 0, again.stderr
    assert gateway_of(tidy) == first

    first.kill()
    assert wait_until(lambda: gateway_of(tidy) not in (None, first), 60)
    assert wait_until(lambda: gateway_ready(tidy), 60)
    assert wait_until(lambda: state_and_restarts(environment, "gateway") == ("running", 1), 60)

    stopped = storelake(environment, "stop", "gateway")
    assert stopped.stdout == "Stopped gateway.\n"
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{tidy.gateway.url}/health", timeout=2)
    assert storelake(environment, "stop").stdout == "Nothing was running.\n"


def test_after_the_supervisor_was_killed_the_gateway_continues_and_can_still_be_stopped(
    tidy: Settings, environment: Mapping[str, str]
) -> None:
    assert storelake(environment, "start", "gateway").returncode == 0
    board, before = StateDir(tidy.var_dir), gateway_of(tidy)
    supervisor = board.supervisor.find()
    assert supervisor is not None
    assert before is not None
    supervisor.kill()
    assert wait_until(lambda: not is_alive(supervisor), 10)
    assert gateway_ready(tidy)

    assert storelake(environment, "start", "gateway").returncode == 0
    assert gateway_of(tidy) == before, "it was taken over"

    second = board.supervisor.find()
    assert second is not None
    second.kill()
    assert storelake(environment, "stop").stdout == "Stopped gateway.\n"
    assert not [one for one in processes_of(tidy.var_dir) if "cli.main" in one]


def test_a_gateway_whose_port_is_taken_is_not_even_started(
    tidy: Settings, environment: Mapping[str, str]
) -> None:
    port = tidy.gateway.port
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(port)], stdout=subprocess.PIPE
    ) as outsider:
        assert outsider.stdout is not None
        outsider.stdout.readline()
        result = storelake(environment, "start", "gateway")
        outsider.kill()

    assert result.returncode == 1
    assert f"Port {port} for the process gateway is taken by process" in result.stderr
    assert "Traceback" not in result.stderr
    assert gateway_of(tidy) is None


def test_a_gateway_that_dies_at_its_start_is_reported_with_its_last_words(
    tidy: Settings, environment: Mapping[str, str]
) -> None:
    hopeless = {
        **environment,
        "STORELAKE_KAFKA__CLIENT_OPTIONS": '{"no.such.option": "1"}',
        "STORELAKE_SUPERVISOR__GIVE_UP_AFTER": "2",
        "STORELAKE_SUPERVISOR__RESTART_BASE_SECONDS": "0.1",
    }
    result = storelake(hopeless, "start", "gateway")

    assert result.returncode == 1
    printed = " ".join(result.stderr.split())
    assert "The process gateway did not come up. Kafka's client refuses its options" in printed
    assert 'property: "no.such.option"): correct STORELAKE_KAFKA__CLIENT_OPTIONS' in printed
    assert "(it ended with exit code 1 after " in printed
    assert row(environment, "gateway")["state"] == "failed"

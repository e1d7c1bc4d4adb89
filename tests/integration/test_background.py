"""`storelake start` and `stop` with a real gateway: it outlives the command, and ends cleanly."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping

import httpx
import pytest

from cli.processes import gateway_ready, gateway_url
from conf.settings import Settings

pytestmark = pytest.mark.timeout(240)


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


def pid_of(settings: Settings, name: str) -> int:
    text = (settings.var_dir / "run" / f"{name}.json").read_text(encoding="utf-8")
    return int(json.loads(text)["pid"])


def test_a_gateway_in_the_background_answers_until_it_is_stopped(
    tidy: Settings, environment: Mapping[str, str]
) -> None:
    started = storelake(environment, "start", "gateway")
    assert started.returncode == 0, started.stderr
    assert gateway_ready(tidy)
    pid = pid_of(tidy, "gateway")

    again = storelake(environment, "start", "gateway")
    assert again.returncode == 0, again.stderr
    assert pid_of(tidy, "gateway") == pid

    stopped = storelake(environment, "stop", "gateway")
    assert stopped.stdout == "Stopped gateway.\n"
    with pytest.raises(httpx.TransportError):
        httpx.get(gateway_url(tidy) + "/health", timeout=2)
    assert storelake(environment, "stop").stdout == "Nothing was running.\n"


def test_a_gateway_that_does_not_come_up_is_told_with_its_last_words(
    tidy: Settings, environment: Mapping[str, str]
) -> None:
    with socket.create_server((tidy.gateway.host, tidy.gateway.port)):
        result = storelake(environment, "start", "gateway")

    assert result.returncode == 1
    assert "`storelake gateway` did not come up" in result.stderr
    assert "address already in use" in result.stderr.lower()
    assert "Traceback" not in result.stderr

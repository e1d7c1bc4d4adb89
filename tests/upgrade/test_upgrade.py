"""A deployment written by an earlier release runs under this one: tables, checkpoints, offsets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from conf.settings import Settings
from infra.local.passwords import with_known_secrets
from infra.local.process import wait_until
from tests.conftest import free_ports, settings_from
from tests.support.builders import detection, detection_event
from verification.processes import Child

pytestmark = [pytest.mark.timeout(1200), pytest.mark.requirement("D1")]

ROOT = Path(__file__).parents[2]
EARLIER = {"1d288ee": ("prepare", "--rewrite-tables"), "609b634": ()}
"""Commit -> the command that its lake needs: before order event v3, and before keys and roles."""
PORTS = ("KAFKA__PORT", "KAFKA__CONTROLLER_PORT", "POSTGRES__PORT", "GATEWAY__PORT")
PORTS += ("CONSOLE__PORT", "STREAMS__METRICS_PORT", "QUALITY__METRICS_PORT")
PORTS += ("MAINTENANCE__METRICS_PORT",)
STREAMS = ("bronze_order_events", "order_event_processor", "real_time_metrics", "bronze_detections")
MESSAGES, FRAMES = 300, 10
ARRIVAL_SECONDS = 240.0


@pytest.fixture(params=EARLIER)
def release(request: pytest.FixtureRequest) -> str:
    """The commit of an earlier release."""
    return str(request.param)


@pytest.fixture
def earlier(release: str, tmp_path: Path) -> Path:
    """The code of the earlier release."""
    archive = subprocess.run(
        ["git", "archive", release], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the clone is shallow: `git fetch --unshallow` brings {release}")
    folder = tmp_path / "earlier"
    folder.mkdir()
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    return folder


class Running:
    """One deployment, run by the code of a folder."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = variables

    def storelake(self, code: Path, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=code,
            env={**self.variables, "PYTHONPATH": str(code)},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-500:]} {done.stderr[-1500:]}"
        return done.stdout

    @contextmanager
    def streams(self, code: Path) -> Iterator[None]:
        """The streams of orders and detections, by this code."""
        variables = [f"{k}={v}" for k, v in self.variables.items() if k.startswith("STORELAKE_")]
        command = ["env", f"--chdir={code}", *variables, f"PYTHONPATH={code}"]
        command += [sys.executable, "-m", "cli.main"]
        log = self.settings.var_dir / "logs" / "streams.log"
        child = Child("streams", [*command, "run", *STREAMS], log)
        try:
            yield
            child.require_alive()
        finally:
            child.stop()

    @property
    def settings(self) -> Settings:
        return with_known_secrets(settings_from(self.variables))

    def number(self, query: str) -> int:
        with psycopg.connect(self.settings.owner_dsn) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def wait(self, query: str, value: int) -> None:
        arrived = wait_until(lambda: self.number(query) >= value, ARRIVAL_SECONDS, every=1)
        assert arrived, f"{query}: {self.number(query)} of {value}"


@pytest.fixture
def deployment(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Running]:
    own = {
        f"STORELAKE_{name}": str(port)
        for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)
    }
    running = Running({**environment, **own, "STORELAKE_VAR_DIR": str(tmp_path / "var")})
    yield running
    running.storelake(ROOT, "down")
    running.storelake(ROOT, "reset", "--yes")


ACCOUNTED = "SELECT (SELECT count(*) FROM orders_raw) + (SELECT count(*) FROM dead_letters)"
REPEATED = "SELECT count(*) - count(DISTINCT event_id) FROM orders_raw"


def send(running: Running, code: Path, seed: int) -> None:
    """300 messages of all versions, some of them invalid, and ten frames."""
    running.storelake(
        code,
        "send",
        "--via",
        "kafka",
        "--count",
        str(MESSAGES),
        "--rate",
        "6000",
        "--poison",
        "0.05",
        "--seed",
        str(seed),
    )
    frames = [
        detection_event(detections=[detection(track_id="7")], frame_index=n) for n in range(FRAMES)
    ]
    file = running.settings.var_dir / f"frames-{seed}.ndjson"
    file.write_text("".join(json.dumps(frame, default=str) + "\n" for frame in frames))
    running.storelake(code, "replay", str(file), "--as-fast-as-possible", "--shift-to-now")


def frames(running: Running) -> int:
    answer = running.storelake(
        ROOT, "sql", "SELECT count(*) FROM bronze.detections", "--format", "json"
    )
    ((count,),) = (row.values() for row in json.loads(answer))
    return int(count)


def test_an_earlier_release_hands_over_to_this_one(
    release: str, earlier: Path, deployment: Running
) -> None:
    deployment.storelake(earlier, "up", "--services-only")
    with deployment.streams(earlier):
        send(deployment, earlier, 1)
        deployment.wait(ACCOUNTED, MESSAGES)
    deployment.storelake(earlier, "down")

    deployment.storelake(ROOT, "up", "--services-only")
    if command := EARLIER[release]:
        deployment.storelake(ROOT, *command)
    with deployment.streams(ROOT):
        send(deployment, ROOT, 2)
        deployment.wait(ACCOUNTED, 2 * MESSAGES)
        assert wait_until(lambda: frames(deployment) == 2 * FRAMES, ARRIVAL_SECONDS, every=5)

    assert deployment.number(ACCOUNTED) == 2 * MESSAGES
    assert deployment.number(REPEATED) == 0

"""What `start`, `stop`, `status` and `logs` say of the processes of a house, without a JVM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import start_http_server
from typer.testing import CliRunner

from cli import programs
from cli.background import _require_keeper, stop_background
from cli.follow import log_files
from cli.main import app
from cli.tables import services_table
from conf.errors import StorelakeError
from conf.settings import Settings
from infra.errors import ServiceError
from infra.local.keeper import Board, Word
from infra.local.process import wait_until
from infra.local.service import ServiceStatus
from streaming.metrics import Metrics
from tests.conftest import free_ports
from tests.processes import processes_of

ROOT = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-IS", "-c", "import time; time.sleep(100)"]


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A house of this test, with ports that nobody has."""
    gateway, quality, console = free_ports(3)
    mine = settings.model_copy(
        update={
            "var_dir": tmp_path / "var",
            "gateway": settings.gateway.model_copy(update={"port": gateway}),
            "quality": settings.quality.model_copy(update={"metrics_port": quality}),
            "console": settings.console.model_copy(update={"port": console}),
        }
    )
    yield mine
    stop_background(mine)


def row(settings: Settings, name: str) -> ServiceStatus:
    return next(one for one in programs.statuses(settings) if one.name == name)


def test_what_nobody_asked_for_is_off_and_no_reason_to_worry(own: Settings) -> None:
    rows = programs.statuses(own)
    assert [one.name for one in rows] == [
        "streams",
        "gateway",
        "quality",
        "maintenance",
        "console",
    ]
    assert {one.state for one in rows} == {"off"}
    assert all(one.well for one in rows)


def test_a_process_that_was_given_up_shows_its_last_words(own: Settings) -> None:
    board = Board(own.var_dir)
    board.want({"gateway": 5.0})
    note = "ended with exit code 1 after 2 s: no such shop"
    board.say({"gateway": Word(asked_at=5.0, restarts=4, failed=True, note=note)})

    found = row(own, "gateway")

    assert (found.state, found.restarts, found.well) == ("failed", 4, False)
    assert found.detail == f"{note}; given up"


def test_what_was_said_of_an_earlier_wish_is_old(own: Settings) -> None:
    board = Board(own.var_dir)
    board.say({"gateway": Word(asked_at=5.0, failed=True, note="ended")})
    board.want({"gateway": 6.0})
    assert row(own, "gateway").state == "stopped"


def test_a_process_that_waits_to_start_again_says_when_and_why(own: Settings) -> None:
    board = Board(own.var_dir)
    board.keeper.spawn(SLEEPER, cwd=ROOT)
    board.want({"quality": 5.0})
    again = time.time() + 1000
    board.say({"quality": Word(asked_at=5.0, restarts=1, again_at=again, note="ended after 3 s")})

    found = row(own, "quality")

    assert found.state == "waiting"
    assert found.detail.startswith("ended after 3 s; again in ")


def test_processes_whose_keeper_was_killed_are_told_with_the_next_step(own: Settings) -> None:
    board = Board(own.var_dir)
    board.want({"maintenance": 5.0})
    board.daemon("maintenance").spawn(SLEEPER, cwd=ROOT)

    assert row(own, "maintenance").state == "running"
    keeper = row(own, "keeper")
    assert (keeper.state, keeper.well) == ("stopped", False)
    assert "`storelake start`" in keeper.detail


def test_without_a_keeper_everything_can_still_be_stopped(own: Settings) -> None:
    board = Board(own.var_dir)
    board.want({"maintenance": 5.0, "gateway": 5.0})
    board.daemon("maintenance").spawn(SLEEPER, cwd=ROOT)

    assert stop_background(own) == ["maintenance"]

    assert board.daemon("maintenance").find() is None
    assert board.wanted() == {}


def test_the_lag_is_that_of_the_stream_which_is_furthest_behind(own: Settings) -> None:
    (port,) = free_ports(1)
    streams = own.streams.model_copy(update={"metrics_port": port})
    house = own.model_copy(update={"streams": streams})
    assert programs.lag_rows(house) is None

    metrics = Metrics(["bronze_order_events", "footfall"])
    server, thread = start_http_server(port, "127.0.0.1", metrics.registry)
    try:
        assert programs.lag_rows(house) is None
        metrics.behind("bronze_order_events", "kafka", 12)
        metrics.behind("footfall", "pulsar", 340)
        assert programs.lag_rows(house) == 340
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_process_in_a_terminal_of_its_own_is_neither_started_nor_stopped(own: Settings) -> None:
    server, thread = start_http_server(own.quality.metrics_port, "127.0.0.1")
    try:
        assert row(own, "quality").state == "external"
        programs.require_free(own, programs.chosen(["quality"]))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_taken_port_is_named_before_anything_starts(own: Settings) -> None:
    # Somebody who listens, and speaks no HTTP.
    server = subprocess.Popen(
        [sys.executable, "-IS", "-c", LISTENER, str(own.gateway.port)], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        with pytest.raises(
            ServiceError,
            match=rf"Port {own.gateway.port} for the process gateway is taken by process "
            rf"{server.pid} .*STORELAKE_GATEWAY__PORT",
        ):
            programs.require_free(own, programs.KEPT)
    finally:
        server.kill()
        server.communicate()


LISTENER = """\
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("taken", flush=True)
while True:
    listener.accept()[0].close()
"""


def test_a_house_runs_in_one_profile(own: Settings) -> None:
    board = Board(own.var_dir)
    board.keeper.spawn([*SLEEPER, "--profile", "full"], cwd=ROOT)
    _require_keeper(board, "full")
    with pytest.raises(StorelakeError, match=r"runs in the profile full, not test.*`storelake d"):
        _require_keeper(board, "test")


def test_an_unknown_process_is_answered_with_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["start", "door"])
    assert result.exit_code == 2
    assert "door is unknown" in result.output


def test_logs_of_several_names_come_in_their_order(tmp_path: Path) -> None:
    for name in ("kafka", "gateway", "streams"):
        (tmp_path / f"{name}.log").touch()
    assert [file.stem for file in log_files(tmp_path, ["streams", "kafka"])] == ["streams", "kafka"]
    with pytest.raises(StorelakeError, match="no log named run; known: gateway, kafka, streams"):
        log_files(tmp_path, ["run"])


def test_the_table_leaves_out_columns_with_nothing_in_them() -> None:
    rows = [
        ServiceStatus("kafka", "running", "127.0.0.1:1", 7, "", 300, 3725),
        ServiceStatus("gateway", "off", "http://127.0.0.1:2"),
    ]
    names = [str(column.header) for column in services_table(rows).columns]
    assert names == ["service", "state", "address", "pid", "memory", "up"]
    assert list(services_table(rows).columns[5].cells) != [""]


def variables(environment: Mapping[str, str], own: Settings) -> dict[str, str]:
    return {
        **environment,
        "STORELAKE_VAR_DIR": str(own.var_dir),
        "STORELAKE_GATEWAY__PORT": str(own.gateway.port),
        # Nobody is there, so the gateway is not ready for as long as a test wants.
        "STORELAKE_KAFKA__PORT": str(free_ports(1)[0]),
    }


@contextmanager
def storelake(
    environment: Mapping[str, str], own: Settings, *arguments: str
) -> Iterator[subprocess.Popen[str]]:
    """A command beside this test, which does not outlive it."""
    command = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=ROOT,
        env=variables(environment, own),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has its background jobs ignore Ctrl-C, and so all that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    try:
        yield command
    finally:
        command.kill()
        command.communicate()


@pytest.mark.requirement("D1")
def test_ctrl_c_while_processes_start_leaves_none(
    environment: Mapping[str, str], own: Settings
) -> None:
    board = Board(own.var_dir)
    with storelake(environment, own, "start", "gateway") as command:
        assert wait_until(lambda: board.daemon("gateway").find() is not None, 120)

        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=120)

    assert command.returncode == 130, said
    assert "Traceback" not in said
    assert processes_of(own.var_dir) == []
    assert board.wanted() == {}


def test_ctrl_c_ends_following_logs_without_a_word(
    environment: Mapping[str, str], own: Settings
) -> None:
    logs = own.var_dir / "logs"
    logs.mkdir(parents=True)
    (logs / "gateway.log").write_text("hello\n")
    with storelake(environment, own, "logs", "-f", "gateway") as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "gateway     hello\n"

        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=120)

    assert (command.returncode, said) == (130, "")


def test_the_status_for_programs_has_every_row(
    environment: Mapping[str, str], own: Settings
) -> None:
    with storelake(environment, own, "status", "--json") as command:
        out, _ = command.communicate(timeout=120)
    rows = json.loads(out)
    assert command.returncode == 3, "services do not run"
    assert {one["name"] for one in rows} == {"kafka", "postgres", *programs.NAMES}
    assert {"state", "address", "memory_mb", "lag_rows", "restarts"} <= rows[0].keys()

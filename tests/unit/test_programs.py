"""`start`, `stop`, `status` and `logs` with the processes of a deployment, without a JVM."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from socket import gethostname

import psutil
import pytest
from prometheus_client import start_http_server
from typer.testing import CliRunner

from cli.main import app
from cli.tables import services_table, show_services
from conf.errors import StorelakeError
from conf.settings import Settings
from infra.errors import ServiceError
from infra.local import background
from infra.local.background import (
    require_profile,
    start_programs,
    stop_everything,
    stop_programs,
)
from infra.local.board import ProgramStatus, StateDir
from infra.local.process import wait_until
from infra.local.program_status import (
    lag_rows,
    require_free,
    runs_elsewhere,
    statuses,
    supervised,
)
from infra.local.programs import MANAGED, MANAGED_NAMES, chosen
from infra.local.service import ServiceStatus, State
from infra.local.state_files import write_state
from streaming.runtime.metrics import StreamMetrics
from tests.conftest import free_ports
from tests.support.broken_files import BREAK
from tests.support.processes import processes_of

ROOT = Path(__file__).parents[2]
SLEEPER = [sys.executable, "-IS", "-c", "import time; time.sleep(100)"]


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """A deployment of this test, with ports that nobody has."""
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
    stop_programs(mine)


def row(settings: Settings, name: str) -> ServiceStatus:
    return next(one for one in statuses(settings) if one.name == name)


def test_a_process_that_nobody_started_is_off_and_no_fault(own: Settings) -> None:
    rows = statuses(own)
    assert [one.name for one in rows] == [
        "streams",
        "gateway",
        "quality",
        "maintenance",
        "console",
    ]
    assert {one.state for one in rows} == {"off"}
    assert all(one.well for one in rows)


def test_a_process_that_was_given_up_shows_its_last_error(own: Settings) -> None:
    board = StateDir(own.var_dir)
    board.want({"gateway": 5.0})
    note = "ended with exit code 1 after 2 s: no such shop"
    board.show({"gateway": ProgramStatus(asked_at=5.0, restarts=4, failed=True, note=note)})

    found = row(own, "gateway")

    assert (found.state, found.restarts, found.well) == ("failed", 4, False)
    assert found.detail == f"{note}; given up"


def test_the_status_of_an_earlier_request_is_ignored(own: Settings) -> None:
    board = StateDir(own.var_dir)
    board.show({"gateway": ProgramStatus(asked_at=5.0, failed=True, note="ended")})
    board.want({"gateway": 6.0})
    assert row(own, "gateway").state == "stopped"


def test_a_process_that_waits_for_a_restart_shows_when_and_why(own: Settings) -> None:
    board = StateDir(own.var_dir)
    board.supervisor.spawn(SLEEPER, cwd=ROOT)
    board.want({"quality": 5.0})
    again = time.time() + 1000
    board.show(
        {"quality": ProgramStatus(asked_at=5.0, restarts=1, again_at=again, note="ended after 3 s")}
    )

    found = row(own, "quality")

    assert found.state == "waiting"
    assert found.detail.startswith("ended after 3 s; again in ")


def test_processes_whose_supervisor_was_killed_are_reported_with_the_next_step(
    own: Settings,
) -> None:
    board = StateDir(own.var_dir)
    board.want({"maintenance": 5.0})
    board.daemon("maintenance").spawn(SLEEPER, cwd=ROOT)

    assert row(own, "maintenance").state == "running"
    supervisor = row(own, "supervisor")
    assert (supervisor.state, supervisor.well) == ("stopped", False)
    assert "`storelake start`" in supervisor.detail


def test_without_a_supervisor_everything_can_still_be_stopped(own: Settings) -> None:
    board = StateDir(own.var_dir)
    board.want({"maintenance": 5.0, "gateway": 5.0})
    board.daemon("maintenance").spawn(SLEEPER, cwd=ROOT)

    assert stop_programs(own) == ["maintenance"]

    assert board.daemon("maintenance").find() is None
    assert board.wanted() == {}


def test_the_lag_is_that_of_the_stream_which_is_furthest_behind(own: Settings) -> None:
    (port,) = free_ports(1)
    streams = own.streams.model_copy(update={"metrics_port": port})
    sandbox = own.model_copy(update={"streams": streams})
    assert lag_rows(sandbox) is None

    metrics = StreamMetrics(["bronze_order_events", "footfall"])
    server, thread = start_http_server(port, "127.0.0.1", metrics.registry)
    try:
        assert lag_rows(sandbox) is None
        metrics.behind("bronze_order_events", "kafka", 12)
        metrics.behind("footfall", "pulsar", 340)
        assert lag_rows(sandbox) == 340
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_process_in_a_terminal_of_its_own_is_neither_started_nor_stopped(own: Settings) -> None:
    server, thread = start_http_server(own.quality.metrics_port, "127.0.0.1")
    try:
        assert row(own, "quality").state == "external"
        require_free(own, chosen(["quality"]))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_host_may_be_an_address_of_ipv6(own: Settings) -> None:
    gateway = own.gateway.model_copy(update={"host": "::1"})
    console = own.console.model_copy(update={"host": "::1"})
    everywhere = own.model_copy(update={"gateway": gateway, "console": console})
    assert gateway.url == f"http://[::1]:{gateway.port}"
    require_free(everywhere, chosen(["gateway", "console"]))


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
            require_free(own, MANAGED)
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


def test_a_deployment_runs_in_one_profile(own: Settings) -> None:
    assert not require_profile(own)
    StateDir(own.var_dir).supervisor.spawn([*SLEEPER, "--profile", "full"], cwd=ROOT)
    assert require_profile(own.model_copy(update={"profile": "full"}))
    with pytest.raises(StorelakeError, match=r"runs in the profile full, not test.*`storelake d"):
        require_profile(own)


def test_an_unknown_process_is_rejected_with_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["start", "bakery"])
    assert result.exit_code == 2
    assert "bakery is unknown" in result.output


def test_the_table_leaves_out_columns_with_nothing_in_them() -> None:
    rows = [
        ServiceStatus("kafka", "running", "127.0.0.1:1", 7, "", 300, 3725),
        ServiceStatus("gateway", "off", "http://127.0.0.1:2"),
    ]
    table = services_table(rows)
    assert table.names == ["service", "state", "address", "pid", "memory", "up"]
    assert str(table.rows[0][5]) == "1h 2m"


def test_a_pipe_gets_whole_cells_and_details_as_whole_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sentence = "no such shop (it ended with exit code 1 after 2 s); again in 3 s"
    rows = [ServiceStatus("maintenance", "waiting", "http://127.0.0.1:18084", 7, sentence, 300)]
    show_services(rows)
    assert capsys.readouterr().out.splitlines() == [
        "service      state    address                 pid  memory",
        "maintenance  waiting  http://127.0.0.1:18084    7  300 MB",
        f"maintenance: {sentence}",
    ]


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
    board = StateDir(own.var_dir)
    with storelake(environment, own, "start", "gateway") as command:
        assert wait_until(lambda: board.daemon("gateway").find() is not None, 120)

        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=120)

    assert command.returncode == 130, errors
    assert "Traceback" not in errors
    assert processes_of(own.var_dir) == []
    assert board.wanted() == {}


def test_ctrl_c_ends_following_logs_without_a_status(
    environment: Mapping[str, str], own: Settings
) -> None:
    logs = own.var_dir / "logs"
    logs.mkdir(parents=True)
    (logs / "gateway.log").write_text("hello\n")
    with storelake(environment, own, "logs", "-f", "gateway") as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "gateway | hello\n"

        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=120)

    assert (command.returncode, errors) == (130, "")


def test_the_status_for_programs_has_every_row(
    environment: Mapping[str, str], own: Settings
) -> None:
    with storelake(environment, own, "status", "--json") as command:
        out, _ = command.communicate(timeout=120)
    rows = json.loads(out)
    assert command.returncode == 3, "services do not run"
    assert {one["name"] for one in rows} == {"kafka", "postgres", *MANAGED_NAMES}
    assert {"state", "address", "memory_mb", "lag_rows", "restarts"} <= rows[0].keys()


# Streams in their row of the status


def report_streams(own: Settings, **streams: Mapping[str, object]) -> None:
    """Write the state file of an application that runs: this process."""
    who = {"host": gethostname(), "pid": os.getpid(), "at": time.time()}
    write_state(own.var_dir / "run" / "streams.json", {**who, "streams": streams})


RUNS = {"ready": True, "state": "running", "detail": ""}


@pytest.mark.parametrize(
    ("reported", "state", "detail"),
    [
        (RUNS, "running", "2 of 2 streams"),
        ({"ready": True}, "running", "2 of 2 streams"),
        ({"ready": False}, "starting", "1 of 2 streams"),
        (
            {"ready": False, "state": "failed", "detail": "no broker"},
            "failed",
            "1 of 2 streams; footfall failed: no broker",
        ),
        (
            {
                "ready": True,
                "state": "stalled",
                "detail": "footfall hangs for 70 s",
            },
            "stalled",
            "1 of 2 streams; footfall hangs for 70 s",
        ),
        (
            {"ready": False, "state": "retrying", "detail": ""},
            "starting",
            "1 of 2 streams; footfall retrying",
        ),
    ],
)
def test_the_streams_have_the_state_of_the_worst_one_and_the_detail_names_it(
    own: Settings, reported: Mapping[str, object], state: str, detail: str
) -> None:
    StateDir(own.var_dir).daemon("streams").spawn(SLEEPER, cwd=ROOT)
    report_streams(own, bronze_detections=RUNS, footfall=reported)

    found = row(own, "streams")

    assert (found.state, found.detail) == (state, detail)
    assert found.well == (state == "running")
    assert (found.streams or {})["footfall"]["detail"] == reported.get("detail", "")


def test_the_status_has_the_link_of_sparks_ui(own: Settings) -> None:
    StateDir(own.var_dir).daemon("streams").spawn(SLEEPER, cwd=ROOT)
    who = {"host": gethostname(), "pid": os.getpid(), "at": time.time()}
    report = {**who, "ui": "http://127.0.0.1:4040", "streams": {"footfall": RUNS}}
    write_state(own.var_dir / "run" / "streams.json", report)
    assert row(own, "streams").detail == "1 of 1 streams; Spark's UI: http://127.0.0.1:4040"


def test_streams_that_share_a_failing_query_show_its_sentence_once(own: Settings) -> None:
    StateDir(own.var_dir).daemon("streams").spawn(SLEEPER, cwd=ROOT)
    failed = {
        "ready": False,
        "state": "failed",
        "detail": "bronze+footfall failed: no disk",
    }
    report_streams(own, bronze=failed, footfall=failed)
    assert row(own, "streams").detail == "0 of 2 streams; bronze+footfall failed: no disk"


def test_a_failed_stream_of_an_application_in_a_terminal_is_named_too(own: Settings) -> None:
    report_streams(own, footfall={"ready": False, "state": "failed", "detail": "no broker"})
    found = row(own, "streams")
    assert (found.state, found.well) == ("failed", False)


def test_an_application_that_was_refused_shows_its_last_message(
    own: Settings,
) -> None:
    sentence = "The stream footfall is held by process 7 of host a: run `storelake stop streams`."
    StateDir(own.var_dir).supervisor.spawn(
        [
            sys.executable,
            "-m",
            "tests.support.supervised_sandbox",
            str(own.var_dir),
            str(own.var_dir / "programs"),
        ],
        cwd=ROOT,
    )
    program = [sys.executable, "-IS", "-c", f"import sys; sys.exit({sentence!r})"]
    programs = {"programs": {"streams": [0, program]}, "conf": {"restart_base_seconds": 0.05}}
    write_state(own.var_dir / "programs", programs)
    StateDir(own.var_dir).want({"streams": 5.0})

    assert wait_until(lambda: row(own, "streams").state == "failed", 60)
    assert row(own, "streams").detail.startswith(f"{sentence} (it ended with exit code 1 after ")


def test_a_process_that_died_while_others_started_is_not_ready(
    own: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two live processes whose readiness the test decides; no supervisor is needed."""
    polls: list[str] = []

    def dies(_: Settings) -> bool:
        polls.append("quality")
        return len(polls) == 2  # the first time is before the start

    later = iter([False, False])
    board = StateDir(own.var_dir)
    kept = [replace(one, check=dies) for one in chosen(["quality"])]
    kept += [replace(one, check=lambda _: next(later, True)) for one in chosen(["gateway"])]
    for one in kept:
        board.daemon(one.name).spawn(SLEEPER, cwd=ROOT)
    board.supervisor.spawn([*SLEEPER, "--profile", own.profile], cwd=ROOT)
    monkeypatch.setattr(background, "chosen", lambda _: kept)
    monkeypatch.setattr(background, "READY_SECONDS", 2.0)

    with pytest.raises(StorelakeError, match=r"^`storelake quality` is not ready after 2 s"):
        start_programs(own, (), lambda _: None)


# State files that cannot be read


@pytest.mark.parametrize("how", BREAK)
def test_streams_whose_pid_file_is_broken_are_found_and_not_started_again(
    own: Settings, how: str
) -> None:
    board = StateDir(own.var_dir)
    pid = board.daemon("streams").spawn(SLEEPER, cwd=ROOT)
    BREAK[how](board.daemon("streams").pid_file)

    found = row(own, "streams")

    assert (found.state, found.pid) == ("starting", pid)
    assert stop_programs(own, ["streams"]) == ["streams"]
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("how", BREAK)
def test_stopping_one_process_leaves_the_others_though_the_request_cannot_be_read(
    own: Settings, how: str
) -> None:
    board = StateDir(own.var_dir)
    for name in ("maintenance", "gateway"):
        board.daemon(name).spawn(SLEEPER, cwd=ROOT)
    board.want({"maintenance": 5.0, "gateway": 5.0})
    BREAK[how](own.var_dir / "run" / "wanted.json")

    assert stop_programs(own, ["gateway"]) == ["gateway"]

    assert board.daemon("maintenance").find() is not None
    assert board.wanted().keys() == {"maintenance"}


def test_whether_streams_run_in_a_terminal_is_not_guessed_from_an_unreadable_file(
    own: Settings,
) -> None:
    report_streams(own, footfall=RUNS)
    streams = chosen(["streams"])
    assert runs_elsewhere(own, streams[0])
    BREAK["cut off"](own.var_dir / "run" / "streams.json")
    with pytest.raises(StorelakeError, match=r"streams\.json cannot be read"):
        start_programs(own, ["streams"], lambda _: None)
    assert "streams.json cannot be read" in row(own, "streams").detail
    assert not row(own, "streams").well


# Services under the supervisor


def service_row(own: Settings, state: State, detail: str = "") -> ServiceStatus:
    rows = [ServiceStatus("kafka", state, "127.0.0.1:1", detail=detail)]
    return supervised(own, rows)[0]


def test_a_service_that_died_shows_when_it_starts_again_and_why_it_ended(own: Settings) -> None:
    board = StateDir(own.var_dir)
    assert service_row(own, "stopped").state == "stopped"
    board.supervisor.spawn(SLEEPER, cwd=ROOT)
    board.want({"kafka": 5.0})
    status = ProgramStatus(5.0, restarts=2, again_at=time.time() + 1000, note="It ended after 3 s")
    board.show({"kafka": status})

    found = service_row(own, "stopped")
    assert (found.state, found.restarts) == ("waiting", 2)
    assert found.detail.startswith("It ended after 3 s; again in ")

    board.show({"kafka": replace(status, again_at=None, failed=True)})
    assert service_row(own, "stopped").detail == "It ended after 3 s; given up"
    assert service_row(own, "stopped").state == "failed"
    assert service_row(own, "running").restarts == 2


def test_a_service_that_answers_no_more_shows_since_when_and_what_follows(own: Settings) -> None:
    board = StateDir(own.var_dir)
    board.supervisor.spawn(SLEEPER, cwd=ROOT)
    board.want({"kafka": 5.0})
    board.show({"kafka": ProgramStatus(5.0)})
    assert service_row(own, "starting", "does not answer").state == "starting"

    board.show({"kafka": ProgramStatus(5.0, silent_since=time.time() - 40)})
    found = service_row(own, "starting", "does not answer")

    assert (found.state, found.well) == ("not answering", False)
    assert re.fullmatch(r"does not answer, for 4\d s; after 60 s it is started again", found.detail)


def test_a_stop_of_the_last_process_leaves_a_supervisor_to_the_services(own: Settings) -> None:
    board = StateDir(own.var_dir)
    supervisor = board.supervisor.spawn(SLEEPER, cwd=ROOT)
    board.want({"kafka": 5.0, "gateway": 5.0})
    stop_programs(own)
    assert board.wanted() == {"kafka": 5.0}
    assert psutil.pid_exists(supervisor)
    stop_everything(own)
    assert board.wanted() == {}
    assert not psutil.pid_exists(supervisor)


# Reset


def test_a_reset_lists_what_it_deletes_and_what_it_keeps_and_why(
    environment: Mapping[str, str], own: Settings
) -> None:
    for name in ("warehouse", "quality", "demo", "check", "memory", "logs", "verify", "mine"):
        (own.var_dir / name).mkdir(parents=True)
    (own.var_dir / "secrets.env").write_text("STORELAKE_X=1\n")
    write_state(own.var_dir / "run" / "streams.json", {})
    write_state(own.var_dir / "run" / "programs" / "streams.json", {})

    with storelake(environment, own, "reset", "--yes") as command:
        out, errors = command.communicate(timeout=120)

    assert command.returncode == 0, errors
    assert "Deleted warehouse, memory, quality, demo, check and run." in " ".join(out.split())
    assert re.findall(r"^(\S+) is kept: ", out, re.MULTILINE) == [
        *("logs", "mine", "secrets.env", "verify"),
    ]
    assert {one.name for one in own.var_dir.iterdir()} == {
        *("logs", "mine", "secrets.env", "verify", "run"),
    }
    assert {one.suffix for one in (own.var_dir / "run").iterdir()} == {".lock"}

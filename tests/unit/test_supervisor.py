"""The supervisor over small real programs: it restarts what dies, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from infra.local import children
from infra.local.board import ProgramStatus, StateDir
from infra.local.children import Program
from infra.local.process import is_alive, wait_until
from infra.local.state_files import UnreadableStateError, read_state
from infra.local.supervisor import Supervisor, end_all
from tests.conftest import free_ports
from tests.support.broken_files import BREAK
from tests.support.small_server import SmallServer
from tests.support.supervised_sandbox import supervisor_of

ROOT = Path(__file__).parents[2]
QUICK = {"restart_base_seconds": 0.05, "restart_max_seconds": 0.2, "steady_seconds": 30}
PATIENCE = 20.0

RUNS_ON = "import time; print('here', flush=True); time.sleep(100)"
FAILS = "import sys; sys.exit('no such shop')"
# Fails until a file is there, as a program does until its cause is repaired.
MENDED = (
    "import pathlib, sys, time;"
    "pathlib.Path('glue').exists() or sys.exit('broken');"
    "print('whole', flush=True); time.sleep(100)"
)
# Records its end in a file that all programs share.
ORDERLY = """\
import signal, sys, time
def end(*_):
    time.sleep({seconds})
    open("ends", "a").write("{name}\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("here", flush=True)
time.sleep(100)
"""
# A child in a process group of its own that outlives its parent, as Spark's does.
LEAVES_A_CHILD = """\
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"],
                         preexec_fn=lambda: os.setpgid(0, 0))
open("child", "w").write(str(child.pid))
print("here", flush=True)
time.sleep(100)
"""


@dataclass
class Sandbox:
    """A state folder; its supervisor is a thread of this test, or a process that can be killed."""

    board: StateDir
    programs: Path
    services: list[SmallServer] = field(default_factory=list)
    supervisor: Supervisor | None = None
    thread: Thread | None = None

    def start(self) -> None:
        me = psutil.Process()
        self.board.supervisor.run_dir.mkdir(parents=True, exist_ok=True)
        record = {"pid": me.pid, "create_time": me.create_time(), "command": me.cmdline()}
        self.board.supervisor.pid_file.write_text(json.dumps(record))
        self.supervisor = supervisor_of(self.board.var, self.programs, self.services)
        self.thread = Thread(target=self.supervisor.run)
        self.thread.start()

    def end(self) -> None:
        """End the supervisor, as SIGTERM does."""
        if self.supervisor is not None and self.thread is not None:
            self.supervisor.stop()
            self.thread.join(PATIENCE)
            self.board.supervisor.pid_file.unlink(missing_ok=True)
            self.supervisor = None

    def start_process(self) -> psutil.Process:
        command = [
            sys.executable,
            "-m",
            "tests.support.supervised_sandbox",
            str(self.board.var),
            str(self.programs),
        ]
        self.board.supervisor.spawn(command, cwd=ROOT)
        supervisor = self.board.supervisor.find()
        assert supervisor is not None
        return supervisor

    def want(self, *names: str) -> None:
        self.board.want(dict.fromkeys(names, time.time()))

    def status(self, name: str) -> ProgramStatus:
        return self.board.status(name)

    def pid(self, name: str) -> int | None:
        process = self.board.daemon(name).find()
        return process.pid if process else None

    def log(self, name: str) -> str:
        file = self.board.daemon(name).log_file
        return file.read_text() if file.exists() else ""

    def status_file(self) -> dict[str, Any] | None:
        """The status that the supervisor has written; None while it cannot be read."""
        with suppress(UnreadableStateError):
            return read_state(self.board.var / "run" / "supervisor-state.json")
        return None

    def reports_here(self, name: str) -> bool:
        """Whether it says so, and its pid file is written, which may come later."""
        return wait_until(lambda: "here" in self.log(name) and bool(self.pid(name)), PATIENCE)


@pytest.fixture
def var(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def sandbox(var: Path) -> Iterator[Sandbox]:
    var.mkdir()
    one = Sandbox(StateDir(var), var / "programs.json")
    yield one
    one.end()
    one.board.supervisor.stop()
    for server in one.services:
        server.daemon.stop(patience_seconds=1.0)
    names = json.loads(one.programs.read_text())["programs"]
    end_all([(Program(name, ()), one.board.daemon(name)) for name in names], 1.0)


def notify(sandbox: Sandbox, conf: dict[str, float] | None = None, **programs: str) -> None:
    """Programs in Python, by name; `last_...` is ended after the others."""
    commands = {
        name: [0 if name.startswith("last_") else 1, [sys.executable, "-IS", "-c", code]]
        for name, code in programs.items()
    }
    sandbox.programs.write_text(json.dumps({"programs": commands, "conf": QUICK | (conf or {})}))


def test_what_is_wanted_runs_and_what_is_not_does_not(sandbox: Sandbox) -> None:
    notify(sandbox, gateway=RUNS_ON, console=RUNS_ON)
    sandbox.want("gateway")
    sandbox.start()
    assert sandbox.reports_here("gateway")
    assert sandbox.pid("console") is None

    sandbox.want("console")
    assert sandbox.reports_here("console")
    assert wait_until(lambda: sandbox.pid("gateway") is None, PATIENCE)


def test_a_program_that_was_killed_comes_back(sandbox: Sandbox) -> None:
    notify(sandbox, gateway=RUNS_ON)
    sandbox.want("gateway")
    sandbox.start()
    assert sandbox.reports_here("gateway")
    before = sandbox.pid("gateway")
    assert before is not None

    psutil.Process(before).kill()

    assert wait_until(lambda: sandbox.pid("gateway") not in (None, before), PATIENCE)
    assert wait_until(lambda: sandbox.status("gateway").restarts == 1, PATIENCE)
    assert "ended by SIGKILL" in sandbox.status("gateway").note
    assert not sandbox.status("gateway").failed


def test_a_program_that_always_dies_is_given_up_with_its_last_error(sandbox: Sandbox) -> None:
    notify(sandbox, {"give_up_after": 4}, gateway=FAILS)
    sandbox.want("gateway")
    sandbox.start()

    assert wait_until(lambda: sandbox.status("gateway").failed, PATIENCE)
    assert sandbox.log("gateway").count("no such shop") == 4
    assert sandbox.status("gateway").restarts == 3
    note = sandbox.status("gateway").note
    assert re.fullmatch(r"no such shop \(it ended with exit code 1 after \d+ s\)", note)


def test_the_pauses_grow_up_to_a_cap(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    notify(sandbox, {"give_up_after": 6}, gateway=FAILS)
    sandbox.want("gateway")
    sandbox.start()

    assert wait_until(lambda: sandbox.status("gateway").failed, PATIENCE)
    messages = caplog.messages
    pauses = [line.rsplit("again in ", 1)[1] for line in messages if "again in" in line]
    assert pauses == ["0.1 s", "0.1 s", "0.2 s", "0.2 s", "0.2 s"]


def set_clock_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an hour, for the supervisor."""
    clock = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)
    for module in ("supervisor", "children"):
        monkeypatch.setattr(f"infra.local.{module}.time", clock)


def test_a_pause_ends_also_where_the_clock_was_set_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    notify(sandbox, {"restart_base_seconds": 100, "restart_max_seconds": 100}, gateway=FAILS)
    sandbox.want("gateway")
    sandbox.start()
    assert wait_until(lambda: sandbox.status("gateway").again_at is not None, PATIENCE)
    set_clock_back(monkeypatch)
    assert wait_until(lambda: sandbox.status("gateway").restarts == 1, PATIENCE)


def test_a_new_request_for_a_program_that_was_given_up_is_another_try(
    sandbox: Sandbox,
) -> None:
    notify(sandbox, {"give_up_after": 2}, gateway=MENDED)
    sandbox.want("gateway")
    sandbox.start()
    assert wait_until(lambda: sandbox.status("gateway").failed, PATIENCE)

    (sandbox.board.var / "glue").touch()
    sandbox.want("gateway")

    assert wait_until(lambda: "whole" in sandbox.log("gateway"), PATIENCE)
    assert (sandbox.status("gateway").restarts, sandbox.status("gateway").note) == (0, "")


def test_a_program_that_ran_well_for_a_while_may_die_again_and_again(sandbox: Sandbox) -> None:
    notify(sandbox, {"give_up_after": 2, "steady_seconds": 0.01}, gateway=FAILS)
    sandbox.want("gateway")
    sandbox.start()

    assert wait_until(lambda: sandbox.status("gateway").restarts > 3, PATIENCE)
    assert not sandbox.status("gateway").failed


def test_a_program_that_cannot_even_be_started_is_put_off_like_one_that_dies(
    sandbox: Sandbox,
) -> None:
    notify(sandbox, {"give_up_after": 2}, gateway=RUNS_ON)
    content = json.loads(sandbox.programs.read_text())
    content["programs"]["gateway"][1][0] = str(sandbox.board.var / "no-python")
    sandbox.programs.write_text(json.dumps(content))
    sandbox.want("gateway")
    sandbox.start()

    assert wait_until(lambda: sandbox.status("gateway").failed, PATIENCE)
    assert "cannot be started" in sandbox.status("gateway").note


def test_the_end_comes_in_order_and_leaves_nothing(sandbox: Sandbox) -> None:
    notify(
        sandbox,
        last_streams=ORDERLY.format(name="streams", seconds=0),
        gateway=ORDERLY.format(name="gateway", seconds=0.3),
        console=ORDERLY.format(name="console", seconds=0.6),
    )
    sandbox.want("last_streams", "gateway", "console")
    sandbox.start()
    assert all(map(sandbox.reports_here, ("last_streams", "gateway", "console")))

    sandbox.end()

    ends = (sandbox.board.var / "ends").read_text().split()
    assert ends == ["gateway", "console", "streams"]
    assert [sandbox.pid(name) for name in ("last_streams", "gateway", "console")] == [None] * 3


def test_a_program_that_does_not_listen_is_killed_after_a_while(sandbox: Sandbox) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + RUNS_ON
    notify(sandbox, {"stop_seconds": 0.2}, gateway=deaf)
    sandbox.want("gateway")
    sandbox.start()
    assert sandbox.reports_here("gateway")
    pid = sandbox.pid("gateway")
    assert pid is not None

    sandbox.end()

    assert not psutil.pid_exists(pid)


def test_a_killed_supervisor_leaves_the_programs_to_the_next_one(sandbox: Sandbox) -> None:
    notify(sandbox, gateway=RUNS_ON)
    sandbox.want("gateway")
    supervisor = sandbox.start_process()
    assert sandbox.reports_here("gateway")
    pid = sandbox.pid("gateway")
    supervisor.kill()
    assert wait_until(lambda: not is_alive(supervisor), PATIENCE)
    assert sandbox.pid("gateway") == pid

    sandbox.start_process()

    taken = f"gateway is taken over, pid {pid}"
    assert wait_until(lambda: taken in sandbox.board.supervisor.log_file.read_text(), PATIENCE)
    assert sandbox.log("gateway").count("here") == 1
    assert pid is not None
    psutil.Process(pid).kill()
    assert wait_until(lambda: sandbox.log("gateway").count("here") == 2, PATIENCE)


def test_a_replaced_supervisor_leaves_the_programs_alone(
    sandbox: Sandbox,
) -> None:
    notify(sandbox, gateway=RUNS_ON)
    sandbox.want("gateway")
    first = sandbox.start_process()
    assert sandbox.reports_here("gateway")
    pid = sandbox.pid("gateway")

    sandbox.start_process()

    assert wait_until(lambda: not is_alive(first), PATIENCE)
    assert sandbox.pid("gateway") == pid


def test_what_a_dead_program_leaves_behind_ends_before_it_comes_back(sandbox: Sandbox) -> None:
    notify(sandbox, gateway=LEAVES_A_CHILD)
    sandbox.want("gateway")
    sandbox.start()
    assert sandbox.reports_here("gateway")
    orphan = psutil.Process(int((sandbox.board.var / "child").read_text()))
    pid = sandbox.pid("gateway")
    assert pid is not None

    psutil.Process(pid).kill()

    assert wait_until(lambda: sandbox.pid("gateway") not in (None, pid), PATIENCE)
    assert not is_alive(orphan)


def test_a_supervisor_outlives_the_session_of_who_started_it_and_ends_in_order(
    sandbox: Sandbox,
) -> None:
    notify(sandbox, gateway=RUNS_ON)
    sandbox.want("gateway")
    supervisor = sandbox.start_process()
    assert sandbox.reports_here("gateway")
    pid = sandbox.pid("gateway")
    assert pid is not None
    assert os.getsid(supervisor.pid) == supervisor.pid
    assert os.getsid(pid) == pid

    assert sandbox.board.supervisor.stop(patience_seconds=PATIENCE) == "graceful"
    assert not psutil.pid_exists(pid)


# State files that cannot be read


def test_nothing_is_stopped_while_the_request_cannot_be_read(sandbox: Sandbox) -> None:
    notify(sandbox, {"steady_seconds": 0.01}, gateway=RUNS_ON, console=RUNS_ON)
    sandbox.want("gateway", "console")
    sandbox.start()
    assert all(map(sandbox.reports_here, ("gateway", "console")))

    for break_ in BREAK.values():
        break_(sandbox.board.var / "run" / "wanted.json")
        before = sandbox.pid("gateway")
        assert before is not None
        psutil.Process(before).kill()
        assert wait_until(lambda: sandbox.pid("gateway") not in (None, before), PATIENCE)  # noqa: B023

    assert sandbox.log("console").count("here") == 1
    sandbox.want("console")
    assert wait_until(lambda: sandbox.pid("gateway") is None, PATIENCE)
    assert sandbox.pid("console") is not None


def test_the_next_supervisor_reads_an_unreadable_state_from_the_processes(
    sandbox: Sandbox,
) -> None:
    notify(sandbox, gateway=RUNS_ON, console=RUNS_ON)
    sandbox.want("gateway", "console")
    supervisor = sandbox.start_process()
    assert all(map(sandbox.reports_here, ("gateway", "console")))
    pids = [sandbox.pid("gateway"), sandbox.pid("console")]
    supervisor.kill()
    assert wait_until(lambda: not is_alive(supervisor), PATIENCE)
    for name in ("wanted.json", "supervisor-state.json", "programs/gateway.json"):
        BREAK["cut off"](sandbox.board.var / "run" / name)

    sandbox.start()

    assert wait_until(lambda: "gateway" in (sandbox.status_file() or {}), PATIENCE)
    assert [sandbox.pid("gateway"), sandbox.pid("console")] == pids
    assert sandbox.log("gateway").count("here") == 1


def test_a_program_whose_pid_file_was_deleted_is_not_started_twice(sandbox: Sandbox) -> None:
    notify(sandbox, gateway=RUNS_ON)
    sandbox.want("gateway")
    supervisor = sandbox.start_process()
    assert sandbox.reports_here("gateway")
    pid = sandbox.pid("gateway")
    supervisor.kill()
    assert wait_until(lambda: not is_alive(supervisor), PATIENCE)
    sandbox.board.daemon("gateway").pid_file.unlink()

    sandbox.start()

    assert wait_until(lambda: sandbox.pid("gateway") == pid, PATIENCE)
    assert sandbox.log("gateway").count("here") == 1


def test_an_unreadable_status_of_the_supervisor_is_written_again(
    sandbox: Sandbox,
) -> None:
    notify(sandbox, gateway=RUNS_ON)
    sandbox.want("gateway")
    sandbox.start()
    for break_ in BREAK.values():
        assert wait_until(lambda: "gateway" in (sandbox.status_file() or {}), PATIENCE)
        break_(sandbox.board.var / "run" / "supervisor-state.json")
    assert wait_until(lambda: "gateway" in (sandbox.status_file() or {}), PATIENCE)


# Services


@pytest.fixture
def server(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> SmallServer:
    """A service of the deployment that is asked for an answer ten times a second."""
    monkeypatch.setattr(children, "PROBE_SECONDS", 0.1)
    (port,) = free_ports(1)
    sandbox.services.append(SmallServer(sandbox.board, port))
    return sandbox.services[0]


def well(server: SmallServer) -> bool:
    return wait_until(lambda: not server.silent(), PATIENCE)


def test_a_service_that_was_killed_comes_back(sandbox: Sandbox, server: SmallServer) -> None:
    notify(sandbox)
    server.start_again()
    assert well(server)
    first = server.daemon.find()
    assert first is not None
    sandbox.want("kafka")
    sandbox.start()
    assert wait_until(lambda: "kafka" in (sandbox.status_file() or {}), PATIENCE)
    assert server.daemon.find() == first, "it was taken over"

    first.kill()

    assert wait_until(lambda: server.daemon.find() not in (None, first), PATIENCE)
    assert well(server)
    assert sandbox.status("kafka").restarts == 1
    assert sandbox.status("kafka").note.startswith("It ended")


@pytest.mark.parametrize("clock", ["runs on", "set back"])
def test_a_service_that_stopped_answering_is_reported_then_killed_and_started_again(
    sandbox: Sandbox, server: SmallServer, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    notify(sandbox, {"silent_seconds": 2.0})
    sandbox.want("kafka")
    sandbox.start()
    assert well(server)
    hung = server.daemon.find()
    assert hung is not None
    assert wait_until(lambda: sandbox.status("kafka").answered, PATIENCE)
    since = time.time()
    if clock == "set back":
        set_clock_back(monkeypatch)

    hung.suspend()

    assert wait_until(lambda: sandbox.status("kafka").silent_since is not None, PATIENCE)
    assert is_alive(hung)
    assert wait_until(lambda: not is_alive(hung), PATIENCE)
    assert time.time() - since >= 1.5
    assert well(server)
    assert wait_until(lambda: sandbox.status("kafka").silent_since is None, PATIENCE)
    assert sandbox.status("kafka").note.startswith("It did not answer for ")


def test_a_service_that_has_not_answered_yet_is_given_more_time(
    sandbox: Sandbox, server: SmallServer
) -> None:
    notify(sandbox, {"silent_seconds": 0.4})
    server.start_again()
    slow = server.daemon.find()
    assert slow is not None
    slow.suspend()
    sandbox.want("kafka")
    sandbox.start()

    assert wait_until(lambda: "kafka" in (sandbox.status_file() or {}), PATIENCE)
    assert not wait_until(lambda: not is_alive(slow), 2.0), (
        "a first answer may take ten times 0.4 s"
    )

    assert wait_until(lambda: not is_alive(slow), PATIENCE)
    assert well(server)


def test_a_service_that_cannot_start_is_failed_with_the_reason_and_tried_again_for_ever(
    sandbox: Sandbox, server: SmallServer
) -> None:
    server.refuses = "Port 1 for Kafka is taken by process 7 (java): stop that."
    notify(sandbox, {"give_up_after": 3})
    sandbox.want("kafka")
    sandbox.start()
    assert wait_until(lambda: sandbox.status("kafka").failed, PATIENCE)
    assert sandbox.status("kafka").note == f"{server.refuses} (it could not be started)"

    server.refuses = ""
    assert well(server)
    assert wait_until(lambda: not sandbox.status("kafka").failed, PATIENCE)


def test_the_supervisor_leaves_services_to_down_and_those_that_nobody_asked_for_alone(
    sandbox: Sandbox, server: SmallServer
) -> None:
    notify(sandbox, gateway=RUNS_ON)
    server.start_again()
    assert well(server)
    sandbox.want("gateway")
    sandbox.start()
    assert sandbox.reports_here("gateway")
    sandbox.want("gateway", "kafka")
    assert wait_until(lambda: "kafka" in (sandbox.status_file() or {}), PATIENCE)
    running = server.daemon.find()
    assert running is not None

    sandbox.end()

    assert server.daemon.find() == running
    assert sandbox.pid("gateway") is None


def test_a_service_comes_back_while_a_program_takes_long_to_end(
    sandbox: Sandbox, server: SmallServer
) -> None:
    notify(sandbox, gateway=ORDERLY.format(name="gateway", seconds=15))
    sandbox.want("gateway", "kafka")
    sandbox.start()
    assert sandbox.reports_here("gateway")
    assert well(server)
    ending, first = sandbox.pid("gateway"), server.daemon.find()
    assert ending is not None
    assert first is not None

    sandbox.want("kafka")
    first.kill()

    assert wait_until(lambda: server.daemon.find() not in (None, first), 10)
    assert psutil.pid_exists(ending), "the program is still ending"
    psutil.Process(ending).kill()


# Its last message is an error whose traceback has a blank line, as those of Py4J have.
FAILS_WITH_A_BLANK_LINE = (
    "import json, sys;"
    "raised = 'Traceback (most recent call last):\\n  at x\\n\\nValueError: no answer';"
    "print(json.dumps({'level': 'error', 'event': 'broken', 'exception': raised}), flush=True);"
    "sys.exit(1)"
)


def test_no_log_of_a_program_ends_the_others(sandbox: Sandbox) -> None:
    notify(sandbox, {"give_up_after": 2}, gateway=FAILS_WITH_A_BLANK_LINE, console=RUNS_ON)
    sandbox.want("gateway", "console")
    sandbox.start()
    assert wait_until(lambda: sandbox.status("gateway").failed, PATIENCE)
    assert sandbox.status("gateway").note.startswith("ValueError: no answer")
    assert sandbox.pid("console") is not None

"""The keeper over small real programs: what dies comes back, and nothing stays behind."""

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
from typing import Any

import psutil
import pytest

from infra.local import children
from infra.local.board import Board, Word
from infra.local.children import Program
from infra.local.keeper import Keeper, end_all
from infra.local.process import is_alive, wait_until
from infra.local.state_files import UnreadableStateError, read_state
from tests.conftest import free_ports
from tests.support.broken_files import BREAK
from tests.support.kept_house import keeper_of
from tests.support.small_server import SmallServer

ROOT = Path(__file__).parents[2]
QUICK = {"restart_base_seconds": 0.05, "restart_max_seconds": 0.2, "steady_seconds": 30}
PATIENCE = 20.0

STAYS = "import time; print('here', flush=True); time.sleep(100)"
FAILS = "import sys; sys.exit('no such shop')"
# Fails until a file is there, as a program does whose cause somebody mends.
MENDED = (
    "import pathlib, sys, time;"
    "pathlib.Path('glue').exists() or sys.exit('broken');"
    "print('whole', flush=True); time.sleep(100)"
)
# Its own end is noted in a file that all programs share.
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
# As Spark's: a child in a process group of its own, that does not notice the end of its parent.
LEAVES_A_CHILD = """\
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"],
                         preexec_fn=lambda: os.setpgid(0, 0))
open("child", "w").write(str(child.pid))
print("here", flush=True)
time.sleep(100)
"""


@dataclass
class House:
    """A state folder; its keeper is a thread of this test, or a process that can be killed."""

    board: Board
    told: Path
    services: list[SmallServer] = field(default_factory=list)
    keeper: Keeper | None = None
    thread: Thread | None = None

    def start(self) -> None:
        me = psutil.Process()
        self.board.keeper.run_dir.mkdir(parents=True, exist_ok=True)
        record = {"pid": me.pid, "create_time": me.create_time(), "command": me.cmdline()}
        self.board.keeper.pid_file.write_text(json.dumps(record))
        self.keeper = keeper_of(self.board.var, self.told, self.services)
        self.thread = Thread(target=self.keeper.run)
        self.thread.start()

    def end(self) -> None:
        """As SIGTERM does."""
        if self.keeper is not None and self.thread is not None:
            self.keeper.stop()
            self.thread.join(PATIENCE)
            self.board.keeper.pid_file.unlink(missing_ok=True)
            self.keeper = None

    def start_process(self) -> psutil.Process:
        command = [
            sys.executable,
            "-m",
            "tests.support.kept_house",
            str(self.board.var),
            str(self.told),
        ]
        self.board.keeper.spawn(command, cwd=ROOT)
        keeper = self.board.keeper.find()
        assert keeper is not None
        return keeper

    def want(self, *names: str) -> None:
        self.board.want(dict.fromkeys(names, time.time()))

    def word(self, name: str) -> Word:
        return self.board.word(name)

    def pid(self, name: str) -> int | None:
        process = self.board.daemon(name).find()
        return process.pid if process else None

    def log(self, name: str) -> str:
        file = self.board.daemon(name).log_file
        return file.read_text() if file.exists() else ""

    def word_file(self) -> dict[str, Any] | None:
        """What the keeper has written; None where nobody can read it."""
        with suppress(UnreadableStateError):
            return read_state(self.board.var / "run" / "keeper-state.json")
        return None

    def says_here(self, name: str) -> bool:
        return wait_until(lambda: "here" in self.log(name), PATIENCE)


@pytest.fixture
def var(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def house(var: Path) -> Iterator[House]:
    var.mkdir()
    one = House(Board(var), var / "told.json")
    yield one
    one.end()
    one.board.keeper.stop()
    for server in one.services:
        server.daemon.stop(patience_seconds=1.0)
    names = json.loads(one.told.read_text())["programs"]
    end_all([(Program(name, ()), one.board.daemon(name)) for name in names], 1.0)


def tell(house: House, conf: dict[str, float] | None = None, **programs: str) -> None:
    """Programs in Python, by name; `last_...` is ended after the others."""
    told = {
        name: [0 if name.startswith("last_") else 1, [sys.executable, "-IS", "-c", code]]
        for name, code in programs.items()
    }
    house.told.write_text(json.dumps({"programs": told, "conf": QUICK | (conf or {})}))


def test_what_is_wanted_runs_and_what_is_not_does_not(house: House) -> None:
    tell(house, gateway=STAYS, console=STAYS)
    house.want("gateway")
    house.start()
    assert house.says_here("gateway")
    assert house.pid("console") is None

    house.want("console")
    assert house.says_here("console")
    assert wait_until(lambda: house.pid("gateway") is None, PATIENCE)


def test_a_program_that_was_killed_comes_back(house: House) -> None:
    tell(house, gateway=STAYS)
    house.want("gateway")
    house.start()
    assert house.says_here("gateway")
    before = house.pid("gateway")
    assert before is not None

    psutil.Process(before).kill()

    assert wait_until(lambda: house.pid("gateway") not in (None, before), PATIENCE)
    assert wait_until(lambda: house.word("gateway").restarts == 1, PATIENCE)
    assert "ended by SIGKILL" in house.word("gateway").note
    assert not house.word("gateway").failed


def test_a_program_that_always_dies_is_given_up_with_its_last_words(house: House) -> None:
    tell(house, {"give_up_after": 4}, gateway=FAILS)
    house.want("gateway")
    house.start()

    assert wait_until(lambda: house.word("gateway").failed, PATIENCE)
    assert house.log("gateway").count("no such shop") == 4
    assert house.word("gateway").restarts == 3
    note = house.word("gateway").note
    assert re.fullmatch(r"no such shop \(it ended with exit code 1 after \d+ s\)", note)


def test_the_pauses_grow_up_to_a_cap(house: House, caplog: pytest.LogCaptureFixture) -> None:
    tell(house, {"give_up_after": 6}, gateway=FAILS)
    house.want("gateway")
    house.start()

    assert wait_until(lambda: house.word("gateway").failed, PATIENCE)
    said = caplog.messages
    pauses = [line.rsplit("again in ", 1)[1] for line in said if "again in" in line]
    assert pauses == ["0.1 s", "0.1 s", "0.2 s", "0.2 s", "0.2 s"]


def test_who_asks_again_for_a_program_that_was_given_up_gets_another_try(house: House) -> None:
    tell(house, {"give_up_after": 2}, gateway=MENDED)
    house.want("gateway")
    house.start()
    assert wait_until(lambda: house.word("gateway").failed, PATIENCE)

    (house.board.var / "glue").touch()
    house.want("gateway")

    assert wait_until(lambda: "whole" in house.log("gateway"), PATIENCE)
    assert (house.word("gateway").restarts, house.word("gateway").note) == (0, "")


def test_a_program_that_ran_well_for_a_while_may_die_again_and_again(house: House) -> None:
    tell(house, {"give_up_after": 2, "steady_seconds": 0.01}, gateway=FAILS)
    house.want("gateway")
    house.start()

    assert wait_until(lambda: house.word("gateway").restarts > 3, PATIENCE)
    assert not house.word("gateway").failed


def test_a_program_that_cannot_even_be_started_is_put_off_like_one_that_dies(house: House) -> None:
    tell(house, {"give_up_after": 2}, gateway=STAYS)
    told = json.loads(house.told.read_text())
    told["programs"]["gateway"][1][0] = str(house.board.var / "no-python")
    house.told.write_text(json.dumps(told))
    house.want("gateway")
    house.start()

    assert wait_until(lambda: house.word("gateway").failed, PATIENCE)
    assert "cannot be started" in house.word("gateway").note


def test_the_end_comes_in_order_and_leaves_nothing(house: House) -> None:
    tell(
        house,
        last_streams=ORDERLY.format(name="streams", seconds=0),
        gateway=ORDERLY.format(name="gateway", seconds=0.3),
        console=ORDERLY.format(name="console", seconds=0.6),
    )
    house.want("last_streams", "gateway", "console")
    house.start()
    assert all(map(house.says_here, ("last_streams", "gateway", "console")))

    house.end()

    ends = (house.board.var / "ends").read_text().split()
    assert ends == ["gateway", "console", "streams"]
    assert [house.pid(name) for name in ("last_streams", "gateway", "console")] == [None] * 3


def test_a_program_that_does_not_listen_is_killed_after_a_while(house: House) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + STAYS
    tell(house, {"stop_seconds": 0.2}, gateway=deaf)
    house.want("gateway")
    house.start()
    assert house.says_here("gateway")
    pid = house.pid("gateway")
    assert pid is not None

    house.end()

    assert not psutil.pid_exists(pid)


def test_a_killed_keeper_leaves_the_programs_to_the_next_one(house: House) -> None:
    tell(house, gateway=STAYS)
    house.want("gateway")
    keeper = house.start_process()
    assert house.says_here("gateway")
    pid = house.pid("gateway")
    keeper.kill()
    assert wait_until(lambda: not is_alive(keeper), PATIENCE)
    assert house.pid("gateway") == pid

    house.start_process()

    taken = f"gateway is taken over, pid {pid}"
    assert wait_until(lambda: taken in house.board.keeper.log_file.read_text(), PATIENCE)
    assert house.log("gateway").count("here") == 1
    assert pid is not None
    psutil.Process(pid).kill()
    assert wait_until(lambda: house.log("gateway").count("here") == 2, PATIENCE)


def test_a_keeper_whose_place_another_one_has_taken_leaves_the_programs_alone(
    house: House,
) -> None:
    tell(house, gateway=STAYS)
    house.want("gateway")
    first = house.start_process()
    assert house.says_here("gateway")
    pid = house.pid("gateway")

    house.start_process()

    assert wait_until(lambda: not is_alive(first), PATIENCE)
    assert house.pid("gateway") == pid


def test_what_a_dead_program_leaves_behind_ends_before_it_comes_back(house: House) -> None:
    tell(house, gateway=LEAVES_A_CHILD)
    house.want("gateway")
    house.start()
    assert house.says_here("gateway")
    orphan = psutil.Process(int((house.board.var / "child").read_text()))
    pid = house.pid("gateway")
    assert pid is not None

    psutil.Process(pid).kill()

    assert wait_until(lambda: house.pid("gateway") not in (None, pid), PATIENCE)
    assert not is_alive(orphan)


def test_a_keeper_outlives_the_session_of_who_started_it_and_ends_in_order(house: House) -> None:
    tell(house, gateway=STAYS)
    house.want("gateway")
    keeper = house.start_process()
    assert house.says_here("gateway")
    pid = house.pid("gateway")
    assert pid is not None
    assert os.getsid(keeper.pid) == keeper.pid
    assert os.getsid(pid) == pid

    assert house.board.keeper.stop(patience_seconds=PATIENCE) == "graceful"
    assert not psutil.pid_exists(pid)


# State files that cannot be read


def test_nothing_is_switched_off_when_nobody_can_read_what_is_wanted(house: House) -> None:
    tell(house, {"steady_seconds": 0.01}, gateway=STAYS, console=STAYS)
    house.want("gateway", "console")
    house.start()
    assert all(map(house.says_here, ("gateway", "console")))

    for break_ in BREAK.values():
        break_(house.board.var / "run" / "wanted.json")
        before = house.pid("gateway")
        assert before is not None
        psutil.Process(before).kill()
        assert wait_until(lambda: house.pid("gateway") not in (None, before), PATIENCE)  # noqa: B023

    assert house.log("console").count("here") == 1
    house.want("console")
    assert wait_until(lambda: house.pid("gateway") is None, PATIENCE)
    assert house.pid("console") is not None


def test_the_next_keeper_learns_from_the_processes_what_nobody_can_read(house: House) -> None:
    tell(house, gateway=STAYS, console=STAYS)
    house.want("gateway", "console")
    keeper = house.start_process()
    assert all(map(house.says_here, ("gateway", "console")))
    pids = [house.pid("gateway"), house.pid("console")]
    keeper.kill()
    assert wait_until(lambda: not is_alive(keeper), PATIENCE)
    for name in ("wanted.json", "keeper-state.json", "programs/gateway.json"):
        BREAK["cut off"](house.board.var / "run" / name)

    house.start()

    assert wait_until(lambda: "gateway" in (house.word_file() or {}), PATIENCE)
    assert [house.pid("gateway"), house.pid("console")] == pids
    assert house.log("gateway").count("here") == 1


def test_a_program_whose_pid_file_was_deleted_is_not_started_twice(house: House) -> None:
    tell(house, gateway=STAYS)
    house.want("gateway")
    keeper = house.start_process()
    assert house.says_here("gateway")
    pid = house.pid("gateway")
    keeper.kill()
    assert wait_until(lambda: not is_alive(keeper), PATIENCE)
    house.board.daemon("gateway").pid_file.unlink()

    house.start()

    assert wait_until(lambda: house.pid("gateway") == pid, PATIENCE)
    assert house.log("gateway").count("here") == 1


def test_what_the_keeper_has_said_is_written_anew_when_nobody_can_read_it(house: House) -> None:
    tell(house, gateway=STAYS)
    house.want("gateway")
    house.start()
    for break_ in BREAK.values():
        assert wait_until(lambda: "gateway" in (house.word_file() or {}), PATIENCE)
        break_(house.board.var / "run" / "keeper-state.json")
    assert wait_until(lambda: "gateway" in (house.word_file() or {}), PATIENCE)


# Services


@pytest.fixture
def server(house: House, monkeypatch: pytest.MonkeyPatch) -> SmallServer:
    """A service of the house that is asked for an answer ten times a second."""
    monkeypatch.setattr(children, "PROBE_SECONDS", 0.1)
    (port,) = free_ports(1)
    house.services.append(SmallServer(house.board, port))
    return house.services[0]


def well(server: SmallServer) -> bool:
    return wait_until(lambda: not server.silent(), PATIENCE)


def test_a_service_that_was_killed_comes_back(house: House, server: SmallServer) -> None:
    tell(house)
    server.launch()
    assert well(server)
    first = server.daemon.find()
    assert first is not None
    house.want("kafka")
    house.start()
    assert wait_until(lambda: "kafka" in (house.word_file() or {}), PATIENCE)
    assert server.daemon.find() == first, "it was taken over"

    first.kill()

    assert wait_until(lambda: server.daemon.find() not in (None, first), PATIENCE)
    assert well(server)
    assert house.word("kafka").restarts == 1
    assert house.word("kafka").note.startswith("It ended")


def test_a_service_that_stopped_answering_is_said_so_then_killed_and_started_again(
    house: House, server: SmallServer
) -> None:
    tell(house, {"silent_seconds": 2.0})
    house.want("kafka")
    house.start()
    assert well(server)
    hung = server.daemon.find()
    assert hung is not None
    assert wait_until(lambda: house.word("kafka").answered, PATIENCE)
    since = time.time()

    hung.suspend()

    assert wait_until(lambda: house.word("kafka").silent_since is not None, PATIENCE)
    assert is_alive(hung)
    assert wait_until(lambda: not is_alive(hung), PATIENCE)
    assert time.time() - since >= 1.5
    assert well(server)
    assert wait_until(lambda: house.word("kafka").silent_since is None, PATIENCE)
    assert house.word("kafka").note.startswith("It did not answer for ")


def test_a_service_that_has_not_answered_yet_is_given_more_time(
    house: House, server: SmallServer
) -> None:
    tell(house, {"silent_seconds": 0.4})
    server.launch()
    slow = server.daemon.find()
    assert slow is not None
    slow.suspend()
    house.want("kafka")
    house.start()

    assert wait_until(lambda: "kafka" in (house.word_file() or {}), PATIENCE)
    assert not wait_until(lambda: not is_alive(slow), 2.0), (
        "a first answer may take ten times 0.4 s"
    )

    assert wait_until(lambda: not is_alive(slow), PATIENCE)
    assert well(server)


def test_a_service_that_cannot_start_says_why_and_is_given_up(
    house: House, server: SmallServer
) -> None:
    server.refuses = "Port 1 for Kafka is taken by process 7 (java): stop that."
    tell(house, {"give_up_after": 3})
    house.want("kafka")
    house.start()
    assert wait_until(lambda: house.word("kafka").failed, PATIENCE)
    assert house.word("kafka").note == f"{server.refuses} (it could not be started)"
    assert house.word("kafka").restarts == 2

    server.refuses = ""
    house.want("kafka")
    assert well(server)
    assert not house.word("kafka").failed


def test_the_keeper_leaves_services_to_down_and_those_that_nobody_asked_for_alone(
    house: House, server: SmallServer
) -> None:
    tell(house, gateway=STAYS)
    server.launch()
    assert well(server)
    house.want("gateway")
    house.start()
    assert house.says_here("gateway")
    house.want("gateway", "kafka")
    assert wait_until(lambda: "kafka" in (house.word_file() or {}), PATIENCE)
    running = server.daemon.find()
    assert running is not None

    house.end()

    assert server.daemon.find() == running
    assert house.pid("gateway") is None


def test_a_service_comes_back_while_a_program_takes_long_to_end(
    house: House, server: SmallServer
) -> None:
    tell(house, gateway=ORDERLY.format(name="gateway", seconds=15))
    house.want("gateway", "kafka")
    house.start()
    assert house.says_here("gateway")
    assert well(server)
    ending, first = house.pid("gateway"), server.daemon.find()
    assert ending is not None
    assert first is not None

    house.want("kafka")
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


def test_no_log_of_a_program_ends_the_others(house: House) -> None:
    tell(house, {"give_up_after": 2}, gateway=FAILS_WITH_A_BLANK_LINE, console=STAYS)
    house.want("gateway", "console")
    house.start()
    assert wait_until(lambda: house.word("gateway").failed, PATIENCE)
    assert house.word("gateway").note.startswith("ValueError: no answer")
    assert house.pid("console") is not None

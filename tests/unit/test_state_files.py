"""A state file is absent, readable or unreadable, and unreadable is never taken for absent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.errors import ServiceError
from infra.local.board import ProgramStatus, StateDir
from infra.local.daemon import Daemon
from infra.local.locks import exclusive
from infra.local.process import is_alive, wait_until
from infra.local.state_files import (
    UnreadableStateError,
    read_state,
    remove_state,
    write_state,
    write_text,
)
from infra.local.streams import read_streams
from tests.support.broken_files import BREAK

SLEEPER = [sys.executable, "-IS", "-c", "import time; time.sleep(100)"]
PARENT = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)']);"
    "print(child.pid, flush=True); time.sleep(100)"
)
broken = pytest.mark.parametrize("how", BREAK)
no_object = pytest.mark.parametrize("how", [how for how in BREAK if how != "wrong values"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "wanted.json"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    one = Daemon("streams", run_dir=tmp_path / "run" / "programs", log_dir=tmp_path / "logs")
    yield one
    one.stop(patience_seconds=2.0)


def test_what_was_written_is_read_again_and_no_file_is_no_state(file: Path) -> None:
    assert read_state(file) is None
    write_state(file, {"gateway": 1.5})
    assert read_state(file) == {"gateway": 1.5}
    remove_state(file)
    assert read_state(file) is None


@no_object
def test_a_file_that_is_no_json_object_is_unreadable_and_the_sentence_names_it(
    how: str, file: Path
) -> None:
    write_state(file, {"gateway": 1.5})
    BREAK[how](file)
    with pytest.raises(
        UnreadableStateError, match=rf"^The state file {file} cannot be read \(.+\)"
    ):
        read_state(file)


@broken
def test_a_broken_file_is_replaced_by_the_next_that_is_written(how: str, file: Path) -> None:
    write_state(file, {"gateway": 1.5})
    BREAK[how](file)
    write_state(file, {"gateway": 2.5})
    assert read_state(file) == {"gateway": 2.5}


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(file: Path) -> None:
    write_state(file, {"gateway": 1.5})
    with pytest.raises(UnicodeEncodeError):
        write_text(file, "\ud800")
    assert read_state(file) == {"gateway": 1.5}
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_content_is_on_disk_before_its_name_and_the_name_before_the_write_returns(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls are real; only their order is recorded."""
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def noted_sync(handle: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "content")  # noqa: PTH112
        sync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_state(file, {"gateway": 1.5})
    assert steps == ["content", "name", "folder"]


@broken
def test_a_process_whose_pid_file_is_broken_is_found_and_the_file_is_written_again(
    how: str, daemon: Daemon, tmp_path: Path
) -> None:
    pid = daemon.spawn(SLEEPER, cwd=tmp_path)
    BREAK[how](daemon.pid_file)

    found = daemon.find()

    assert found is not None
    assert found.pid == pid
    assert (read_state(daemon.pid_file) or {})["pid"] == pid
    assert daemon.stop() == "graceful"
    assert not psutil.pid_exists(pid)


def test_a_process_whose_pid_file_was_deleted_is_still_ended_by_stop(
    daemon: Daemon, tmp_path: Path
) -> None:
    pid = daemon.spawn(SLEEPER, cwd=tmp_path)
    daemon.pid_file.unlink()
    assert daemon.stop() == "graceful"
    assert not psutil.pid_exists(pid)


def test_the_process_is_found_and_not_its_child(daemon: Daemon, tmp_path: Path) -> None:
    pid = daemon.spawn([sys.executable, "-c", PARENT], cwd=tmp_path)
    assert wait_until(lambda: daemon.log_file.read_text().strip().isdecimal(), 10)
    BREAK["cut off"](daemon.pid_file)
    found = daemon.find()
    assert found is not None
    assert found.pid == pid


def test_what_a_dead_process_left_behind_ends_though_its_pid_file_is_broken(
    daemon: Daemon, tmp_path: Path
) -> None:
    pid = daemon.spawn([sys.executable, "-c", PARENT], cwd=tmp_path)
    assert wait_until(lambda: daemon.log_file.read_text().strip().isdecimal(), 10)
    orphan = psutil.Process(int(daemon.log_file.read_text()))
    parent = psutil.Process(pid)
    parent.kill()
    assert wait_until(lambda: not is_alive(parent), 10)
    BREAK["empty"](daemon.pid_file)

    assert daemon.stop() == "absent"

    assert wait_until(lambda: not orphan.is_running() or orphan.status() == "zombie", 20)


@broken
def test_a_broken_pid_file_of_a_process_that_has_gone_is_no_process(
    how: str, daemon: Daemon, tmp_path: Path
) -> None:
    outsider = subprocess.Popen(SLEEPER)
    try:
        daemon.spawn([sys.executable, "-c", "pass"], cwd=tmp_path)
        assert wait_until(lambda: daemon.find() is None, 10)
        BREAK[how](daemon.pid_file)
        assert daemon.find() is None
        assert daemon.stop() == "absent"
        assert outsider.poll() is None
    finally:
        outsider.kill()
        outsider.wait()


@broken
def test_an_unreadable_request_is_replaced_by_the_last_status_and_what_runs(
    how: str, tmp_path: Path
) -> None:
    board = StateDir(tmp_path)
    board.daemon("maintenance").spawn(SLEEPER, cwd=tmp_path)
    try:
        board.show({"gateway": ProgramStatus(asked_at=5.0)})
        board.want({"gateway": 5.0, "maintenance": 6.0})
        BREAK[how](tmp_path / "run" / "wanted.json")

        assert board.wanted().keys() == {"gateway", "maintenance"}
        assert board.wanted()["gateway"] == 5.0
    finally:
        board.daemon("maintenance").stop()


@broken
def test_an_unreadable_status_of_the_supervisor_shows_nothing_of_a_program(
    how: str, tmp_path: Path
) -> None:
    board = StateDir(tmp_path)
    board.want({"gateway": 5.0})
    board.show({"gateway": ProgramStatus(asked_at=5.0, failed=True)})
    assert board.status("gateway").failed
    BREAK[how](tmp_path / "run" / "supervisor-state.json")
    assert board.status("gateway") == ProgramStatus(5.0)
    with pytest.raises(UnreadableStateError, match=r"supervisor-state\.json cannot be read"):
        board.statuses()


@broken
def test_an_unreadable_state_of_streams_is_not_taken_for_none(how: str, tmp_path: Path) -> None:
    assert read_streams(tmp_path) is None
    file = tmp_path / "run" / "streams.json"
    write_state(file, {"host": "here", "pid": os.getpid(), "at": 0, "streams": {}})
    BREAK[how](file)
    with pytest.raises(UnreadableStateError, match=r"streams\.json cannot be read"):
        read_streams(tmp_path)


def test_a_folder_in_the_place_of_a_lock_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "up.lock").mkdir()
    with (
        pytest.raises(ServiceError, match=r"lock file .*up\.lock cannot be opened"),
        exclusive(tmp_path / "up.lock", "the services", 0.0),
    ):
        raise AssertionError("it was held")

"""Progress where nobody can see a line change: a log of a build, a pipe, a file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from infra import terminal
from infra.local.process import wait_until
from infra.terminal import progress

pytestmark = pytest.mark.requirement("M1")


@pytest.fixture(params=[None, "FORCE_COLOR", "TTY_COMPATIBLE"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A log file, also where a variable makes Rich take it for a terminal."""
    if request.param:
        monkeypatch.setenv(request.param, "1")
    out = io.StringIO()
    console = Console(file=out, no_color=True)
    monkeypatch.setattr(terminal, "error_console", lambda: console)
    return out


def test_a_stage_is_one_line_however_often_its_numbers_change(log: io.StringIO) -> None:
    with progress("starting") as step:
        for jars in range(0, 50, 10):
            step(f"kafka: {jars} of 44 jars fetched")
        step("kafka: starting")
    lines = [line.strip("\x1b[0m2") for line in log.getvalue().splitlines()]
    assert lines == ["starting", "kafka: 0 of 44 jars fetched", "kafka: starting"]


def test_a_stage_that_lasts_is_printed_ever_more_rarely(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "REPEAT_SECONDS", 0.02)
    monkeypatch.setattr(terminal, "POLL_SECONDS", 0.01)
    with progress("building") as step:
        step("building: 100 of 300")
        assert wait_until(lambda: log.getvalue().count("building: 100 of 300 (") >= 3, 10)
    assert len(log.getvalue().splitlines()) < 10
    before = log.getvalue()
    assert "building\n" in before.replace("\x1b[0m", "")

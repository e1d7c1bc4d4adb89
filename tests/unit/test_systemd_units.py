"""The unit files for systemd: whole, and what they start is there."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app
from conf.settings import Settings, SupervisorSettings
from infra.local.programs import MANAGED, MANAGED_NAMES
from tools.docs.files import ROOT

UNITS = ROOT / "infra" / "systemd"
SERVICES = sorted(UNITS.glob("*.service"))
PROGRAM = "/opt/storelake/.venv/bin/storelake"


def read(file: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(file.read_text(encoding="utf-8"))
    return unit


def command_of(unit: configparser.ConfigParser, key: str) -> list[str]:
    program, *arguments = shlex.split(unit["Service"][key])
    assert program == PROGRAM
    return arguments


def test_there_is_a_unit_for_each_process_and_one_for_the_services() -> None:
    assert {file.stem for file in SERVICES} == {
        "storelake-services",
        *(f"storelake-{name}" for name in MANAGED_NAMES),
    }
    assert all(file.name in (UNITS / "storelake.target").read_text() for file in SERVICES)


@pytest.mark.parametrize("file", SERVICES, ids=lambda file: file.stem)
def test_the_command_line_accepts_the_command_of_a_unit(file: Path) -> None:
    unit = read(file)
    for key in ("ExecStart", "ExecStop"):
        if key not in unit["Service"]:
            continue
        command, rest = typer.main.get_command(app), command_of(unit, key)
        assert isinstance(command, TyperGroup)
        while isinstance(command, TyperGroup):
            context = typer.Context(command, info_name="storelake")
            _, command, rest = command.resolve_command(context, rest)
        assert command is not None
        command.make_context(command.name, rest)


@pytest.mark.parametrize("name", MANAGED_NAMES)
def test_systemd_starts_what_the_supervisor_would(name: str, settings: Settings) -> None:
    unit = read(UNITS / f"storelake-{name}.service")
    plain = settings.model_copy(update={"supervisor": SupervisorSettings()})
    kept = next(one for one in MANAGED if one.name == name)
    ours = " ".join(kept.arguments(plain)).replace("120s", "2m")
    assert " ".join(command_of(unit, "ExecStart")) == ours
    assert float(unit["Service"]["TimeoutStopSec"]) == plain.supervisor.stop_seconds
    assert int(unit["Unit"]["StartLimitBurst"]) == plain.supervisor.give_up_after


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_finds_no_fault_in_them() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, SERVICES)],
        cwd=UNITS,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    missing = f"Command {PROGRAM} is not executable: No such file or directory"
    faults = [line for line in done.stderr.splitlines() if missing not in line]
    assert faults == []

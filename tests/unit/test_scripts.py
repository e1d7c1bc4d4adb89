"""The shell scripts: clean, and each explains itself before it does anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.docs.files import ROOT

SCRIPTS = sorted((ROOT / "scripts").glob("*-*.sh"))
NAMES = {
    "build-archive.sh",
    "start-all.sh",
    "stop-all.sh",
    "restart-all.sh",
    "deploy-jobs.sh",
    "reset-data.sh",
    "test-flow.sh",
}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_there_is_a_script_for_each_task() -> None:
    assert {script.name for script in SCRIPTS} == NAMES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.name)
def test_a_script_shows_its_usage(script: Path) -> None:
    result = run(script, "--help")

    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Usage: scripts/{script.name}")
    assert len(result.stdout.splitlines()) >= 2
    assert "#" not in result.stdout


@pytest.mark.parametrize("name", sorted(NAMES - {"reset-data.sh", "test-flow.sh"}))
def test_an_unknown_option_is_refused_before_anything_happens(name: str) -> None:
    result = run(ROOT / "scripts" / name, "--hepl")

    assert result.returncode == 2
    assert result.stderr == "--hepl is unknown; see --help.\n"


def test_the_shell_scripts_are_clean() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    result = run(shellcheck, "-x", "--source-path", ROOT, *SCRIPTS, ROOT / ".ci" / "run")

    assert result.returncode == 0, result.stdout

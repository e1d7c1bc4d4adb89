"""`make verify-faults` with its cheapest fault: what it reports, and what it leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import processes_of

pytestmark = [pytest.mark.timeout(600), pytest.mark.requirement("O8")]


def test_a_killed_gateway_is_started_again_and_no_id_is_lost(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "verification",
            "faults",
            "--only",
            "kill-gateway",
            "--rate",
            "2400",
        ],
        env={**environment, "STORELAKE_VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )

    assert "Traceback" not in done.stderr, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report == json.loads((tmp_path / "verify-faults.json").read_text())
    assert report["faults"] == []
    (fault,) = report["results"]
    assert (fault["name"], fault["broken"]) == ("kill-gateway", [])
    assert 0 < fault["recovery_seconds"] < 60
    assert report["ids"]["sent"] > 100
    assert report["ids"]["frames"] >= 50
    assert report["ids"]["entries"] >= 1
    assert (report["ids"]["missing"], report["ids"]["duplicated"]) == (0, 0)
    assert done.returncode == 0
    assert processes_of(tmp_path) == []

"""`make verify-cameras`: a small day of the simulated shop, and a moment of the real clip."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import processes_of

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.requirement("V1"),
    pytest.mark.requirement("V4"),
    pytest.mark.requirement("V6"),
    pytest.mark.requirement("J1"),
]

SMALL = ("--shoppers", "20", "--clip-seconds", "10")


def test_what_cameras_count_over_both_brokers_is_what_happened(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "verification", "cameras", *SMALL],
        env={**environment, "STORELAKE_VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )

    assert "Traceback" not in done.stderr, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    # How fast a frame is counted is the machine's; what is counted is not.
    assert [fault for fault in result["faults"] if "latency" not in fault] == []
    assert result["ok"] is (result["faults"] == [])
    assert done.returncode == (0 if result["ok"] else 1)
    assert result["true_entries"] == result["true_exits"] > 20  # some shoppers have company
    assert (result["entries"], result["exits"]) == (result["true_entries"], result["true_exits"])
    assert 0 < result["groups"] < result["entries"]
    assert result["passers_by"] > 0
    assert result["conversion"] == result["true_conversion"] > 0
    assert 0 < result["dwell_error_s"] < 1.5
    assert 0 < result["real_clip"]["measured_frames"] == result["real_clip"]["frames"]
    assert result["latency_p95_s"] > 0
    assert result["fps"] > 0
    assert result["fps_bare_model"] > 0
    assert processes_of(tmp_path) == []

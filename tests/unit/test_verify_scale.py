"""What `make verify-scale` makes of a cluster's event log and of CPU seconds."""

from __future__ import annotations

import json
from pathlib import Path

from verification.scale.cluster import idle, tasks_by_executor
from verification.scale.run import carries


def task(executor: str, reason: str = "Success") -> str:
    info = {"Executor ID": executor}
    event = {"Event": "SparkListenerTaskEnd", "Task Info": info}
    return json.dumps({**event, "Task End Reason": {"Reason": reason}}) + "\n"


def test_an_executor_that_did_no_share_of_the_tasks_is_named(tmp_path: Path) -> None:
    start = json.dumps({"Event": "SparkListenerApplicationStart"}) + "\n"
    tasks = 6 * task("0") + task("1") + 6 * task("1", "ExceptionFailure")
    (tmp_path / "app-1").write_text(start + tasks)
    ran = tasks_by_executor(tmp_path)

    assert ran == {"0": 6, "1": 1}
    assert idle(ran, 2) == ["tasks by executor: {'0': 6, '1': 1}"]
    assert idle({"0": 6, "1": 5}, 2) == []
    assert idle({"0": 11}, 2) != []


def test_one_core_carries_what_its_cpu_seconds_leave_room_for() -> None:
    run = {"cpu_seconds_a_million": {"driver_python": 15.0, "driver_jvm": 35.0, "postgres": 80.0}}

    assert carries(run) == {"driver": 20_000, "postgres": 12_500}

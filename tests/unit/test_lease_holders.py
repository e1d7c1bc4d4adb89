"""Whether the holder of a lease is alive, by its process on this machine."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import psutil
import pytest

from conf.processes import started, this_machine
from streaming.runtime import lease
from streaming.runtime.lease import Held


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """A process of this machine, which may hold a lease."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def held_by(process: subprocess.Popen[bytes]) -> Held:
    """A lease that the process has just renewed."""
    noon = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
    place: dict[str, Any] = {
        "machine": this_machine(),
        "pid": process.pid,
        "pid_start": started(psutil.Process(process.pid)),
    }
    times = {"since": noon, "expires_at": noon}
    return Held("footfall", 1, uuid.uuid4(), "the first", **place, **times, expired=False)


def test_the_lease_of_a_living_process_is_held_also_after_a_step_of_the_clock(
    holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = held_by(holder)
    assert not one.is_free
    boot = psutil.boot_time()
    monkeypatch.setattr("psutil._psplatform.boot_time", lambda: boot + 3600)
    assert not one.is_free


def test_the_lease_of_a_process_that_was_killed_is_free_at_once(
    holder: subprocess.Popen[bytes],
) -> None:
    one = held_by(holder)
    holder.kill()
    holder.wait()
    assert one.is_free


def test_where_no_machine_can_be_named_a_lease_is_held_until_it_expires(
    holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "this_machine", lambda: "")
    one = Held(**{**vars(held_by(holder)), "machine": "", "pid": 2**22 + 1})
    assert not one.is_free

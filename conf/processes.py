"""Processes by pid and start, since a system assigns a pid again."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

TOLERANCE_SECONDS = 2.0
"""The boot time that psutil reads is in whole seconds."""
_LONGEST_UPTIME = 10**9
"""Seconds. A larger start is one in seconds since 1970, as earlier releases recorded it."""


def started(process: psutil.Process) -> float:
    """Seconds from the boot to the start of a process, whatever the clock was set to meanwhile.

    psutil adds the boot time, by the present clock, to what the system has; a process that asked
    for it before the clock was set keeps the former sum.
    """
    return float(psutil.Process(process.pid).create_time() - psutil.boot_time())


def since_boot(start: float) -> float:
    """A recorded start in seconds from the boot."""
    return start - psutil.boot_time() if start > _LONGEST_UPTIME else start


def find_process(pid: int, start: float) -> psutil.Process | None:
    """The process with this pid and start (`started`); None when it has ended."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if abs(started(process) - since_boot(start)) < TOLERANCE_SECONDS:
            return process
    return None


def has_ended(pid: int, start: float) -> bool:
    """Whether the process with this start has ended: a zombie has, with its last thread."""
    process = find_process(pid, start)
    with suppress(psutil.NoSuchProcess):
        if process is not None:
            return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    return True


@cache
def this_machine() -> str:
    """Boot id and pid namespace: where a pid means the same process; empty where unknown."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return ""

"""Processes by pid and start time, since a system assigns a pid again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

CLOCK_TOLERANCE_SECONDS = 2.0
"""psutil derives the start time from the boot time, which moves a little with the clock."""


def find_process(pid: int, started: float) -> psutil.Process | None:
    """The process that started then (seconds since 1970); None when that has ended."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if abs(process.create_time() - started) < CLOCK_TOLERANCE_SECONDS:
            return process
    return None


def seconds_after_boot(pid: int) -> float | None:
    """When a process started; no step of the clock changes it. None: there is no such process."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: starttime is the 22nd field,
        # the name of the program, in brackets, the second.
        return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return None


def has_ended(pid: int, started: float) -> bool:
    """Whether a process of this boot has ended: a zombie has, with its last thread.

    Args:
        pid: of the process.
        started: its `seconds_after_boot`.
    """
    if seconds_after_boot(pid) != started:
        return True
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    return True

"""Processes by pid and start time, since a system assigns a pid again."""

from __future__ import annotations

from contextlib import suppress

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


def has_ended(pid: int, started: float) -> bool:
    """Whether the process that started then has ended: a zombie has, with its last thread."""
    process = find_process(pid, started)
    with suppress(psutil.NoSuchProcess):
        if process is not None:
            return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
    return True

"""Processes by pid and start time, since a system assigns a pid again."""

from __future__ import annotations

from contextlib import suppress

import psutil

CLOCK_TOLERANCE_SECONDS = 2.0
"""psutil derives the start time from the boot time, which moves a little with the clock."""


def find_process(pid: int, started: float) -> psutil.Process | None:
    """The process that started at this time; None when it has ended or its pid has another.

    Args:
        pid: of this machine.
        started: in seconds since 1970.
    """
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        if abs(process.create_time() - started) < CLOCK_TOLERANCE_SECONDS:
            return process
    return None

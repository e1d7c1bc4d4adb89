"""Processes of a deployment that still run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def processes_of(var: Path) -> list[str]:
    """Command lines of running processes with a state folder below this one."""
    return [" ".join(one.cmdline())[:200] for one in running(var)]


def running(var: Path) -> list[psutil.Process]:
    """Running processes with a state folder below this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("STORELAKE_VAR_DIR", "").startswith(str(var)):
                found.append(process)
    return found

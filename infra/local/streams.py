"""State of the streams, as the Spark application reports it to all processes of a deployment."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import gethostname
from typing import Any

import psutil

from conf.processes import TOLERANCE_SECONDS
from conf.settings import Settings
from infra.local.process import is_alive
from infra.local.state_files import read_state, unreadable


def read_streams(var_dir: Path) -> dict[str, Any] | None:
    """The content of `<var>/run/streams.json`, which the runner writes twice a second.

    Returns:
        None while no application runs, also where a killed one has left its file behind. Whether
        one of another machine (or container) lives, only the age of its report (`at`) shows.

    Raises:
        UnreadableStateError: the file names no application. A runner that lives writes it again
            within a second.
    """
    file = var_dir / "run" / "streams.json"
    report = read_state(file)
    if report is None:
        return None
    pid, streams = report.get("pid"), report.get("streams")
    if not (type(pid) is int and pid >= 0 and isinstance(streams, dict) and "host" in report):
        raise unreadable(file, "it names no application")
    lives = report["host"] != gethostname() or _lives(pid, report.get("at"))
    return report if lives else None


def _lives(pid: int, at: object) -> bool:
    """Whether the process is there that wrote the file at a time in seconds of the epoch."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        latest = at + TOLERANCE_SECONDS if isinstance(at, (int, float)) else math.inf
        return is_alive(process) and process.create_time() <= latest
    return False


def stream_states(settings: Settings) -> dict[str, Any]:
    """State of each stream by name, as the Spark application reports it; empty while none runs."""
    report = read_streams(settings.var_dir)
    return dict(report["streams"]) if report else {}


def ready_streams(settings: Settings) -> int:
    """Number of streams whose query is active."""
    return sum(1 for state in stream_states(settings).values() if state["ready"])


def streams_ready(settings: Settings, report: Callable[[str], None] = lambda _: None) -> bool:
    """Whether a Spark application runs and all its queries are active."""
    states, ready = stream_states(settings), ready_streams(settings)
    report(f"{ready} of {len(states)} streams" if states else "starting Spark")
    return bool(states) and ready == len(states)

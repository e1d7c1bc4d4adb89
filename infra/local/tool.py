"""Short preparations (initdb, Kafka's format, a download), run to their end or cancelled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event

from infra.errors import ServiceError
from infra.local.process import POLL_SECONDS, PRIVATE, Account

Report = Callable[[str], None]
"""Takes one short line of progress, such as `Kafka: 12 jars fetched`."""


def line_counter(
    name: str, report: Report, every: int, kinds: Mapping[str, str]
) -> Callable[[str], None]:
    """A function that counts lines of a tool's output, and reports every so many of a kind.

    Args:
        name: begins each report.
        report: receives the progress.
        every: how many lines of a kind make a report.
        kinds: how a line begins -> the report, with the counts in the order of the kinds.
    """
    counts = dict.fromkeys(kinds, 0)

    def count(line: str) -> None:
        kind = next((start for start in kinds if line.strip().startswith(start)), None)
        if kind is not None:
            counts[kind] += 1
            if counts[kind] % every == 0:
                report(f"{name}: {kinds[kind].format(*counts.values())}")

    return count


def run_tool(
    command: Sequence[str],
    what: str,
    cancel: Event,
    *,
    stdin: str = "",
    account: Account | None = None,
    cwd: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> None:
    """Run a preparation to its end, killing it when `cancel` is set.

    `what` names it in the error (`Formatting Kafka's data folder`); `on_line` gets each line of its
    output, from another thread.

    Raises:
        ServiceError: it failed or was cancelled; with its last lines.
    """
    process = subprocess.Popen(  # type: ignore[call-overload]
        list(command),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches us alone, and we decide.
        umask=PRIVATE,
        **(account or Account()).popen_options(),
    )
    last: deque[str] = deque(maxlen=4)

    def read() -> None:
        for line in process.stdout:
            if line.strip():
                last.append(line.strip())
                if on_line is not None:
                    on_line(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    # Only a few lines of SQL go in, so the write cannot fill the pipe.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(stdin)
        process.stdin.close()
    while process.poll() is None:
        if cancel.wait(POLL_SECONDS):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    reader.join(timeout=5)
    if cancel.is_set():
        raise ServiceError(f"{what} was interrupted: run the command again.")
    if process.returncode != 0:
        raise ServiceError(
            f"{what} failed with exit code {process.returncode}: {' | '.join(last) or 'no output'}"
        )

"""Processes of the machine: whether they live, what they leave behind, and how to wait for them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from conf.processes import TOLERANCE_SECONDS, since_boot, started

POLL_SECONDS = 0.05
PRIVATE = 0o077
"""The umask of our programs: files and sockets are for their owner only."""
GOING_SECONDS = 2.0  # for the children of a process that has ended, to notice it
MARK = "STORELAKE_DAEMON"
"""The variable in the environment of a process that holds the path of its pid file."""


@dataclass(frozen=True)
class Account:
    """The user that a process runs as; by default the present one."""

    uid: int | None = None
    gid: int | None = None

    def popen_options(self) -> dict[str, object]:
        """What `subprocess.Popen` needs to drop to this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs; a zombie, which only waits to be collected, does not."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def is_dying(process: psutil.Process) -> bool:
    """Whether the first thread of a killed process has ended, but others still hold its ports."""
    with contextlib.suppress(psutil.Error):
        return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() > 1
    return False


def step_back(niceness: int) -> None:
    """Let other processes go first where cores are few: 0 not at all, 19 always, as of nice(1).

    Linux may weigh sessions against each other before it looks at processes (sched(7), "The
    autogroup feature"): so ours steps back as a whole, where it may.
    """
    now = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, max(now, niceness))
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


def read_end(path: Path, least_bytes: int, since: int = 0) -> list[str]:
    """Lines at the end of a text file, without blank ones; none where it cannot be read.

    Args:
        path: of the file.
        least_bytes: so much of it is read, if it has that.
        since: offset from which on it is read; a file that is shorter was begun again.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(since if since <= size else 0, size - least_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a text file, without blank ones; a line is 400 bytes at most."""
    return read_end(path, 400 * count)[-count:]


def processes_where(holds: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """The processes of the machine of which something holds, as far as this user may see it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if holds(process):
                found.append(process)
    return found


def marked_processes(place: str) -> list[psutil.Process]:
    """The live processes whose environment names this pid file, children included."""
    return processes_where(lambda one: one.environ().get(MARK) == place and is_alive(one))


def end_now(processes: Sequence[psutil.Process]) -> None:
    """Let processes end by themselves for a moment, then kill them; returns when they are gone."""
    left = list(processes)
    if left and not wait_until(lambda: not any(map(is_alive, left)), GOING_SECONDS):
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        wait_until(lambda: not any(map(is_alive, left)), 5.0)


def session_of(leader: int, since: float) -> list[psutil.Process]:
    """What is left of a session whose leader has ended; a pid that it led is not given away before.

    Args:
        leader: its pid.
        since: its start, as its pid file has it.
    """
    earliest = since_boot(since) - TOLERANCE_SECONDS
    with contextlib.suppress(psutil.Error):
        if psutil.Process(leader).status() != psutil.STATUS_ZOMBIE:
            return []  # somebody else's by now, and so is the session
    return processes_where(
        lambda one: one.pid != leader and os.getsid(one.pid) == leader and started(one) >= earliest
    )


def resident(process: psutil.Process) -> int:
    """Its resident memory in bytes, shared pages by their share (PSS) where available."""
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def collect(process: psutil.Process) -> int | None:
    """Reap an ended child and return its exit code; None where it is not a child of ours."""
    with contextlib.suppress(psutil.Error):
        return process.wait(timeout=0)
    return None


def wait_until(condition: Callable[[], bool], seconds: float, every: float = POLL_SECONDS) -> bool:
    """Poll a condition `every` so many seconds; False when it did not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True

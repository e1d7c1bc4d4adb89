"""Processes that outlive the command: started, found again, checked and ended.

A process is ours when the pid file names it and pid, creation time and command line all agree:
a pid alone may have been recycled for somebody else's process. It leads a session of its own, so
what it leaves behind can be told from the rest of the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

# psutil derives the creation time from the boot time, which moves a little with the clock.
CLOCK_TOLERANCE_SECONDS = 2.0
POLL_SECONDS = 0.05
LARGEST_LOG_BYTES = 16 * 1024 * 1024
GOING_SECONDS = 2.0  # for the children of a process that has ended, to notice it

Ending = Literal["absent", "graceful", "killed"]


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


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a text file, without reading all of it; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 400 * count))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-count:]


@dataclass(frozen=True)
class Daemon:
    """One long-lived process with its pid file and log.

    Attributes:
        name: stem of both files.
        run_dir: folder of the pid file.
        log_dir: folder of the log, which stdout and stderr are appended to.
    """

    name: str
    run_dir: Path
    log_dir: Path

    @property
    def pid_file(self) -> Path:
        """JSON with pid, creation time and command line."""
        return self.run_dir / f"{self.name}.json"

    @property
    def log_file(self) -> Path:
        """Everything that the process says."""
        return self.log_dir / f"{self.name}.log"

    def spawn(
        self,
        command: Sequence[str],
        cwd: Path,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start the command in a session of its own, so that it outlives us; returns its pid.

        Args:
            command: program and arguments.
            cwd: its working folder.
            account: the user to run as.
            environment: all its variables, in place of ours.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        if self.log_file.exists() and self.log_file.stat().st_size > LARGEST_LOG_BYTES:
            self.log_file.replace(self.log_file.with_suffix(".log.1"))
        options = (account or Account()).popen_options()
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(  # type: ignore[call-overload]
                list(command),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                **options,
            )
        try:
            self._remember(child.pid, command)
        except BaseException:  # a full disk, Ctrl-C: nobody would ever find it again
            child.kill()
            child.wait()
            raise
        # The handle is let go on purpose: from here on only the pid file knows the process.
        child.returncode = 0
        return int(child.pid)

    def _remember(self, pid: int, command: Sequence[str]) -> None:
        try:
            created = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            created = time.time()
        record = {"pid": pid, "create_time": created, "command": list(command)}
        scratch = self.pid_file.with_suffix(".tmp")
        scratch.write_text(json.dumps(record))
        scratch.replace(self.pid_file)

    def find(self) -> psutil.Process | None:
        """Our process, or None if it is gone or the pid now belongs to another one."""
        process, command = self._recorded()
        with contextlib.suppress(psutil.Error):
            # For an instant of its start a process has no command line yet.
            if process and is_alive(process) and process.cmdline() in ([], command):
                return process
        return None

    def _recorded(self) -> tuple[psutil.Process | None, list[str]]:
        """The process of the pid file by pid and creation time, dying ones too; its command."""
        try:
            record = json.loads(self.pid_file.read_text())
            process = psutil.Process(record["pid"])
            age = process.create_time() - record["create_time"]
            return (process if abs(age) < CLOCK_TOLERANCE_SECONDS else None), record["command"]
        except (FileNotFoundError, ValueError, KeyError, psutil.Error):
            return None, []

    def owns_port(self, port: int) -> bool:
        """Whether our process, or a child of it, listens on that TCP port."""
        process = self.find()
        if process is None:
            return False
        with contextlib.suppress(psutil.Error):
            for one in (process, *process.children()):
                if any(
                    c.status == psutil.CONN_LISTEN and c.laddr.port == port
                    for c in one.net_connections(kind="tcp")
                ):
                    return True
        return False

    def memory_mb(self) -> int | None:
        """Resident memory of the process and its children."""
        process = self.find()
        with contextlib.suppress(psutil.Error):
            if process is not None:
                return sum(map(resident, (process, *process.children(recursive=True)))) // 2**20
        return None

    def uptime_seconds(self) -> int | None:
        """How long the process has been there."""
        process = self.find()
        with contextlib.suppress(psutil.Error):
            return None if process is None else int(time.time() - process.create_time())
        return None

    def stop(self, ask: signal.Signals = signal.SIGTERM, patience_seconds: float = 15.0) -> Ending:
        """End our process: ask, wait, then kill it with its children.

        Returns:
            How it ended; `absent` when no process of ours was there.
        """
        ending: Ending = "graceful"
        process = self.find()
        if process is None:
            dying, _ = self._recorded()
            if dying is not None:
                wait_until(lambda: not is_dying(dying), 5.0)
                collect(dying)
            self.sweep()
            self.pid_file.unlink(missing_ok=True)
            return "absent"
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            process.send_signal(ask)
            if not wait_until(lambda: not is_alive(process), patience_seconds):
                ending = "killed"
                for one in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
                wait_until(lambda: not any(is_alive(one) or is_dying(one) for one in family), 5.0)
        collect(process)
        self.sweep()
        self.pid_file.unlink(missing_ok=True)
        return ending

    def sweep(self) -> None:
        """End what our process, which is gone, has left of its session."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
            record = json.loads(self.pid_file.read_text())
            left = session_of(record["pid"], record["create_time"])
            if left and not wait_until(lambda: not any(map(is_alive, left)), GOING_SECONDS):
                for one in left:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
                wait_until(lambda: not any(map(is_alive, left)), 5.0)


def session_of(leader: int, since: float) -> list[psutil.Process]:
    """What is left of a session whose leader has ended; a pid that it led is not given away before.

    Args:
        leader: its pid.
        since: when it was created, in seconds of the epoch.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == leader:
                if process.status() != psutil.STATUS_ZOMBIE:
                    return []  # somebody else's by now, and so is the session
            elif os.getsid(process.pid) == leader and process.create_time() >= since - 1:
                found.append(process)
    return found


def resident(process: psutil.Process) -> int:
    """Its resident memory in bytes, shared pages by their share (PSS) where the system tells."""
    with contextlib.suppress(psutil.Error):
        return int(process.memory_full_info().pss)
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def collect(process: psutil.Process) -> int | None:
    """Take the exit code of an ended child, so that no zombie stays; None where it is not ours."""
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

"""Processes that outlive the command: started, found again, checked and ended.

A process is ours when the pid file names it and pid, creation time and command line all agree:
a pid alone may have been recycled for somebody else's process. It leads a session of its own, so
what it leaves behind can be distinguished from other processes. Its environment names the pid file,
so a process whose pid file is lost or unreadable is found among all processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from conf.processes import find_process, started, this_machine
from infra.local.last_words import last_words
from infra.local.pid_files import PidRecord, read_record, write_record
from infra.local.process import (
    MARK,
    PRIVATE,
    Account,
    collect,
    end_now,
    is_alive,
    is_dying,
    marked_processes,
    resident,
    session_of,
    wait_until,
)
from infra.local.state_files import UnreadableStateError, remove_state

LARGEST_LOG_BYTES = 16 * 1024 * 1024

Ending = Literal["absent", "graceful", "killed"]


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
        """Standard output and error of the process."""
        return self.log_dir / f"{self.name}.log"

    def spawn(
        self,
        command: Sequence[str],
        cwd: Path,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Start the command in a session of its own, so that it outlives us; returns its pid.

        Its variables are ours, or those of `environment` alone; `MARK` is added.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.rotate_log()
        options = (account or Account()).popen_options()
        inherited = os.environ if environment is None else environment  # noqa: TID251 - unread
        with self.log_file.open("ab") as log:
            log_from = log.tell()
            child = subprocess.Popen(  # type: ignore[call-overload]
                list(command),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=PRIVATE,
                env={**inherited, MARK: self._place},
                **options,
            )
        try:
            self._remember(child.pid, command, log_from)
        except BaseException:  # a full disk, Ctrl-C: nobody would ever find it again
            child.kill()
            child.wait()
            raise
        # The handle is dropped on purpose: from here on only the pid file identifies the process.
        child.returncode = 0
        return int(child.pid)

    def rotate_log(self) -> None:
        """Set a large log aside as `NAME.log.1`, also while its process appends to it.

        Lines that are written between the copy and the truncation are lost.
        """
        with contextlib.suppress(OSError):  # no log yet, or a full disk
            if self.log_file.stat().st_size > LARGEST_LOG_BYTES:
                shutil.copyfile(self.log_file, self.log_file.with_suffix(".log.1"))
                os.truncate(self.log_file, 0)

    @property
    def _place(self) -> str:
        return os.path.realpath(self.pid_file)

    def _remember(self, pid: int, command: Sequence[str], log_from: int) -> None:
        try:
            start = started(psutil.Process(pid))
        except psutil.NoSuchProcess:
            start = time.time() - psutil.boot_time()
        record = PidRecord(pid, start, list(command), log_from, this_machine())
        write_record(self.pid_file, record)

    def find(self) -> psutil.Process | None:
        """Our process, or None if it is gone or the pid now belongs to another one.

        Raises:
            UnreadableStateError: the pid file is closed to this user, who cannot see the process
                of another one either.
        """
        try:
            process, command = self._recorded()
        except UnreadableStateError as error:
            if isinstance(error.__cause__, PermissionError):
                raise
            return self._search()
        with contextlib.suppress(psutil.Error):
            # For an instant of its start a process has no command line yet.
            if process and is_alive(process) and process.cmdline() in ([], command):
                return process
        return None

    def recover(self) -> psutil.Process | None:
        """As `find`, also where the pid file was lost: looks at every process of the machine."""
        return self.find() or self._search()

    def _search(self) -> psutil.Process | None:
        """The process that was started with this pid file, which is written again."""
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            leaders = [p for p in marked_processes(self._place) if os.getsid(p.pid) == p.pid]
            # A server may fork children that lead sessions, too; it is older than they are.
            process = min(leaders, key=lambda one: one.create_time())
            self._remember(process.pid, process.cmdline(), 0)
            return process
        return None

    def _recorded(self) -> tuple[psutil.Process | None, list[str]]:
        """The process of the pid file by pid and creation time, dying ones too; its command."""
        record = read_record(self.pid_file)
        if record is None or not record.is_here:
            return None, []
        return find_process(record.pid, record.create_time), record.command

    def last_words(self) -> str:
        """Why the process of the pid file ended, from its log; empty if that names no reason."""
        with contextlib.suppress(UnreadableStateError):
            record = read_record(self.pid_file)
            return last_words(self.log_file, record.log_from if record else 0)
        return last_words(self.log_file)

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
        process = self.recover()
        if process is None:
            self._wait_for_the_dying()
            self.sweep()
            remove_state(self.pid_file)
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
        remove_state(self.pid_file)
        return ending

    def _wait_for_the_dying(self) -> None:
        with contextlib.suppress(UnreadableStateError):
            dying, _ = self._recorded()
            if dying is not None:
                wait_until(lambda: not is_dying(dying), 5.0)
                collect(dying)

    def sweep(self) -> None:
        """End what our process, which is gone, has left of its session."""
        end_now(self._left())

    def _left(self) -> list[psutil.Process]:
        try:
            record = read_record(self.pid_file)
        except UnreadableStateError:
            return marked_processes(self._place)
        if record is None or not record.is_here:
            return []
        return session_of(record.pid, record.create_time)

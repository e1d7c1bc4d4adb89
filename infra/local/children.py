"""The programs and services that the supervisor process looks after, each with its process."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import Signals
from typing import Any, ClassVar

import psutil

from infra.local.board import ProgramStatus
from infra.local.daemon import Daemon
from infra.local.process import collect, is_alive
from infra.local.service import Service

log = logging.getLogger("storelake.supervisor")

PROBE_SECONDS = 5.0
START_PROBE_SECONDS = 1.0
"""Until the first answer."""
FIRST_ANSWER_FACTOR = 10.0
"""A service may recover a large log before it answers for the first time: so much longer."""


@dataclass(frozen=True)
class Program:
    """Something to keep running.

    Attributes:
        rank: at the end, programs of a higher rank go first, those of one rank together.
    """

    name: str
    command: tuple[str, ...]
    rank: int = 0


@dataclass
class Child:
    """One that is to run, and its process; `early` counts its early deaths in a row."""

    never_given_up: ClassVar[bool] = False
    name: str
    daemon: Daemon
    process: psutil.Process | None = None
    early: int = 0
    status: ProgramStatus = field(default_factory=ProgramStatus)

    def runs(self) -> bool:
        """Whether its process lives, also one that an earlier supervisor or a command started."""
        if self.process is None:
            self.process = self.daemon.find()
            if self.process is not None:
                log.info("%s is taken over, pid %d", self.name, self.process.pid)
        return self.process is not None and is_alive(self.process)

    def start(self) -> None:
        """Begin to start it.

        Raises:
            OSError: there is no such program, no memory, or no room on the disk.
        """
        raise NotImplementedError

    def starting(self) -> bool:
        """Whether a start is under way.

        Raises:
            Exception: whatever has kept it from starting, once.
        """
        return False

    def watch(self, silent_seconds: float) -> None:
        """Look after its process, which lives."""

    def end_of_process(self) -> tuple[str, float]:
        """Collect its dead process, and end what that left.

        Returns:
            Why it ended, the cause first; and how many seconds it lived.
        """
        lived = age(self.process) if self.process else 0.0
        code = collect(self.process) if self.process else None
        self.process = None
        self.status = replace(self.status, answered=False, silent_since=None)
        cause = self._cause(code)
        self.daemon.sweep()
        ending = f"{_ending(code)} after {lived:.0f} s"
        return (f"{cause} (it {ending})" if cause else f"It {ending}"), lived

    def clear(self) -> None:
        """It is not wanted any more."""
        self.process, self.status, self.early = None, ProgramStatus(), 0

    def _cause(self, code: int | None) -> str:
        """What its log names as the cause; nothing for one that a signal has ended."""
        return "" if code is not None and code < 0 else self.daemon.last_words()


@dataclass
class ProgramChild(Child):
    """A program: a command of ours, of one process."""

    program: Program = field(default_factory=lambda: Program("", ()))
    cwd: Path = field(default_factory=Path)

    def start(self) -> None:
        """Spawn its command, unless a process of it runs whose pid file was lost."""
        self.process = self.daemon.recover()
        if self.process is not None:
            log.info("%s is taken over, pid %d", self.name, self.process.pid)
            return
        pid = self.daemon.spawn(self.program.command, cwd=self.cwd)
        log.info("%s is started, pid %d", self.name, pid)
        with suppress(psutil.NoSuchProcess):
            self.process = psutil.Process(pid)


class ServiceChild(Child):
    """A service: it is started and asked for an answer in other threads.

    All programs need it, and a full disk passes: it is tried again for ever.
    """

    never_given_up = True

    def __init__(self, service: Service[Any], pool: Executor) -> None:
        super().__init__(service.name, service.daemon)
        self._service, self._pool = service, pool
        self._launch: Future[None] | None = None
        self._probe: Future[bool] | None = None
        self._probe_at = self._answered_at = 0.0
        self._killed_for = ""

    def start(self) -> None:
        """Begin to start it in another thread."""
        self._launch = self._pool.submit(self._service.start_again)

    def starting(self) -> bool:
        """Whether `start_again` is under way; raises its error, once."""
        if self._launch is None or not self._launch.done():
            return self._launch is not None
        done, self._launch = self._launch, None
        done.result()
        return False

    def watch(self, silent_seconds: float) -> None:
        """Ask for an answer every `PROBE_SECONDS`; kill it when it has been silent too long."""
        now = time.time()
        if self._probe is None and self.process and time.monotonic() >= self._probe_at:
            # Not later than now, where the clock was set back.
            self._answered_at = min(now, self._answered_at or _born(self.process))
            pause = PROBE_SECONDS if self.status.answered else START_PROBE_SECONDS
            self._probe_at = time.monotonic() + pause
            self._probe = self._pool.submit(self._service.silent)
        if self._probe is None or not self._probe.done():
            return
        silent, self._probe = _outcome(self._probe), None
        if not silent:
            self._answered_at = now
            self.status = replace(self.status, answered=True, silent_since=None)
            return
        self._kill_after(silent_seconds * (1 if self.status.answered else FIRST_ANSWER_FACTOR))

    def _kill_after(self, bound: float) -> None:
        silence = time.time() - self._answered_at
        if self.status.answered:
            self.status = replace(self.status, silent_since=self._answered_at)
        if silence > bound and self.process is not None:
            self._killed_for = f"It did not answer for {silence:.0f} s"
            log.error("%s: %s; it is killed", self.name, self._killed_for)
            self.process.kill()

    def end_of_process(self) -> tuple[str, float]:
        """Collect its dead process, and expect a first answer of the next one."""
        self._answered_at, self._probe = 0.0, None
        return super().end_of_process()

    def _cause(self, code: int | None) -> str:
        cause, self._killed_for = self._killed_for, ""
        return cause or super()._cause(code)


def age(process: psutil.Process) -> float:
    """Seconds since it was created; of a dead one, too."""
    return max(0.0, time.time() - _born(process))


def _born(process: psutil.Process) -> float:
    """When it was created, in seconds of the epoch; now, for one that has gone."""
    with suppress(psutil.Error):
        return float(process.create_time())
    return time.time()


def _outcome(probe: Future[bool]) -> bool:
    """Whether a service is silent; no, when the probe itself fails (no password yet)."""
    with suppress(Exception):
        return probe.result()
    return False


def _ending(code: int | None) -> str:
    """How a process ended; code: None for one that another process has started."""
    if code is None:
        return "ended"
    return f"ended with exit code {code}" if code >= 0 else f"ended by {Signals(-code).name}"

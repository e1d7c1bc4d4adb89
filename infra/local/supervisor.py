"""Keeps processes running: those that die come back, with growing pauses, until it is hopeless.

The supervisor process reads what shall run and writes what became of it (`infra.local.board`). All
else can be found again by the pid files, so a supervisor that was killed is replaced by the next
one, which takes over what still runs. Programs are commands of ours; services are servers that also
answer a protocol: one that does not answer is killed, and started again like one that died.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import psutil

from conf.errors import StorelakeError, first_line
from conf.settings import SupervisorSettings
from infra.local.board import NAME, ProgramStatus, StateDir
from infra.local.children import Child, Program, ProgramChild, ServiceChild, age
from infra.local.daemon import Daemon
from infra.local.process import wait_until
from infra.local.service import Service
from infra.local.state_files import UnreadableStateError

__all__ = ["NAME", "Program", "ProgramStatus", "StateDir", "Supervisor", "end_all"]

log = logging.getLogger("storelake.supervisor")

LOOK_SECONDS = 0.25
START_SECONDS = 10.0


class Supervisor:
    """Runs the programs and services of one deployment until `stop`.

    Args:
        board: where it reads what is wanted, and writes the status of each.
        programs: all that may be wanted.
        conf: pauses, and when to give up.
        cwd: working folder of the programs.
        services: all that may be wanted.
        cancel: set at the end; it interrupts a start of a service.
    """

    def __init__(
        self,
        board: StateDir,
        programs: Sequence[Program],
        conf: SupervisorSettings,
        cwd: Path,
        *,
        services: Sequence[Service[Any]] = (),
        cancel: Event | None = None,
    ) -> None:
        self._state_dir, self._conf = board, conf
        self._pool = ThreadPoolExecutor(max_workers=1 + 2 * len(services))
        self._programs = [
            ProgramChild(one.name, board.daemon(one.name), program=one, cwd=cwd) for one in programs
        ]
        self._services = [ServiceChild(one, self._pool) for one in services]
        self._cancel = cancel or Event()
        self._stop = Event()
        self._wanted: dict[str, float] | None = None
        self._ending: Future[list[str]] | None = None

    def stop(self) -> None:
        """End all programs in order, then return from `run`; for a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Start what is wanted, stop what is not, bring back what died; until `stop`.

        Services go on when the supervisor ends: `storelake down` stops them afterwards. A
        supervisor whose place another one has taken ends, too, and leaves the programs to that one.
        """
        wait_until(self._is_owner, START_SECONDS)  # the command that starts us writes our pid file
        try:
            while self._is_owner() and not self._stop.is_set():
                try:
                    self._look()
                except (OSError, psutil.Error, StorelakeError) as error:  # the next look may do
                    log.warning("could not look after everything: %s", error)
                except Exception:  # an end of the supervisor would end all programs
                    log.exception("could not look after everything")
                self._stop.wait(LOOK_SECONDS)
        finally:
            self._cancel.set()
            self._pool.shutdown(wait=True)
            if self._is_owner():
                end_all([(c.program, c.daemon) for c in self._programs], self._conf.stop_seconds)
            log.info("the supervisor ends")

    def _is_owner(self) -> bool:
        process = self._state_dir.supervisor.find()
        return process is not None and process.pid == os.getpid()

    def _look(self) -> None:
        wanted = self._read_wanted()
        everyone = (*self._services, *self._programs)
        for child in self._services if self._ends_unwanted(wanted) else everyone:
            if child.name in wanted:
                self._reconcile(child, wanted[child.name])
            else:
                child.clear()
        statuses = {child.name: child.status for child in everyone if child.name in wanted}
        if statuses != self._reported():
            with suppress(OSError):  # a full disk: written the next time
                self._state_dir.show(statuses)

    def _read_wanted(self) -> dict[str, float]:
        """What is wanted; what was wanted before, as long as the file cannot be read."""
        try:
            self._wanted = self._state_dir.requested()
        except UnreadableStateError as error:
            if self._wanted is None:
                self._wanted = self._state_dir.wanted()
                log.warning("%s Going on with what runs: %s", error, ", ".join(self._wanted))
        return self._wanted

    def _reported(self) -> Mapping[str, ProgramStatus] | None:
        with suppress(UnreadableStateError):
            return self._state_dir.statuses()
        return None

    def _ends_unwanted(self, wanted: Mapping[str, float]) -> bool:
        """Whether programs are being ended that nobody asked for; services still run.

        A service that nobody asked for is left alone: a command of its own may run it.
        """
        if self._ending is not None and self._ending.done():
            self._ending = None
        unwanted = [child for child in self._programs if child.name not in wanted]
        if self._ending is None and any(child.runs() for child in unwanted):
            gone = [(child.program, child.daemon) for child in unwanted]
            self._ending = self._pool.submit(end_all, gone, self._conf.stop_seconds)
        return self._ending is not None

    def _reconcile(self, child: Child, asked_at: float) -> None:
        try:
            if child.starting():
                return
        except Exception as error:  # whatever has kept it from starting: a port, a disk, its data
            self._put_off(child, f"{first_line(error)} (it could not be started)", lived=0.0)
        if child.runs():
            if child.early and child.process and age(child.process) >= self._conf.steady_seconds:
                child.early = 0
            child.status = replace(child.status, asked_at=asked_at, again_at=None, failed=False)
            child.watch(self._conf.silent_seconds)
            child.daemon.rotate_log()
            return
        died = child.process is not None
        if died:
            self._put_off(child, *child.end_of_process())
        if asked_at != child.status.asked_at:  # a new request, after a repair
            child.early = 0
            waits = died and not child.status.failed  # asked for as it ran, or as it was dying
            child.status = (
                replace(child.status, asked_at=asked_at) if waits else ProgramStatus(asked_at)
            )
        again_at = child.status.again_at
        pause = (again_at or 0.0) - time.time()
        # Longer than the longest one: the clock was set back.
        over = not 0 < pause <= self._conf.restart_max_seconds
        if over and (again_at or not child.status.failed):
            self._start(child)

    def _put_off(self, child: Child, note: str, lived: float) -> None:
        conf, name = self._conf, child.name
        child.early = child.early + 1 if lived < conf.steady_seconds else 0
        if child.early >= conf.give_up_after:
            again = time.time() + conf.restart_max_seconds if child.never_given_up else None
            child.status = replace(child.status, again_at=again, failed=True, note=note)
            log.error("%s: %s; given up after %d early deaths", name, note, child.early)
            return
        doublings = max(0, child.early - 1)
        pause = min(conf.restart_base_seconds * 2**doublings, conf.restart_max_seconds)
        child.status = replace(child.status, again_at=time.time() + pause, note=note)
        log.warning("%s: %s; again in %.1f s", name, note, pause)

    def _start(self, child: Child) -> None:
        before = child.status
        try:
            child.start()
        except (OSError, StorelakeError) as error:  # a full disk, no memory, no interpreter
            self._put_off(child, f"{first_line(error)} (it cannot be started)", lived=0.0)
            return
        again = before.again_at is not None
        child.status = replace(before, restarts=before.restarts + again, again_at=None)


def end_all(programs: Iterable[tuple[Program, Daemon]], patience_seconds: float) -> list[str]:
    """End processes by rank, those of one rank side by side; returns the names of what ran.

    A rank has `patience_seconds` to end what it is doing; then it is killed.
    """
    known = list(programs)
    ran: list[str] = []
    for rank in sorted({program.rank for program, _ in known}, reverse=True):
        some = [(program, daemon) for program, daemon in known if program.rank == rank]
        with ThreadPoolExecutor(max_workers=len(some)) as pool:
            stop = lambda one: one[1].stop(patience_seconds=patience_seconds)  # noqa: E731
            endings = pool.map(stop, some)
        ran += [p.name for (p, _), how in zip(some, endings, strict=True) if how != "absent"]
    return ran

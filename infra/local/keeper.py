"""Keeps processes running: those that die come back, with growing pauses, until it is hopeless.

Commands and the keeper, a process of its own, talk through two files in <var>/run. Commands write
`wanted.json`: which programs shall run, and when somebody asked for each. The keeper writes
`keeper-state.json`: what became of them. All else can be found again by the pid files, so a keeper
that was killed is replaced by the next one, which takes over what still runs.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from signal import Signals
from threading import Event
from typing import Any

import psutil

from conf.settings import KeeperSettings
from infra.local.process import Daemon, collect, is_alive, tail, wait_until

log = logging.getLogger("storelake.keeper")

NAME = "keeper"
LOOK_SECONDS = 0.25
BIRTH_SECONDS = 10.0


@dataclass(frozen=True)
class Program:
    """Something to keep running.

    Attributes:
        name: also of its log and pid file.
        command: program and arguments.
        rank: at the end, programs of a higher rank go first, those of one rank together.
    """

    name: str
    command: tuple[str, ...]
    rank: int = 0


@dataclass(frozen=True)
class Word:
    """What the keeper says of one program.

    Attributes:
        asked_at: the wish that this answers; what is said of an earlier one is old.
        restarts: since then.
        again_at: when it starts again, in seconds of the epoch; None unless it waits for that.
        failed: whether nobody tries any more, until somebody asks for it again.
        note: how it ended last.
    """

    asked_at: float = 0.0
    restarts: int = 0
    again_at: float | None = None
    failed: bool = False
    note: str = ""


@dataclass(frozen=True)
class Board:
    """Where the files of one house are.

    Attributes:
        var: state folder of the house.
    """

    var: Path

    @property
    def keeper(self) -> Daemon:
        """The keeper's own process."""
        return Daemon(NAME, self.var / "run", self.var / "logs")

    def daemon(self, name: str) -> Daemon:
        """The process of a program; `run` itself has files by the same names."""
        return Daemon(name, self.var / "run" / "programs", self.var / "logs")

    def wanted(self) -> dict[str, float]:
        """The programs that shall run, with the time at which each was asked for."""
        return _read(self.var / "run" / "wanted.json")

    def want(self, wanted: Mapping[str, float]) -> None:
        """Say which programs shall run from now on."""
        _write(self.var / "run" / "wanted.json", wanted)

    def word(self, name: str) -> Word:
        """What the keeper says of a program; nothing yet, if that was about an earlier wish."""
        asked_at = self.wanted().get(name, 0.0)
        said = _read(self.var / "run" / "keeper-state.json").get(name)
        word = Word(**said) if said else Word()
        return word if word.asked_at == asked_at else Word(asked_at)

    def say(self, words: Mapping[str, Word]) -> None:
        """What the keeper says now."""
        said = {name: asdict(word) for name, word in words.items()}
        _write(self.var / "run" / "keeper-state.json", said)


def _read(file: Path) -> dict[str, Any]:
    with suppress(FileNotFoundError, ValueError):
        return dict(json.loads(file.read_text(encoding="utf-8")))
    return {}


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".tmp")
    fresh.write_text(json.dumps(content), encoding="utf-8")
    fresh.replace(file)


@dataclass
class _Child:
    """A program and its process; `early` counts its early deaths in a row."""

    program: Program
    daemon: Daemon
    process: psutil.Process | None = None
    early: int = 0
    word: Word = field(default_factory=Word)

    @property
    def alive(self) -> bool:
        return self.process is not None and is_alive(self.process)


class Keeper:
    """Looks after the programs of one house until it is told to stop.

    Args:
        board: where it reads what is wanted, and says what became of it.
        programs: all that may be wanted.
        conf: pauses, and when to give up.
        cwd: working folder of the programs.
    """

    def __init__(
        self, board: Board, programs: Sequence[Program], conf: KeeperSettings, cwd: Path
    ) -> None:
        self._board, self._conf, self._cwd = board, conf, cwd
        self._children = [_Child(program, board.daemon(program.name)) for program in programs]
        self._stop = Event()
        self._said: dict[str, Word] | None = None

    def stop(self) -> None:
        """End all programs in order, then return from `run`; for a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Start what is wanted, stop what is not, bring back what died; until `stop`.

        A keeper whose place another one has taken ends, too, and leaves the programs to that one.
        """
        wait_until(self._in_office, BIRTH_SECONDS)  # the command that starts us writes our pid file
        try:
            while self._in_office() and not self._stop.is_set():
                self._look()
                self._stop.wait(LOOK_SECONDS)
        finally:
            if self._in_office():
                end_all([(c.program, c.daemon) for c in self._children], self._conf.stop_seconds)
            log.info("the keeper ends")

    def _in_office(self) -> bool:
        process = self._board.keeper.find()
        return process is not None and process.pid == os.getpid()

    def _look(self) -> None:
        wanted = self._board.wanted()
        unwanted = [c for c in self._children if c.program.name not in wanted]
        if any(self._takes_over(child) for child in unwanted):
            end_all([(c.program, c.daemon) for c in unwanted], self._conf.stop_seconds)
        for child in unwanted:
            child.process, child.word, child.early = None, Word(), 0
        for child in self._children:
            if child not in unwanted:
                self._tend(child, wanted[child.program.name])
        words = {c.program.name: c.word for c in self._children if c not in unwanted}
        if words != self._said:
            with suppress(OSError):  # a full disk: said the next time
                self._board.say(words)
                self._said = words

    def _takes_over(self, child: _Child) -> bool:
        """Whether its process runs, also one that an earlier keeper started."""
        if child.process is None:
            child.process = child.daemon.find()
            if child.process is not None:
                log.info("%s is taken over, pid %d", child.program.name, child.process.pid)
        return child.alive

    def _tend(self, child: _Child, asked_at: float) -> None:
        if self._takes_over(child):
            if child.early and _age(child.process) >= self._conf.steady_seconds:
                child.early = 0
            child.word = replace(child.word, asked_at=asked_at)
            return
        if child.process is not None:
            self._note_death(child, child.process)
        if asked_at != child.word.asked_at:  # somebody has mended something, and asks again
            child.early, child.word = 0, Word(asked_at)
        if not child.word.failed and time.time() >= (child.word.again_at or 0.0):
            self._start(child)

    def _note_death(self, child: _Child, process: psutil.Process) -> None:
        lived, code = _age(process), collect(process)
        child.process = None
        child.daemon.sweep()
        last = "".join(tail(child.daemon.log_file, 1))[:300]
        note = f"{_ending(code)} after {lived:.0f} s: {last or 'it said nothing'}"
        self._put_off(child, note, lived)

    def _put_off(self, child: _Child, note: str, lived: float) -> None:
        conf, name = self._conf, child.program.name
        child.early = child.early + 1 if lived < conf.steady_seconds else 1
        if child.early >= conf.give_up_after:
            child.word = replace(child.word, again_at=None, failed=True, note=note)
            log.error("%s %s; given up after %d early deaths", name, note, child.early)
            return
        pause = min(conf.restart_base_seconds * 2 ** (child.early - 1), conf.restart_max_seconds)
        child.word = replace(child.word, again_at=time.time() + pause, note=note)
        log.warning("%s %s; again in %.1f s", name, note, pause)

    def _start(self, child: _Child) -> None:
        name, before = child.program.name, child.word
        try:
            pid = child.daemon.spawn(child.program.command, cwd=self._cwd)
        except OSError as error:  # a full disk, no memory, or an interpreter that is gone
            self._put_off(child, f"cannot be started ({error})", lived=0.0)
            return
        again = before.again_at is not None
        child.word = replace(before, restarts=before.restarts + again, again_at=None)
        with suppress(psutil.NoSuchProcess):
            child.process = psutil.Process(pid)
        log.info("%s is started, pid %d", name, pid)


def _ending(code: int | None) -> str:
    """How a process ended; nobody knows the code of one that an earlier keeper has started."""
    if code is None:
        return "ended"
    return f"ended with exit code {code}" if code >= 0 else f"ended by {Signals(-code).name}"


def _age(process: psutil.Process | None) -> float:
    """Seconds since it was created; of a dead one, too."""
    with suppress(psutil.Error):
        return 0.0 if process is None else max(0.0, time.time() - process.create_time())
    return 0.0


def end_all(programs: Iterable[tuple[Program, Daemon]], patience_seconds: float) -> list[str]:
    """End processes by rank, those of one rank side by side; returns the names of those that ran.

    Args:
        programs: with their processes.
        patience_seconds: for each rank, to end what it is doing; then it is killed.
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

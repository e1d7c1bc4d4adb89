"""Programs run beside this process, or to their end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from conf.errors import StorelakeError
from infra.local.process import is_alive, tail, wait_until

STOP_SECONDS = 60.0
TIMED_OUT = 124


class ProcessError(StorelakeError):
    """A program did not become ready, or died; the message names its log."""


@dataclass(frozen=True)
class Ended:
    """A program that was run to its end; `code` is 124 after a timeout."""

    code: int
    output: str
    seconds: float

    def last_lines(self, count: int = 3) -> str:
        """The last lines that are not empty, with ` | ` between them."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return " | ".join(lines[-count:])[-600:] or "no output"


class Child(psutil.Popen):
    """A program beside this one, in a session of its own, so that Ctrl-C does not reach it."""

    def __init__(self, title: str, command: Sequence[str], log: Path) -> None:
        self.title, self.log = title, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            super().__init__(
                list(command), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def require_alive(self) -> None:
        """Raise `ProcessError` with the end of its log when it has ended."""
        if self.poll() is not None:
            last = " | ".join(tail(self.log, 3))
            raise ProcessError(f"{self.title} ended with exit code {self.returncode}: {last}")

    def stop(self) -> int:
        """SIGTERM, and SIGKILL after a minute; returns the exit code."""
        if self.poll() is None:
            self.send_signal(signal.SIGTERM)
        try:
            return int(self.wait(STOP_SECONDS))
        except psutil.TimeoutExpired:
            kill_family(self)
            return int(self.wait())


def command(
    arguments: Sequence[str], environment: Mapping[str, str], module: str = "cli.main"
) -> list[str]:
    """`storelake <arguments>` (or another module) with variables on top of the present ones."""
    variables = [f"{name}={value}" for name, value in environment.items()]
    return ["env", *variables, sys.executable, "-m", module, *arguments]


def run_to_end(arguments: Sequence[str], timeout: float, *, cwd: Path | None = None) -> Ended:
    """Run a program to its end; kill it and its children after `timeout` seconds."""
    begun = time.monotonic()
    with psutil.Popen(
        list(arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=cwd,
    ) as child:
        timed_out = False
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            kill_family(child)
            output, _ = child.communicate()
        except BaseException:
            kill_family(child)
            raise
    code = TIMED_OUT if timed_out else int(child.returncode)
    return Ended(code, output, time.monotonic() - begun)


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants."""
    with suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return [process]


def cpu_seconds(pid: int | None = None) -> dict[str, float]:
    """CPU seconds of a process (else our own) and its descendants, of those that ended, too.

    By kind of process: `driver` is the process itself, `jvm`, and the Python `workers` together,
    with what a JVM has started and seen end.
    """
    root, spent = psutil.Process(pid), dict.fromkeys(("driver", "jvm", "workers"), 0.0)
    for one in family(root):
        with suppress(psutil.NoSuchProcess):
            kind = "driver" if one == root else "jvm" if "java" in one.name() else "workers"
            user, system, *ended = one.cpu_times()[:4]
            spent[kind] += user + system
            spent["workers" if kind == "jvm" else kind] += sum(ended)
    return spent


def kill_family(process: psutil.Process) -> None:
    """SIGKILL a process and its descendants at once, and wait until they are gone.

    The process group is not enough: PySpark's workers have one of their own.
    """
    members = family(process)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    # Zombies of orphans may be left where nobody collects them; those hold no resources.
    wait_until(lambda: not any(map(is_alive, members)), STOP_SECONDS)

"""A wall clock of the streams that steps, by a library that is compiled for it."""

from __future__ import annotations

import json
import shutil
import struct
from contextlib import suppress
from pathlib import Path

from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import CannotFireError, Fired, NotFiredError
from verification.faults.hangs import watch
from verification.faults.network import proxied
from verification.processes import run_to_end

SOURCE = Path(__file__).with_name("clock.c")
SECONDS = 20.0
STEPS = (3600, -3600, 0)
"""Seconds that the clock is ahead, one after the other."""


def step_clock(deployment: SupervisedDeployment) -> Fired:
    """The clock of the streams steps an hour ahead, two hours back, and to the right time.

    The clocks of the services and the monotonic clock are not touched.

    Raises:
        CannotFireError: there is no C compiler.
        NotFiredError: the streams do not start with that clock, or do not follow it.
    """
    folder = deployment.settings.var_dir / "check"
    library, file = _compiled(folder), folder / "clock"
    _write(file, 0)
    programs = proxied(deployment)
    if trouble := programs.restart({"LD_PRELOAD": str(library), "STEPPED_CLOCK": str(file)}):
        raise NotFiredError(trouble)
    broken, seen = [], []
    for step in STEPS:
        _write(file, step)
        since = now()
        watch(deployment, f"the clock of the streams is {step} s ahead", SECONDS)
        ahead = _report_time(deployment) - now().timestamp()
        seen.append(f"{ahead:+.0f}")
        if abs(ahead - step) > SECONDS:
            raise NotFiredError(f"the streams' clock is {ahead:.0f} s ahead, not {step}")
        if not deployment.all_committed(since):
            broken.append(f"no commit of every stream at {step} s within {SECONDS:.0f} s")
    programs.restart()
    return Fired(f"reports of the streams at {', '.join(seen)} s", now(), broken)


def _compiled(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        raise CannotFireError("there is no C compiler")
    library = folder / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    done = run_to_end(command, SECONDS)
    if done.code:
        raise CannotFireError(f"{SOURCE.name} cannot be compiled: {done.last_lines()}")
    return library


def _write(file: Path, seconds: int) -> None:
    """In place: the processes have mapped the file."""
    file.touch()
    with file.open("r+b") as out:
        out.write(struct.pack("q", seconds))


def _report_time(deployment: SupervisedDeployment) -> float:
    """When the application reported last by its own clock, in seconds since 1970."""
    report = deployment.settings.var_dir / "run" / "streams.json"
    with suppress(OSError, ValueError, KeyError):
        return float(json.loads(report.read_text())["at"])
    return 0.0

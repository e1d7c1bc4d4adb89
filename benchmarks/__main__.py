"""All benchmarks, one after the other: `python -m benchmarks [--full] [--only NAME]`.

The short form takes about ten minutes on two cores and writes to <var>/bench: less data, so its
figures are coarse; the table has those of full size beside them. `--full` takes hours and replaces
the files that the documentation cites. A part that fails, or takes longer than its bound, does not
keep the others from running; the exit code is 1 then.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import psutil
import typer

from benchmarks import RESULTS
from benchmarks.parts import PARTS, Part, read_result
from benchmarks.plots import PICTURE, draw
from conf.settings import load_settings
from infra.terminal import console
from infra.terminal_table import TextTable
from verification.processes import kill_family

STOP_SECONDS = 60


def run(part: Part, file: Path, *, full: bool) -> str:
    """Run a part, with its progress on standard error; returns what went wrong."""
    if not full:  # one of full size is kept until there is a newer one
        file.unlink(missing_ok=True)
    bound, arguments = part.seconds[full], [*part.arguments(full=full), "--out", str(file)]
    child = psutil.Popen(
        [sys.executable, "-m", f"benchmarks.{part.module}", *arguments], stdout=subprocess.DEVNULL
    )
    try:
        code = child.wait(bound)
    except psutil.TimeoutExpired:
        _stop(child)
        return f"longer than {bound} s"
    except KeyboardInterrupt:
        child.wait(STOP_SECONDS)  # it was interrupted, too
        raise
    return f"exit code {code}" if code else ""


def _stop(child: psutil.Popen) -> None:
    """Interrupt a part, so that it stops its services; kill it where it does not end."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        kill_family(child)


def table(parts: Sequence[Part], folder: Path, failed: Mapping[str, str]) -> TextTable:
    """The figures of these parts beside those of full size."""
    shown: list[tuple[str, ...]] = []
    for part in parts:
        here, full = read_result(folder, part.name), read_result(RESULTS, part.name)
        rows = [(one.title, one.of(here), one.of(full), one.target) for one in part.figures]
        if part.name in failed:
            rows.insert(0, (f"failed: {failed[part.name]}", "", "", ""))
        for index, row in enumerate(rows):
            shown.append(("" if index else part.name, *row))
    names = ("part", "figure", "here", "full size", "target")
    return TextTable(names, shown, prose=names[1:])


def chosen(only: Sequence[str], *, full: bool) -> list[Part]:
    """The parts of these names, else all that the form has."""
    if unknown := set(only) - {part.name for part in PARTS}:
        raise typer.BadParameter(f"no part: {', '.join(sorted(unknown))}")
    return [p for p in PARTS if (full or p.short is not None) and (not only or p.name in only)]


def main(
    *,
    full: Annotated[bool, typer.Option("--full", help="Full sizes, kept with the code.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Names of parts; else all.")] = None,
) -> None:
    """Run, then print one table and draw the growth curves."""
    parts, failed = chosen(only or (), full=full), dict[str, str]()
    folder = RESULTS if full else load_settings().var_dir / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts, 1):
        begun = time.monotonic()
        sys.stderr.write(f"{number} of {len(parts)}: {part.name}, {part.title}\n")
        if fault := run(part, folder / f"{part.name}.json", full=full):
            failed[part.name] = fault
        sentence = fault or f"done after {time.monotonic() - begun:.0f} s"
        clear = "\r\033[K" if sys.stderr.isatty() else ""
        sys.stderr.write(f"{clear}{part.name}: {sentence}\n")
    picture = PICTURE if full else folder / "growth.png"
    draw(folder, picture)
    table(parts, folder, failed).show()
    console().print(f"Results: {folder}; growth curves: {picture}", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except KeyboardInterrupt:
        sys.exit(130)

"""`storelake logs`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.context import read_settings
from infra.terminal import console


def logs(
    names: Annotated[
        list[str] | None, typer.Argument(help="Of services or processes; all of them by default.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of each log.")] = 20,
) -> None:
    """Show the end of the logs in `<var>/logs`."""
    from cli.follow import follow_files, last_lines, log_files

    files = log_files(read_settings().var_dir / "logs", names or ())
    out = console()
    for file in files:
        for line in last_lines(file, lines):
            out.print(f"{file.stem:<11} {line}", markup=False, highlight=False, soft_wrap=True)
    if follow:
        for stem, line in follow_files(files):
            out.print(f"{stem:<11} {line}", markup=False, highlight=False, soft_wrap=True)

"""`storelake logs`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.context import parse_age, read_settings


def logs(
    names: Annotated[
        list[str] | None, typer.Argument(help="Of services or processes; all of them by default.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("--lines", "-n", min=0, help="Entries of each log; by default 20, or since."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what is younger: 30s, 10m, 2h or 1d.")
    ] = None,
    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        typer.Option(help="The least severe level; lines without a level are always shown."),
    ] = "debug",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the end of the logs in `<var>/logs`, merged by time (UTC)."""
    from datetime import datetime, timezone

    from infra.local import log_files
    from infra.local.log_output import LogPrinter

    folder, wanted = read_settings().var_dir / "logs", names or ()
    files = log_files.log_files(folder, wanted)
    start = datetime.now(timezone.utc) - parse_age(since) if since else None
    count = 20 if lines is None and start is None else lines
    printer = LogPrinter([file.stem for file in files], as_json=as_json)
    ends = log_files.ends_of_lines(files) if follow else log_files.sizes(files)
    for entry in log_files.last_entries(ends, count, start, level):
        printer.show(entry)
    if follow:
        for entry in log_files.follow(folder, wanted, ends):
            if entry.reaches(level):
                printer.show(entry)

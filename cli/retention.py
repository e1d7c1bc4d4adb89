"""`storelake retention`: what is old goes, and the files are read to prove it."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

from cli.context import console, progress, read_settings

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}

app = typer.Typer(
    name="retention",
    help="How long rows about single people stay.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Keeps `apply` a command of its own while there is no second one."""


def parse_age(text: str) -> timedelta:
    """30d, 12h, 45m or 90s."""
    found = re.fullmatch(r"(\d{1,6})([dhms])", text)
    if not found:
        raise typer.BadParameter(f"{text!r} is no age: write 30d, 12h, 45m or 90s")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@app.command()
def apply(
    older_than: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help="30d, 12h, ...; else the setting."),
    ] = None,
) -> None:
    """Delete detections, crossings and visits past their age, for good; streams may run."""
    from rich.table import Table

    from streaming.recompute.retention import apply_retention

    settings = read_settings()
    with progress("retention") as tell:
        purged = apply_retention(settings, older_than or settings.retention.detections, tell)
    report = Table(title="what the files say now", title_justify="left")
    for name in ("table", "rows deleted", "files deleted", "files left", "older rows", "oldest"):
        report.add_column(name, justify="left" if name in {"table", "oldest"} else "right")
    for one in purged:
        oldest = f"{one.oldest:%Y-%m-%d %H:%M:%S}" if one.oldest else ""
        counts = (one.rows_deleted, one.files_deleted, one.files, one.rows_left)
        report.add_row(one.table, *map(str, counts), oldest)
    console().print(report)

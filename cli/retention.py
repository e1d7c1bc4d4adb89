"""`storelake retention`: delete old rows about single people, and verify it in the files."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from cli.context import parse_age, read_settings
from infra.terminal import console, progress

app = typer.Typer(
    name="retention",
    help="How long rows about single people are kept.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def group() -> None:
    """Keeps `apply` a command of its own while there is no second one."""


@app.command()
def apply(
    older_than: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help="30d, 12h, ...; else the setting."),
    ] = None,
) -> None:
    """Delete detections, crossings and visits past their age; streams may run."""
    from rich.table import Table

    from streaming.recompute.retention import apply_retention

    settings = read_settings()
    with progress("retention") as report:
        purged = apply_retention(settings, older_than or settings.retention.detections, report)
    table = Table(title="what the files hold now", title_justify="left")
    for name in ("table", "rows deleted", "files deleted", "files left", "older rows", "oldest"):
        table.add_column(name, justify="left" if name in {"table", "oldest"} else "right")
    for one in purged:
        oldest = f"{one.oldest:%Y-%m-%d %H:%M:%S}" if one.oldest else ""
        counts = (one.rows_deleted, one.files_deleted, one.files, one.rows_left)
        table.add_row(one.table, *map(str, counts), oldest)
    console().print(table)

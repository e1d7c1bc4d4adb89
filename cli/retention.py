"""`storelake retention`: delete old rows about single people, and verify it in the files."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import new_app
from cli.context import parse_age, read_settings
from infra.terminal import progress
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.lake.iceberg.purge import Purged

app = new_app("retention", "How long rows about single people are kept.")


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
    from streaming.recompute.retention import apply_retention

    settings = read_settings()
    with progress("retention") as report:
        age = settings.retention.detections if older_than is None else older_than
        purged = apply_retention(settings, age, report)
    purged_table(purged).show()


def purged_table(purged: Sequence[Purged]) -> TextTable:
    """One row a table of the lake."""
    names = ("table", "rows deleted", "files deleted", "files left", "older rows", "oldest")
    rows = [
        (p.table, *map(str, (p.rows_deleted, p.files_deleted, p.files, p.rows_left)), _second(p))
        for p in purged
    ]
    return TextTable(names, rows, numbers=names[1:5], title="what the files hold now")


def _second(purged: Purged) -> str:
    return f"{purged.oldest:%Y-%m-%d %H:%M:%S}" if purged.oldest else ""

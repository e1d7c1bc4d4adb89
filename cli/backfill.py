"""`storelake backfill`: a window of bronze computed anew, validated, then published."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import Annotated

import typer

from cli.context import INSTANTS, read_settings
from cli.quality import show_failures
from conf.outages import clear_outages
from conf.terminal import console, progress


def backfill(
    table: Annotated[str, typer.Argument(help="Of the lake, such as silver.orders.")],
    *,
    start: Annotated[
        datetime,
        typer.Option("--from", formats=INSTANTS, help="What came since: 2024-05-01T10:00Z."),
    ],
    end: Annotated[datetime, typer.Option("--to", formats=INSTANTS, help="And before.")],
    anew: Annotated[
        bool, typer.Option("--anew", help="Forget what an earlier run has not published.")
    ] = False,
) -> None:
    """Compute anew from bronze what a stream appended; it goes on meanwhile.

    Rows are written to a branch, validated, and published at once. Run again after a crash it goes
    on where it was. Exit code 1 when something critical fails: nothing is published then.
    """
    from quality.backfill import run_backfill
    from quality.engines import Engines

    settings = read_settings()
    with closing(Engines(settings)) as engines, progress("backfill") as tell, clear_outages():
        done = run_backfill(settings, table, start, end, tell, engines=engines, anew=anew)
    show_failures([one for one in done.results if not one.success])
    filled = done.filled
    console().print(
        f"{table}: {filled.messages} messages, {filled.added} rows in, {filled.replaced} rows out.",
        highlight=False,
    )
    if not done.published:
        console().print("Nothing is published: mend what failed, and run it with --anew.")
        raise typer.Exit(1)

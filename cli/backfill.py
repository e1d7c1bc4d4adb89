"""`storelake backfill`: recompute a window from bronze, validate it, publish it."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import Annotated

import typer

from cli.context import INSTANTS, read_settings
from cli.quality_output import show_failures
from conf.outages import clear_outages
from infra.terminal import console, progress


def backfill(
    table: Annotated[str, typer.Argument(help="Of the lake, such as silver.orders.")],
    *,
    start: Annotated[
        datetime,
        typer.Option("--from", formats=INSTANTS, help="Received since: 2024-05-01T10:00Z."),
    ],
    end: Annotated[datetime, typer.Option("--to", formats=INSTANTS, help="And before.")],
    from_scratch: Annotated[
        bool, typer.Option("--anew", help="Discard what an earlier run has not published.")
    ] = False,
) -> None:
    """Recompute from bronze what a stream appended.

    The stream may run meanwhile. Rows are written to a branch, validated, and published in one
    commit. After a crash the next run resumes. Exit code 1 when something critical fails: nothing
    is published then.
    """
    from quality.backfill import run_backfill
    from quality.engines import Engines

    settings = read_settings()
    with closing(Engines(settings)) as engines, progress("backfill") as report, clear_outages():
        done = run_backfill(
            settings, table, start, end, report, engines=engines, from_scratch=from_scratch
        )
    show_failures(done.results)
    filled = done.filled
    console().print(
        f"{table}: {filled.messages} messages, {filled.added} rows in, {filled.replaced} rows out.",
        highlight=False,
    )
    if not done.published:
        console().print("Nothing is published: correct what failed, and run it with --anew.")
        raise typer.Exit(1)

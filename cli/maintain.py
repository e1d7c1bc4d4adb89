"""`storelake maintain`: maintenance of the tables of the lake, once or periodically."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import parse_age, read_settings, step_behind_streams
from conf.outages import clear_outages
from infra.terminal import console, progress
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from streaming.lake.maintenance.run import Done

MEGABYTE = 1_000_000


def maintain(
    *,
    every: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help="Repeat after this pause: 10m, 1h, ..."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Only this one, such as silver.orders.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")
    ] = False,
) -> None:
    """Compact files, rewrite manifests, expire snapshots, remove orphans.

    Streams may run meanwhile.

    Exit code 1 when a table could not be maintained.
    """
    if every is not None and dry_run:
        raise typer.BadParameter("--dry-run runs once: leave --every out")
    settings = read_settings().acting_as("writer")
    if every is not None:
        step_behind_streams(settings)
    from streaming.lake.maintenance.run import run_maintenance
    from streaming.lake.maintenance.serve import serve

    if every is not None:
        serve(settings, table, every)
        return
    with progress("maintenance") as report, clear_outages():
        done = run_maintenance(settings, report, only=table, dry=dry_run)
    _report(done, dry=dry_run)
    if any(one.state == "failed" for one in done):
        raise typer.Exit(1)


def _report(done: Sequence[Done], *, dry: bool) -> None:
    busy = [one for one in done if one.state != "nothing to do"]
    if busy:
        maintenance_table(busy, "what would be done" if dry else "what was done").show()
    for one in done:
        if one.note:
            console().print(f"{one.table_name}: {one.note}", markup=False, highlight=False)
    idle = sum(one.state == "nothing to do" for one in done)
    failed = sum(one.state == "failed" for one in done)
    seconds = sum(one.seconds for one in done)
    console().print(
        f"{len(done)} tables, {idle} with nothing to do, {failed} failed, {seconds:.1f} s",
        highlight=False,
    )


def maintenance_table(done: Sequence[Done], title: str) -> TextTable:
    """One row a table of the lake."""
    names = ("table", "state", "files", "manifests", "snapshots", "removed", "MB", "s")
    return TextTable(names, [_cells(one) for one in done], numbers=names[2:], title=title)


def _cells(one: Done) -> tuple[str, ...]:
    return (
        one.table_name,
        one.state,
        _became(one.files_before, one.files_after),
        _became(one.manifests_before, one.manifests_after),
        f"-{one.snapshots_forgotten}" if one.snapshots_forgotten else "",
        str(one.files_removed or ""),
        f"{one.bytes_removed / MEGABYTE:.1f}" if one.bytes_removed else "",
        f"{one.seconds:.1f}",
    )


def _became(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} -> {after}"

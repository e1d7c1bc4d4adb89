"""`storelake maintain`: tables of the lake kept fit for reading, once or again and again."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import clear_outages, console, progress, read_settings
from cli.retention import parse_age

if TYPE_CHECKING:
    from conf.settings import Settings
    from streaming.lake.maintenance.run import Done

MEGABYTE = 1_000_000


def maintain(
    *,
    every: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help="Again and again: 10m, 1h, ..."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Only this one, such as silver.orders.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")
    ] = False,
) -> None:
    """Join small files, rewrite manifests, forget old snapshots, remove orphans; streams may run.

    Exit code 1 when a table could not be maintained.
    """
    from streaming.lake.maintenance.run import run_maintenance

    settings = read_settings()
    if every is not None:
        if dry_run:
            raise typer.BadParameter("--dry-run says it once: leave --every out")
        _serve(settings, table, every)
        return
    with progress("maintenance") as tell, clear_outages():
        done = run_maintenance(settings, tell, only=table, dry=dry_run)
    _report(done, dry=dry_run)
    if any(one.state == "failed" for one in done):
        raise typer.Exit(1)


def _serve(settings: Settings, table: str | None, every: timedelta) -> None:
    """Until Ctrl-C or SIGTERM; a run that fails is told, and the next one tries again."""
    import signal

    from conf.errors import StorelakeError, first_line
    from conf.exporter import served
    from conf.logs import configure_logging
    from streaming.lake.maintenance.metrics import Metrics
    from streaming.lake.maintenance.run import run_maintenance

    configure_logging("maintenance", settings.log_level)
    log = logging.getLogger("storelake.maintenance")
    metrics, stop = Metrics(every), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    port, variable = settings.maintenance.metrics_port, "STORELAKE_MAINTENANCE__METRICS_PORT"
    with served(metrics.registry, settings.metrics_host, port, variable):
        while not stop.is_set():
            began = datetime.now(timezone.utc)
            try:
                with clear_outages():
                    done = run_maintenance(settings, lambda _: None, only=table)
            except StorelakeError as error:
                log.error("run_failed", extra={"error": str(error)})
            except Exception as error:  # whatever it is: the next run may find it mended
                log.exception("run_failed", extra={"error": first_line(error)})
            else:
                metrics.update(began, done)
                _log_run(log, done)
            stop.wait(every.total_seconds())


def _log_run(log: logging.Logger, done: Sequence[Done]) -> None:
    """A line for each table that was not left as it was, and one for the run."""
    for one in done:
        if one.state == "nothing to do":
            continue
        about = {"table" if k == "table_name" else k: v for k, v in asdict(one).items()}
        log.log(logging.ERROR if one.state == "failed" else logging.INFO, "maintained", extra=about)
    failed = sum(one.state == "failed" for one in done)
    seconds = round(sum(one.seconds for one in done), 3)
    log.info("run", extra={"tables": len(done), "failed": failed, "seconds": seconds})


def _report(done: Sequence[Done], *, dry: bool) -> None:
    from rich.table import Table

    title = "what would be done" if dry else "what was done"
    report = Table(title=title, title_justify="left")
    for name in ("table", "state", "files", "manifests", "snapshots", "removed", "MB", "s"):
        report.add_column(name, justify="left" if name in {"table", "state"} else "right")
    for one in done:
        if one.state == "nothing to do":
            continue
        report.add_row(
            one.table_name,
            one.state,
            _became(one.files_before, one.files_after),
            _became(one.manifests_before, one.manifests_after),
            f"-{one.snapshots_forgotten}" if one.snapshots_forgotten else "",
            str(one.files_removed or ""),
            f"{one.bytes_removed / MEGABYTE:.1f}" if one.bytes_removed else "",
            f"{one.seconds:.1f}",
        )
    if report.row_count:
        console().print(report)
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


def _became(before: int, after: int) -> str:
    return str(after) if before == after else f"{before} -> {after}"

"""`storelake quality`: every layer by its suites, once or again and again."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import parse_age, read_settings
from conf.outages import clear_outages
from conf.terminal import console, error_console, progress

if TYPE_CHECKING:
    from quality.results import Result
    from quality.run import Plan, Run

app = typer.Typer(
    name="quality",
    help="Validate what was committed, by Great Expectations.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Layer(str, Enum):
    """Where tables are."""

    bronze = "bronze"
    silver = "silver"
    gold = "gold"
    quarantine = "quarantine"
    postgres = "postgres"


class Engine(str, Enum):
    """What judges rows."""

    auto = "auto"
    pandas = "pandas"
    spark = "spark"


class FailOn(str, Enum):
    """From which severity on the exit code is 1."""

    critical = "critical"
    warning = "warning"
    never = "never"


def parse_since(text: str) -> int | datetime:
    """A snapshot id, or a time in ISO 8601, in UTC unless it says otherwise."""
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no snapshot id and no time like 2024-05-01T10:00:00Z"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


@app.command()
def run(
    *,
    layer: Annotated[Layer | None, typer.Option(help="Only this one.")] = None,
    table: Annotated[str | None, typer.Option(help="Only this one, such as silver.orders.")] = None,
    since: Annotated[
        Any,
        typer.Option(
            parser=parse_since,
            metavar="SNAPSHOT|TIME",
            help="Judge what came later; else what came after all that has passed.",
        ),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="auto: by the number of new rows.")] = Engine.auto,
    every: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help="Again and again: 60s, 5m, ..."),
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="The least severity that makes the exit code 1.")
    ] = FailOn.critical,
) -> None:
    """Judge what was committed since the last run, keep the results, move the tag `validated`."""
    from quality.engines import Engines
    from quality.run import Plan, run_quality

    if isinstance(since, int) and table is None:
        raise typer.BadParameter("a snapshot id is one table's: name it with --table")
    settings = read_settings()
    plan = Plan(layer.value if layer else None, table, since, engine.value)
    with closing(Engines(settings)) as engines:
        if every is not None:
            _serve(plan, every, engines)
            return
        with progress("quality") as tell, clear_outages():
            done = run_quality(settings, plan, tell, engines=engines)
    _report(done)
    bad = {result.severity for result in done.failures}
    if (fail_on is FailOn.critical and "critical" in bad) or (fail_on is FailOn.warning and bad):
        raise typer.Exit(1)


@app.command()
def report(
    *,
    out: Annotated[
        Path | None, typer.Option(help="The folder; else quality/report in the house's own.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="In the browser, too.")] = False,
) -> None:
    """Write pages of what runs found: every layer at a glance, and Data Docs of every suite."""
    import webbrowser

    from quality.report import build_report

    with clear_outages():
        page = build_report(read_settings(), out)
    console().print(str(page), markup=False, highlight=False, soft_wrap=True)
    if show and not webbrowser.open(page.as_uri()):
        error_console().print("There is no browser to open it in.")


TableName = Annotated[str, typer.Argument(help="Of the lake, such as silver.orders.")]
BranchName = Annotated[str, typer.Option("--branch", help="Of the table.")]


@app.command()
def branch(table: TableName, name: BranchName) -> None:
    """Begin a branch of a table: rows written to it are seen by nobody until they are published."""
    from quality.publish import begin_branch

    with clear_outages():
        begin_branch(read_settings(), table, name)
    console().print(f"{table}: write to the branch {name}, then `storelake quality publish`.")


@app.command()
def publish(table: TableName, name: BranchName) -> None:
    """Judge what a branch adds to a table, and publish it when nothing critical fails."""
    from quality.engines import Engines
    from quality.publish import publish_branch

    settings = read_settings()
    with closing(Engines(settings)) as engines, clear_outages():
        done = publish_branch(settings, table, name, engines)
    show_failures([one for one in done.results if not one.success])
    if done.rows is None:
        console().print(f"The branch {name} of {table} is not published: mend it, or drop it.")
        raise typer.Exit(1)
    console().print(f"{done.rows} rows of the branch {name} are in {table} now.")


def _serve(plan: Plan, every: timedelta, engines: Any) -> None:
    """Until Ctrl-C or SIGTERM; a run that fails is told, and the next one tries again."""
    import signal

    from conf.errors import StorelakeError, first_line
    from conf.exporter import served
    from conf.logs import configure_logging
    from quality.metrics import Metrics
    from quality.run import run_quality

    settings, metrics, stop = read_settings(), Metrics(every), threading.Event()
    configure_logging("quality", settings.log_level)
    log = logging.getLogger("storelake.quality")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    port = settings.quality.metrics_port
    with served(metrics.registry, settings.metrics_host, port, "STORELAKE_QUALITY__METRICS_PORT"):
        while not stop.is_set():
            try:
                with clear_outages():
                    done = run_quality(settings, plan, lambda _: None, engines=engines)
            except StorelakeError as error:
                log.error("run_failed", extra={"error": str(error)})
            except Exception as error:  # whatever it is: the next run may find it mended
                log.exception("run_failed", extra={"error": first_line(error)})
            else:
                metrics.update(done)
                _log_run(log, done)
            stop.wait(every.total_seconds())


def _log_run(log: logging.Logger, run: Run) -> None:
    """A line for each expectation that is not met, and one for the run; no values of rows."""
    for one in run.failures:
        about = {
            "table": one.table,
            "expectation": one.id,
            "severity": one.severity,
            "state": one.state,
            "rows": one.rows,
            "unexpected": one.unexpected,
        }
        log.warning("not_as_expected", extra=about)
    totals = {
        "expectations": len(run.results),
        "tables": len({one.table for one in run.results}),
        "failed": len(run.failures),
        "critical": sum(one.severity == "critical" for one in run.failures),
        "seconds": round(run.seconds, 3),
    }
    log.info("run", extra=totals)


def show_failures(failures: Sequence[Result]) -> None:
    """What is not as expected, as a table; nothing when all is."""
    from rich.table import Table

    if failures:
        report = Table(title="not as expected", title_justify="left")
        for name in ("severity", "expectation", "rows", "unexpected", "what it means"):
            report.add_column(name, justify="right" if name in {"rows", "unexpected"} else "left")
        for one in failures:
            count = "" if one.unexpected is None else str(one.unexpected)
            says = one.says if one.state == "failed" else f"{one.says} {one.observed}"
            report.add_row(one.severity, one.id, str(one.rows), count, says)
        console().print(report)


def _report(run: Run) -> None:
    show_failures(run.failures)
    failed = len(run.failures)
    critical = sum(one.severity == "critical" for one in run.failures)
    tables = len({one.table for one in run.results})
    console().print(
        f"{len(run.results)} expectations on {tables} tables, {failed} not met "
        f"({critical} critical), {run.seconds:.1f} s",
        highlight=False,
    )

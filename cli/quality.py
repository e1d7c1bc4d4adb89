"""`storelake quality`: validate tables by their suites, report, branch and publish."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cli.app import new_app
from cli.context import parse_age, parse_instant, read_settings, step_behind_streams
from conf.outages import clear_outages
from infra.terminal import console, error_console, progress

app = new_app("quality", "Validate committed rows with Great Expectations.")


class FailOn(str, Enum):
    """From which severity on the exit code is 1."""

    critical = "critical"
    warning = "warning"
    never = "never"


def _parse_since(text: str) -> int | datetime:
    """A snapshot id, or a time in ISO 8601."""
    return int(text) if text.isdecimal() else parse_instant(text)


@app.command()
def run(
    *,
    layer: Annotated[
        Literal["bronze", "silver", "gold", "quarantine", "postgres"] | None,
        typer.Option(help="Only this one."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Only this one, such as silver.orders.")] = None,
    since: Annotated[
        Any,
        typer.Option(
            parser=_parse_since,
            metavar="SNAPSHOT|TIME",
            help="Validate what was committed later; else what has not passed yet.",
        ),
    ] = None,
    engine: Annotated[
        Literal["auto", "pandas", "spark"], typer.Option(help="auto: by the number of new rows.")
    ] = "auto",
    every: Annotated[
        timedelta | None,
        typer.Option(parser=parse_age, metavar="AGE", help="Repeat after this pause: 60s, 5m, ..."),
    ] = None,
    fail_on: Annotated[
        FailOn, typer.Option(help="The least severity that makes the exit code 1.")
    ] = FailOn.critical,
) -> None:
    """Validate what was committed since the last run.

    Results are stored, and the tag `validated` of each table moves to what has passed.
    """
    if isinstance(since, int) and table is None:
        raise typer.BadParameter("a snapshot id is one table's: name it with --table")
    settings = read_settings().acting_as("quality")
    if every is not None:
        step_behind_streams(settings)
    from prometheus_client import CollectorRegistry

    from cli.quality_output import show_run
    from quality.engines import Engines
    from quality.run import ValidationPlan, run_quality
    from quality.serve import lineage_sender, serve

    plan = ValidationPlan(layer, table, since, engine)
    with closing(Engines(settings)) as engines:
        if every is not None:
            serve(settings, plan, every, engines)
            return
        with progress("quality") as report, clear_outages():
            done = run_quality(settings, plan, report, engines=engines)
            lineage_sender(settings, CollectorRegistry())(done)
    show_run(done)
    bad = {result.severity for result in done.failures}
    if (fail_on is FailOn.critical and "critical" in bad) or (fail_on is FailOn.warning and bad):
        raise typer.Exit(1)


@app.command()
def report(
    *,
    out: Annotated[
        Path | None, typer.Option(help="The folder; else quality/report in the state folder.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="In the browser, too.")] = False,
) -> None:
    """Write pages of all results: an overview of the layers, and Data Docs of every suite."""
    import webbrowser

    from quality.report import build_report

    with clear_outages():
        page = build_report(read_settings().acting_as("quality"), out)
    console().print(str(page), markup=False, highlight=False, soft_wrap=True)
    if show and not webbrowser.open(page.as_uri()):
        error_console().print("There is no browser to open it in.")


TableName = Annotated[str, typer.Argument(help="Of the lake, such as silver.orders.")]
BranchName = Annotated[str, typer.Option("--branch", help="Of the table.")]


@app.command()
def branch(table: TableName, name: BranchName) -> None:
    """Create a branch of a table, whose rows are visible only after they are published."""
    from quality.publish import begin_branch

    with clear_outages():
        begin_branch(read_settings().acting_as("quality"), table, name)
    console().print(f"{table}: write to the branch {name}, then `storelake quality publish`.")


@app.command()
def publish(table: TableName, name: BranchName) -> None:
    """Validate what a branch adds to a table, and publish it when nothing critical fails."""
    from cli.quality_output import show_failures
    from quality.engines import Engines
    from quality.publish import publish_branch

    settings = read_settings().acting_as("quality")
    with closing(Engines(settings)) as engines, clear_outages():
        done = publish_branch(settings, table, name, engines)
    show_failures(done.results)
    if done.rows is None:
        console().print(f"The branch {name} of {table} is not published: correct it, or drop it.")
        raise typer.Exit(1)
    console().print(f"{done.rows} rows of the branch {name} are in {table} now.")

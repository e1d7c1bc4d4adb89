"""`storelake check`: an operator's smoke test of a running deployment."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated, Literal

import typer

from cli.context import read_settings
from infra.terminal import console


def check(
    *,
    count: Annotated[int, typer.Option(min=1, help="Messages, of whatever kind.")] = 1000,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Messages a minute; else all it can.")
    ] = None,
    poison: Annotated[float, typer.Option(min=0, max=1, help="Share that is broken.")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share that is too late to count.")] = (
        0.0
    ),
    duplicates: Annotated[
        float, typer.Option(min=0, max=1, help="Share that repeats an event.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed sells the same.")] = 1,
    source: Annotated[
        Literal["baskets", "synthetic"], typer.Option(help="Real baskets, or synthetic ones.")
    ] = "baskets",
    version: Annotated[
        int | None, typer.Option(min=1, max=3, help="Of the events; else a mix of all.")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds to wait after the last message was sent.")
    ] = 300,
) -> None:
    """Send events through the running deployment, follow each to its tables, and report.

    Exit code 1 when any event is missing, doubled or in the wrong table.
    """
    from cli.send import sending_bar, stop_on_ctrl_c
    from conf.outages import clear_outages
    from quality.smoke_test import CheckProgress, require_running, summary
    from quality.smoke_test import check as run_check
    from simulator.plan import Plan

    settings = read_settings()
    plan = Plan(rate, count, None, poison, late, duplicates, seed, source, version)
    require_running(settings)
    with stop_on_ctrl_c() as stop, sending_bar(count) as bar, clear_outages():
        report = run_check(
            settings, plan, CheckProgress(bar.show, bar.notify, stop), patience=patience
        )
    summary(report).show()
    for fault in report["faults"]:
        console().print(f"does not hold: {fault}", style="red", markup=False, soft_wrap=True)
    console().print(f"Report: {settings.var_dir / 'check' / 'report.json'}", soft_wrap=True)
    if not report["ok"]:
        raise typer.Exit(1)

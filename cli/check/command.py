"""`storelake check`, and what proves one side of the product each: `storelake verify-...`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from cli.context import read_settings
from conf.outages import clear_outages
from conf.terminal import console, progress

Count = Annotated[int, typer.Option(min=1, help="Messages, of whatever kind.")]
Rate = Annotated[float | None, typer.Option(min=1, help="Messages a minute; else all it can.")]
Poison = Annotated[float, typer.Option(min=0, max=1, help="Share that is broken.")]
Late = Annotated[float, typer.Option(min=0, max=1, help="Share that is too late to count.")]
Duplicates = Annotated[float, typer.Option(min=0, max=1, help="Share that repeats an event.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed sells the same.")]
Source = Annotated[
    Literal["baskets", "synthetic"], typer.Option(help="Real baskets, or drawn ones.")
]
Patience = Annotated[
    float, typer.Option(min=1, help="Seconds to wait after the last message was sent.")
]


def check(
    *,
    count: Count = 1000,
    rate: Rate = None,
    poison: Poison = 0.0,
    late: Late = 0.0,
    duplicates: Duplicates = 0.0,
    seed: Seed = 1,
    source: Source = "baskets",
    patience: Patience = 300,
) -> None:
    """Send events through the running house, follow each to where it belongs, and report."""
    from cli.check.run import Listener, require_house
    from cli.check.run import check as run_check
    from cli.send import sending_bar, stop_on_ctrl_c
    from simulator.plan import Plan

    settings = read_settings()
    plan = Plan(rate, count, None, poison, late, duplicates, seed, source)
    require_house(settings)
    with stop_on_ctrl_c() as stop, sending_bar(count) as bar, clear_outages():
        report = run_check(settings, plan, Listener(bar.show, bar.tell, stop), patience=patience)
    _show(report)
    console().print(f"Report: {settings.var_dir / 'check' / 'report.json'}", soft_wrap=True)
    if not report["ok"]:
        raise typer.Exit(1)


def verify_orders(
    *,
    count: Count = 10_000,
    rate: Rate = 3000,
    poison: Poison = 0.02,
    late: Late = 0.01,
    duplicates: Duplicates = 0.02,
    seed: Seed = 1,
    source: Source = "baskets",
) -> None:
    """Prove on a fresh house in <var>/verify that a killed stream loses and repeats nothing.

    Starts services, the order streams and the gateway, runs a check, kills the Spark application in
    the middle and starts it again. The last line is JSON.
    """
    import json

    from cli.check.verify import verify
    from simulator.plan import Plan

    settings = read_settings()
    plan = Plan(rate, count, None, poison, late, duplicates, seed, source)
    with progress("a fresh house") as tell, clear_outages():
        result, report = verify(settings, plan, tell)
    _show(report)
    typer.echo(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)


def verify_cameras(
    *,
    shoppers: Annotated[int, typer.Option(min=1, help="How many come to the shop.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same day.")] = 11,
    clip_seconds: Annotated[
        float, typer.Option(min=5, help="How long the real clip is played.")
    ] = 60,
) -> None:
    """Prove on a fresh house in <var>/verify that what cameras count is what happened.

    Draws a day of a shop, plays it through the service, both brokers and all streams to the gold
    tables, then a real clip in real time. The last line is JSON.
    """
    import json

    from cli.check.cameras import Plan, verify
    from cli.check.report import beside_truth

    settings = read_settings()
    with progress("a fresh house") as tell, clear_outages():
        result = verify(settings, Plan(shoppers, seed, clip_seconds), tell)
    console().print(beside_truth(result))
    for fault in result["faults"]:
        console().print(f"does not hold: {fault}", style="red", markup=False, soft_wrap=True)
    typer.echo(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)


def verify_quality(
    *,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same history.")] = 5,
) -> None:
    """Prove on a fresh house in <var>/verify that validation names damage, and nothing else.

    Two weeks of a chain must be judged clean; then ten kinds of damage are planted. The last line
    is JSON.
    """
    import json

    from cli.check.quality import verify

    settings = read_settings()
    with progress("a fresh house") as tell, clear_outages():
        result = verify(settings, seed, tell)
    for name in result["missed"]:
        console().print(f"not named: {name}", style="red", markup=False)
    for alarm in result["alarms"]:
        console().print(f"false alarm: {alarm}", style="red", markup=False, soft_wrap=True)
    typer.echo(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)


def verify_lake(
    *,
    minutes: Annotated[
        float, typer.Option(min=1, help="How long streams write beside maintenance.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same history.")] = 5,
) -> None:
    """Prove on a fresh house in <var>/verify that the lake can be asked, kept and filled again.

    The profile is `full`: streams write to MinIO beside maintenance, a dozen questions get equal
    answers on three engines, lost rows come back, and Delta holds what Iceberg does. The last line
    is JSON.
    """
    import json

    from cli.check.lake import verify

    settings = read_settings("full")
    with progress("a fresh house") as tell, clear_outages():
        result = verify(settings, minutes=minutes, seed=seed, tell=tell)
    for fault in result["faults"]:
        console().print(f"does not hold: {fault}", style="red", markup=False, soft_wrap=True)
    typer.echo(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)


def _show(report: dict[str, Any]) -> None:
    from cli.check.report import summary

    console().print(summary(report))
    for fault in report["faults"]:
        console().print(f"does not hold: {fault}", style="red", markup=False, soft_wrap=True)

"""`storelake demo`: the whole house for about a minute, on real input."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.context import Profile, read_settings

if TYPE_CHECKING:
    from conf.settings import Settings


def demo(
    *,
    seconds: Annotated[float, typer.Option(min=5, help="How long orders and frames flow.")] = 60,
    rate: Annotated[float, typer.Option(min=10, help="Order events a minute.")] = 1000,
    poison: Annotated[float, typer.Option(min=0, max=0.5, help="Share of broken events.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of the baskets.")] = 1,
    video: Annotated[
        Path | None,
        typer.Option(
            help="Your own footage, or `clip` for real people on Debian's; else the shop."
        ),
    ] = None,
    broker: Annotated[
        Literal["kafka", "pulsar"] | None,
        typer.Option(help="What the cameras publish to; by default what the settings say."),
    ] = None,
    table_format: Annotated[
        Literal["iceberg", "delta"] | None,
        typer.Option("--format", help="Of the tables; by default what the settings say."),
    ] = None,
    console: Annotated[bool, typer.Option(help="The live console beside it.")] = True,
    profile: Profile = None,
) -> None:
    """Start services, stream a shop's cameras and real baskets, print and check what happened."""
    from rich.console import Console

    from cli.demo.play import Plan, play
    from infra import local

    out = Console()
    plan = Plan(seconds, rate, poison, seed, video, console)
    settings = read_settings(profile)
    with out.status("services") as status, ExitStack() as stack:
        settings = stack.enter_context(
            local.running(
                _chosen(settings, broker, table_format),
                lambda text: status.update(f"services: {text}"),
            )
        )
        report = play(settings, plan, out, status.update)
    if not report["balanced"]:
        for fault in report["faults"]:
            out.print(f"does not hold: {fault}", style="red")
        raise typer.Exit(1)
    out.print(f"The account balances. Report: {settings.var_dir / 'demo' / 'report.html'}")


def _chosen(
    settings: Settings,
    broker: Literal["kafka", "pulsar"] | None,
    table_format: Literal["iceberg", "delta"] | None,
) -> Settings:
    """The settings with one broker between cameras and streams, and one format of tables."""
    if broker:
        streams = settings.streams.model_copy(update={"detections_from": (broker,)})
        inference = settings.inference.model_copy(update={"publisher": broker})
        settings = settings.model_copy(update={"streams": streams, "inference": inference})
    if table_format:
        catalog = settings.catalog.model_copy(update={"format": table_format})
        settings = settings.model_copy(update={"catalog": catalog})
    return settings

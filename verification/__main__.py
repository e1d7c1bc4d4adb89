"""`python -m verification COMMAND`: what `make demo` and `make verify-*` run.

Each command works on services and files of its own and prints its result as JSON in the last line
(the demo: as tables). Exit code 1 when anything does not hold.
"""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import RenderableType

from conf.errors import StorelakeError
from conf.outages import clear_outages
from conf.settings import load_settings
from infra.local.process import PRIVATE
from infra.terminal import console, error_console, progress

if TYPE_CHECKING:
    from verification.deployment import Deployment

Share = Annotated[float, typer.Option(min=0, max=1)]
Seed = Annotated[int, typer.Option(min=0, help="The same seed generates the same input.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def demo(
    *,
    seconds: Annotated[float, typer.Option(min=5, help="How long orders and frames flow.")] = 60,
    rate: Annotated[float, typer.Option(min=10, help="Order events a minute.")] = 1000,
    poison: Annotated[float, typer.Option(min=0, max=0.5, help="Share of broken events.")] = 0.01,
    seed: Seed = 1,
    video: Annotated[
        Path | None,
        typer.Option(help="Your own footage, or `clip` for Debian's; else the simulated shop."),
    ] = None,
    broker: Annotated[
        Literal["kafka", "pulsar"] | None,
        typer.Option(help="Broker of the cameras; by default as in the settings."),
    ] = None,
    table_format: Annotated[
        Literal["iceberg", "delta"] | None,
        typer.Option("--format", help="Of the tables; by default as in the settings."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--console/--no-console", help="Run the live console beside it.")
    ] = True,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="local, full, ...")] = None,
) -> None:
    """Stream a shop's cameras and real baskets for a minute; print and reconcile what arrived."""
    from importlib import import_module
    from threading import Thread

    from conf.settings import choose_profile
    from infra import local
    from verification.demo.scene import require_video

    require_video(video)
    if profile is not None:
        choose_profile(profile)
    # Two seconds of CPU, while the services start.
    Thread(target=import_module, args=("verification.demo.play",), daemon=True).start()
    chosen: dict[str, Any] = {}
    if broker:
        chosen = {"streams": {"detections_from": (broker,)}, "inference": {"publisher": broker}}
    if table_format:
        chosen["catalog"] = {"format": table_format}
    settings = load_settings(**chosen)
    with (
        console().status("services") as status,
        local.running(settings, lambda step: status.update(f"services: {step}")) as settings,
    ):
        from verification.demo.play import Plan, play

        plan = Plan(seconds, rate, poison, seed, video, live)
        report = play(settings, plan, console(), status.update)
    _print_faults(report["faults"])
    if not report["balanced"]:
        raise typer.Exit(1)
    console().print(f"The account balances. Report: {settings.var_dir / 'demo' / 'report.html'}")


@app.command()
def orders(
    *,
    count: Annotated[int, typer.Option(min=1, help="Messages, of whatever kind.")] = 10_000,
    rate: Annotated[float | None, typer.Option(min=1, help="Messages a minute.")] = 3000,
    poison: Share = 0.02,
    late: Share = 0.01,
    duplicates: Share = 0.02,
    seed: Seed = 1,
) -> None:
    """Kill the Spark application in the middle of a check: nothing is lost or doubled."""
    from quality.smoke_test import summary
    from simulator.plan import Plan
    from verification.orders import verify

    plan = Plan(rate, count, None, poison, late, duplicates, seed)
    _run("orders", partial(verify, plan=plan), lambda result: summary(result.pop("report")))


@app.command()
def cameras(
    *,
    shoppers: Annotated[int, typer.Option(min=1, help="How many come to the shop.")] = 500,
    seed: Seed = 11,
    clip_seconds: Annotated[
        float, typer.Option(min=5, help="How long the real clip is played.")
    ] = 60,
) -> None:
    """Play a simulated day through service, brokers and streams; compare gold with the truth."""
    from verification.cameras.run import verify
    from verification.cameras.truth import beside_truth

    work = partial(verify, shoppers=shoppers, seed=seed, clip_seconds=clip_seconds)
    _run("cameras", work, beside_truth, pulsar=True)


@app.command()
def quality(*, seed: Seed = 5) -> None:
    """Inject ten kinds of damage: validation reports each of them, and nothing else."""
    from streaming.lake.formats import require_iceberg
    from verification.quality.run import verify

    require_iceberg(load_settings(), "The proof of validation, which damages Iceberg tables,")
    _run("quality", partial(verify, seed=seed))


@app.command()
def lake(
    *,
    minutes: Annotated[
        float, typer.Option(min=1, help="How long streams write beside maintenance.")
    ] = 2,
    seed: Seed = 5,
) -> None:
    """Check the lake on MinIO: maintenance beside streams, engines, a backfill, tables in Delta."""
    from conf.settings import choose_profile
    from streaming.lake.formats import require_iceberg
    from verification.lake.run import verify

    choose_profile("full")
    require_iceberg(load_settings(), "The proof of the lake, which brings Delta in by itself,")
    _run("lake", partial(verify, minutes=minutes, seed=seed), pulsar=True)


@app.command()
def run() -> None:
    """Follow a newcomer's path, fire every alert, and take a worker away from a cluster."""
    from verification.newcomer import verify

    _finish(verify(_line))


@app.command()
def images() -> None:
    """Build our images with buildah, look into them, and send an order through them."""
    from verification.images.build import require_tools
    from verification.images.run import verify

    require_tools()
    _run("images", verify)


@app.command()
def scale(
    *,
    orders: Annotated[int, typer.Option(min=1000, help="Order events that wait.")] = 100_000,
    frames: Annotated[int, typer.Option(min=400, help="Frames of 8 people that wait.")] = 50_000,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
) -> None:
    """Drain backlogs with one executor and with two; count CPU seconds by kind of process."""
    from verification.demo.report import measured_on
    from verification.scale.run import verify

    with progress("a fresh deployment") as step:
        result = verify(load_settings(), step, orders=orders, frames=frames) | measured_on()
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _finish(result)


@app.command()
def faults(
    *,
    only: Annotated[list[str] | None, typer.Option(help="Names of faults; else all.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Groups of faults; else all.")] = None,
    times: Annotated[int, typer.Option(min=1, help="Random kills of each process.")] = 5,
    minutes: Annotated[float, typer.Option(min=0.5, help="Of ten times the load.")] = 2,
    rate: Annotated[float, typer.Option(min=60, help="Order events a minute.")] = 600,
    seed: Seed = 1,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON here.")] = None,
    listing: Annotated[bool, typer.Option("--list", help="Print the faults, and end.")] = False,
) -> None:
    """Break each part of a deployment under load, and compare ids in with ids out."""
    from verification.faults import plan
    from verification.faults.run import merged, tables, verify

    found = plan.chosen(only or (), group or (), plan.Extent(times, minutes, seed))
    if listing:
        for one in {fault.name: fault for fault in found}.values():
            typer.echo(f"{one.name:26} {one.group:8} {one.title}")
        return
    _line(f"{len(found)} faults, about {plan.minutes(found)} minutes on two free cores")
    files = [load_settings().var_dir / "verify-faults.json", *([out] if out else [])]
    reports = []
    for needs in plan.NEEDS:
        if some := [fault for fault in found if fault.needs == needs]:
            work = partial(verify, faults=some, rate=rate, seed=seed, show=_line)
            reports.append(_work("faults", work, pulsar=needs == "pulsar", s3=needs == "s3"))
            _write(merged(reports), files)  # an hour is not lost with the next deployment
    _conclude(merged(reports), tables, files)


@app.command()
def soak(
    *,
    hours: Annotated[float, typer.Option(min=0.1, help="How long faults come at random.")] = 1,
    rate: Annotated[float, typer.Option(min=60, help="Order events a minute.")] = 600,
    seed: Seed = 1,
) -> None:
    """Run everything under load and random faults: nothing is lost, and nothing grows."""
    from verification.soak.run import verify

    folder = load_settings().var_dir
    page = folder / "soak.html"
    work = partial(verify, hours=hours, rate=rate, seed=seed, page=page, show=_line)
    _line(f"The report will be {page}")
    _run("soak", work, files=[folder / "soak.json"])


def _run(
    name: str,
    work: Callable[[Deployment], dict[str, Any]],
    show: Callable[[dict[str, Any]], RenderableType] = lambda _: "",
    *,
    pulsar: bool = False,
    files: Sequence[Path] = (),
) -> None:
    """Do the work of a verification in a fresh deployment, then print and write its result."""
    _conclude(_work(name, work, pulsar=pulsar), show, files)


def _conclude(
    result: dict[str, Any],
    show: Callable[[dict[str, Any]], RenderableType],
    files: Iterable[Path] = (),
) -> None:
    """Print a result, and write it to files as JSON."""
    console().print(show(result), crop=False)
    _write(result, files)
    _finish(result)


def _write(result: Mapping[str, Any], files: Iterable[Path]) -> None:
    for file in files:
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _work(
    name: str,
    work: Callable[[Deployment], dict[str, Any]],
    *,
    pulsar: bool = False,
    s3: bool = False,
) -> dict[str, Any]:
    """The result of a verification in a fresh deployment.

    A lost connection is one sentence, not a traceback.
    """
    from verification.deployment import verify_fresh

    with progress("a fresh deployment") as step, clear_outages():
        return verify_fresh(load_settings(), f"verify-{name}", step, work, pulsar=pulsar, s3=s3)


def _line(text: str) -> None:
    error_console().print(text, markup=False, highlight=False, soft_wrap=True)


def _print_faults(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        console().print(f"does not hold: {sentence}", style="red", markup=False, soft_wrap=True)


def _finish(result: Mapping[str, Any]) -> None:
    _print_faults(result["faults"])
    typer.echo(json.dumps(result))
    if not result["ok"]:
        raise typer.Exit(1)


if __name__ == "__main__":
    os.umask(PRIVATE)
    try:
        app()
    except StorelakeError as error:
        error_console().print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)

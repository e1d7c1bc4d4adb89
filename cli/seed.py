"""`storelake seed`: a past of a simulated chain."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.context import read_settings
from infra.terminal import console, error_console, progress


def seed(
    *,
    days: Annotated[
        int, typer.Option(min=1, max=730, help="Full days; today's past hours come on top.")
    ] = 14,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The same seed generates the same past.")
    ] = 1,
) -> None:
    """Fill the running deployment with the past of a simulated chain; compare gold with it.

    Orders and frames of every branch and camera of the store file go through Kafka and all streams,
    up to the present hour, or to the first data that is not simulated. What is about single people
    and past its age (`retention.detections`) is deleted at the end. Repeat the command after Ctrl-C
    to complete it; what was sent is not sent again. Exit code 1 when gold differs.
    """
    from conf.outages import clear_outages
    from quality.past_reconciliation import summary
    from quality.seeding import seed_past
    from streaming.recompute.retention import apply_retention

    settings = read_settings()
    try:
        with progress("generating") as report, clear_outages():
            seeded = seed_past(settings, days=days, seed=seed, report=report)
            if settings.retention.enabled:
                apply_retention(settings, settings.retention.detections, report)
    except KeyboardInterrupt:
        error_console().print("Interrupted: repeat the command to complete the past.")
        raise
    console().print(summary(seeded), highlight=False, soft_wrap=True)
    for fault in seeded.found.faults:
        error_console().print(f"differs: {fault}", style="red", markup=False, soft_wrap=True)
    if not seeded.found.ok:
        raise typer.Exit(1)

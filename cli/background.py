"""`storelake start` and `storelake stop`: the processes beside the services."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from cli.context import Profile, read_settings
from infra.terminal import and_list, console, one_interrupt, progress

Names = Annotated[
    list[str] | None,
    typer.Argument(help="streams, gateway, quality, maintenance, console; all without a name."),
]


def start(names: Names = None, profile: Profile = None) -> None:
    """Start processes; they are kept running."""
    from infra.local.background import start_programs

    settings = read_settings(profile)
    with one_interrupt(), progress("starting") as report:
        running = start_programs(settings, _checked(names), report)
    console().print(f"Running in the background: {and_list(running)}.", highlight=False)


def stop(names: Names = None) -> None:
    """Stop processes after the batch and the requests that are under way."""
    from infra.local.background import stop_programs

    settings = read_settings()
    with progress("stopping"):
        stopped = stop_programs(settings, _checked(names))
    console().print(f"Stopped {and_list(stopped)}." if stopped else "Nothing was running.")


def _checked(names: Sequence[str] | None) -> tuple[str, ...]:
    from infra.local.programs import MANAGED_NAMES

    if unknown := [name for name in names or () if name not in MANAGED_NAMES]:
        raise typer.BadParameter(f"{unknown[0]} is unknown; there are {and_list(MANAGED_NAMES)}")
    return tuple(names or ())

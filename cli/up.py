"""`storelake up`, `down` and `restart`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import Annotated

import typer

from cli.context import Profile, console, progress, read_settings
from cli.tables import services_table

Pulsar = Annotated[bool, typer.Option("--pulsar", help="Pulsar, too, as the profile full does.")]


def up(*, profile: Profile = None, pulsar: Pulsar = False) -> None:
    """Start Kafka and Postgres on this machine, and what else the profile has.

    What runs already is left alone.
    """
    from infra import local

    settings = read_settings(profile)
    if pulsar:
        enabled = settings.pulsar.model_copy(update={"enabled": True})
        settings = settings.model_copy(update={"pulsar": enabled})
    with progress("starting") as report:
        statuses = local.up(settings, report)
    console().print(services_table(statuses))


def down() -> None:
    """Stop the services that `up` started; their data stays."""
    from infra import local

    settings = read_settings()
    with progress("stopping"):
        stopped = local.down(settings)
    console().print(f"Stopped {' and '.join(stopped)}." if stopped else "Nothing was running.")


def restart(*, profile: Profile = None, pulsar: Pulsar = False) -> None:
    """Stop the services, then start them again."""
    down()
    up(profile=profile, pulsar=pulsar)

"""`storelake up`, `down` and `restart`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.background import keep_services, require_profile, start_background, stop_everything
from cli.context import Profile, read_settings
from cli.status import house
from cli.tables import show_services
from conf.terminal import and_list, console, one_interrupt, progress

if TYPE_CHECKING:
    from conf.settings import Settings

Pulsar = Annotated[bool, typer.Option("--pulsar", help="Pulsar, too, as the profile full does.")]
Trino = Annotated[bool, typer.Option("--trino", help="Trino, too, as the profile full does.")]
ServicesOnly = Annotated[
    bool, typer.Option("--services-only", help="Kafka, Postgres and the like, and no process.")
]


def up(
    *,
    profile: Profile = None,
    services_only: ServicesOnly = False,
    pulsar: Pulsar = False,
    trino: Trino = False,
) -> None:
    """Start the services of the profile on this machine, then all processes; all are kept running.

    The processes are streams, gateway, quality, maintenance and console. What runs already is left
    alone. Ctrl-C undoes what this has started; a process that does not come up leaves the rest.
    Exit code 1 unless everything is ready at the end.
    """
    from cli.programs import KEPT, require_free
    from conf.errors import StorelakeError
    from infra import local

    settings = _with_more(read_settings(profile), pulsar=pulsar, trino=trino)
    trouble: StorelakeError | None = None
    with one_interrupt(), progress("starting") as tell:
        require_profile(settings)
        if not services_only:
            require_free(settings, KEPT)
        with local.started(settings, tell) as ready:
            kept = [one.name for one in local.status(ready) if one.state != "external"]
            try:
                if services_only:
                    keep_services(ready, kept)
                else:
                    start_background(ready, (), tell, services=kept)
            except StorelakeError as error:
                trouble = error
    rows = house(settings)
    show_services(console(), rows)
    if trouble:
        raise trouble
    if bad := [f"{one.name} is {one.state}: {one.detail}" for one in rows if not one.well]:
        raise StorelakeError(f"Not everything is ready ({'; '.join(bad)}): see `storelake status`.")


def _with_more(settings: Settings, *, pulsar: bool, trino: bool) -> Settings:
    """The settings with the services that the options name."""
    named = {"pulsar": pulsar, "trino": trino}
    more = {
        name: getattr(settings, name).model_copy(update={"enabled": True})
        for name, wanted in named.items()
        if wanted
    }
    return settings.model_copy(update=more)


def down() -> None:
    """Stop the processes, after what is under way, then the services; data stays."""
    settings = read_settings()
    with progress("stopping"):
        stopped = stop_everything(settings)
    console().print(f"Stopped {and_list(stopped)}." if stopped else "Nothing was running.")


def restart(
    *,
    profile: Profile = None,
    services_only: ServicesOnly = False,
    pulsar: Pulsar = False,
    trino: Trino = False,
) -> None:
    """Stop everything, then start it again."""
    down()
    up(profile=profile, services_only=services_only, pulsar=pulsar, trino=trino)

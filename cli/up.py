"""`storelake up`, `down` and `restart`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Profile, read_settings
from cli.status import all_statuses
from cli.tables import show_services
from conf.errors import StorelakeError
from infra.terminal import and_list, console, error_console, one_interrupt, progress

if TYPE_CHECKING:
    from conf.settings import Settings

Pulsar = Annotated[bool, typer.Option("--pulsar", help="Pulsar, too, as in the profile full.")]
Trino = Annotated[bool, typer.Option("--trino", help="Trino, too, as in the profile full.")]
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
    """Start services and processes; all are kept running.

    The services are those of the profile, on this machine. The processes are streams, gateway,
    quality, maintenance and console. What runs already is left alone. Ctrl-C stops what this
    command has started; a process that does not come up leaves the rest running. Exit code 1
    unless everything is ready at the end.
    """
    settings = _with_more(read_settings(profile), pulsar=pulsar, trino=trino)
    failure = _start(settings, services_only=services_only)
    rows = all_statuses(settings)
    show_services(rows)
    if any(one.name == "console" and one.state == "running" for one in rows):
        _show_console(settings)
        _offer_past(read_settings(profile))  # with the passwords of a first start
    if failure:
        raise failure
    if bad := [f"{one.name} is {one.state}: {one.detail}" for one in rows if not one.well]:
        raise StorelakeError(f"Not everything is ready ({'; '.join(bad)}): see `storelake status`.")


def _show_console(settings: Settings) -> None:
    from dashboard.tickets import shown_url

    out = console()
    out.print(f"Console: {shown_url(settings, out)}", highlight=False, soft_wrap=True)


def _offer_past(settings: Settings) -> None:
    """Name the command that gives an empty deployment something to show."""
    from quality.seed_state import has_data

    if not has_data(settings):
        console().print(
            "No data yet: `storelake seed --days 14` fills two weeks of a simulated chain.",
            highlight=False,
        )


def _start(settings: Settings, *, services_only: bool) -> StorelakeError | None:
    """Start services and processes; returns the error of processes that did not come up."""
    from infra import local
    from infra.local.background import keep_services, require_profile, start_programs
    from infra.local.postgres import PostgresService
    from infra.local.private_files import close_to_others
    from infra.local.program_status import require_free
    from infra.local.programs import MANAGED

    with one_interrupt(), progress("starting") as report:
        require_profile(settings)
        places = PostgresService(settings).places
        if still_open := close_to_others(settings.var_dir, report, places.passable()):
            error_console().print(still_open, style="yellow", markup=False, soft_wrap=True)
        if not services_only:
            require_free(settings, MANAGED)
        with local.started(settings, report) as ready:
            ours = [one.name for one in local.status(ready) if one.state != "external"]
            try:
                if services_only:
                    keep_services(ready, ours)
                else:
                    start_programs(ready, (), report, services=ours)
            except StorelakeError as error:
                return error
    return None


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
    """Stop the processes, then the services; data is kept."""
    from infra.local.background import stop_everything

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

"""`storelake status`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import read_settings
from cli.tables import show_services

if TYPE_CHECKING:
    from conf.settings import Settings
    from infra.local import ServiceStatus


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the state of services and processes.

    Exit code 3 unless all that should run do.
    """
    rows = all_statuses(read_settings())
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(one) for one in rows], indent=2))
    else:
        show_services(rows)
    if not all(one.well for one in rows):
        raise typer.Exit(3)


def all_statuses(settings: Settings) -> list[ServiceStatus]:
    """Rows of the services, then of the processes; read together, since both wait for answers."""
    from concurrent.futures import ThreadPoolExecutor

    from infra import local
    from infra.local.program_status import statuses, supervised

    with ThreadPoolExecutor() as pool:
        services, processes = (pool.submit(read, settings) for read in (local.status, statuses))
        return [*supervised(settings, services.result()), *processes.result()]

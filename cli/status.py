"""`storelake status`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import read_settings
from cli.tables import show_services
from conf.terminal import console

if TYPE_CHECKING:
    from conf.settings import Settings
    from infra.local import ServiceStatus


def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show how services and processes are doing; exit code 3 unless all that shall run do."""
    rows = house(read_settings())
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(one) for one in rows], indent=2))
    else:
        show_services(console(), rows)
    if not all(one.well for one in rows):
        raise typer.Exit(3)


def house(settings: Settings) -> list[ServiceStatus]:
    """Services, then the processes beside them; asked together, since each waits for answers."""
    from concurrent.futures import ThreadPoolExecutor

    from cli.programs import statuses, supervised
    from infra import local

    with ThreadPoolExecutor() as pool:
        services, processes = (pool.submit(ask, settings) for ask in (local.status, statuses))
        return [*supervised(settings, services.result()), *processes.result()]

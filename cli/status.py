"""`storelake status`."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import typer

from cli.context import console, read_settings
from cli.tables import services_table


def status() -> None:
    """Show how each service is doing; exit code 3 unless all of them run."""
    from infra import local

    statuses = local.status(read_settings())
    console().print(services_table(statuses))
    if any(one.state not in {"running", "external"} for one in statuses):
        raise typer.Exit(3)

"""Rich tables of the commands."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from infra.local import ServiceStatus

COLOURS = {"running": "green", "starting": "yellow", "stopped": "red", "external": "cyan"}


def services_table(statuses: Iterable[ServiceStatus]) -> Table:
    """One row a service."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("service", "state", "address", "pid", "memory", "detail"):
        table.add_column(title, justify="right" if title in {"pid", "memory"} else "left")
    for one in statuses:
        table.add_row(
            one.name,
            Text(one.state, style=COLOURS[one.state]),
            one.address,
            "" if one.pid is None else str(one.pid),
            "" if one.memory_mb is None else f"{one.memory_mb} MB",
            Text(one.detail),
        )
    return table

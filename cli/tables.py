"""The table of services and processes."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from infra.terminal import console
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from infra.local import ServiceStatus

COLOURS = {
    "running": "green",
    "starting": "yellow",
    "not answering": "red",
    "stalled": "red",
    "waiting": "yellow",
    "stopped": "red",
    "failed": "red",
    "external": "cyan",
    "off": "dim",
}
NUMBERS = ("pid", "memory", "up", "restarts", "lag")


def show_services(statuses: Sequence[ServiceStatus]) -> None:
    """Print the table, and below it the details of each service that has some."""
    services_table(statuses).show()
    for one in statuses:
        if one.detail:
            console().print(f"{one.name}: {one.detail}", markup=False, highlight=False)


def services_table(statuses: Iterable[ServiceStatus]) -> TextTable:
    """One row a service or process; columns with nothing in them are left out."""
    from rich.text import Text

    rows = [_cells(one) for one in statuses]
    names = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
    cells = [[Text(row[name], _style(name, row)) for name in names] for row in rows]
    return TextTable(names, cells, numbers=NUMBERS)


def _cells(one: ServiceStatus) -> dict[str, str]:
    return {
        "service": one.name,
        "state": one.state,
        "address": one.address,
        "pid": "" if one.pid is None else str(one.pid),
        "memory": "" if one.memory_mb is None else f"{one.memory_mb} MB",
        "up": "" if one.uptime_seconds is None else _short(one.uptime_seconds),
        "restarts": str(one.restarts or ""),
        "lag": "" if one.lag_rows is None else str(one.lag_rows),
    }


def _style(column: str, row: dict[str, str]) -> str:
    return COLOURS[row["state"]] if column == "state" else ""


def _short(seconds: int) -> str:
    """The two largest units: 42s, 3m 5s, 2h 0m, 4d 7h."""
    for large, small, unit, part in ((86400, 3600, "d", "h"), (3600, 60, "h", "m")):
        if seconds >= large:
            return f"{seconds // large}{unit} {seconds % large // small}{part}"
    return f"{seconds // 60}m {seconds % 60}s" if seconds >= 60 else f"{seconds}s"

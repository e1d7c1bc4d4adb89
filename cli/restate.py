"""`storelake restate`: hours computed anew from bronze, late events included."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Annotated

import typer

INSTANTS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z", "%Y-%m-%dT%H%z"]


class What(str, Enum):
    """What can be restated."""

    orders = "orders"
    cameras = "cameras"


def restate(
    what: Annotated[
        What,
        typer.Argument(
            help="orders: metrics, products, conversion rate. cameras: crossings, visits, "
            "footfall, dwell, queues, by the lines and zones as they are drawn now."
        ),
    ],
    start: Annotated[
        datetime, typer.Option("--from", formats=INSTANTS, help="First hour: 2024-05-01T10:00Z.")
    ],
    end: Annotated[
        datetime, typer.Option("--to", formats=INSTANTS, help="The hour after the last one.")
    ],
) -> None:
    """Compute hours anew from bronze, with late events; the streams may run meanwhile."""
    (_cameras if what is What.cameras else _orders)(start, end)


def _orders(start: datetime, end: datetime) -> None:
    from rich.console import Console

    from conf.settings import load_settings
    from streaming.recompute.orders import restate_orders

    console = Console()
    with console.status("starting Spark") as status:
        hours = restate_orders(load_settings(), start, end, status.update)
    _show("orders", [(h.hour, h.orders, h.events, h.late) for h in hours if h.events])
    console.print(
        f"{len(hours)} hours, {sum(h.events for h in hours)} events, "
        f"{sum(h.late for h in hours)} of them late before."
    )


def _cameras(start: datetime, end: datetime) -> None:
    from rich.console import Console

    from conf.settings import load_settings
    from streaming.recompute.cameras import restate_cameras

    console = Console()
    with console.status("starting Spark") as status:
        hours = restate_cameras(load_settings(), start, end, status.update)
    _show("cameras", [(h.hour, h.frames, h.crossings, h.visits) for h in hours if h.frames])
    console.print(f"{len(hours)} hours, {sum(h.frames for h in hours)} frames.")


def _show(what: str, rows: list[tuple[datetime, int, int, int]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = {"orders": ("orders", "events", "late"), "cameras": ("frames", "crossings", "visits")}
    table = Table(title=f"{what}, restated", title_justify="left")
    for name in ("hour (UTC)", *columns[what]):
        table.add_column(name, justify="left" if name.startswith("hour") else "right")
    for hour, *counts in rows:
        table.add_row(f"{hour:%Y-%m-%d %H:00}", *map(str, counts))
    Console().print(table)

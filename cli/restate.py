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


def restate(
    what: Annotated[What, typer.Argument(help="orders: metrics, products, conversion rate.")],
    start: Annotated[
        datetime, typer.Option("--from", formats=INSTANTS, help="First hour: 2024-05-01T10:00Z.")
    ],
    end: Annotated[
        datetime, typer.Option("--to", formats=INSTANTS, help="The hour after the last one.")
    ],
) -> None:
    """Compute hours anew from bronze, with late events; the streams may run meanwhile."""
    from rich.console import Console
    from rich.table import Table

    from conf.settings import load_settings
    from streaming.restate import restate_orders

    console = Console()
    with console.status("starting Spark") as status:
        hours = restate_orders(load_settings(), start, end, status.update)
    table = Table(title=f"{what.value}, restated", title_justify="left")
    for name in ("hour (UTC)", "orders", "events", "late"):
        table.add_column(name, justify="left" if name.startswith("hour") else "right")
    for hour in hours:
        if hour.events:
            table.add_row(
                f"{hour.hour:%Y-%m-%d %H:00}", str(hour.orders), str(hour.events), str(hour.late)
            )
    console.print(table)
    console.print(
        f"{len(hours)} hours, {sum(h.events for h in hours)} events, "
        f"{sum(h.late for h in hours)} of them late before."
    )

"""`storelake restate`: recompute hours from bronze, with their late events."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated

import typer

from cli.context import INSTANTS, read_settings
from infra.terminal import console, progress
from infra.terminal_table import TextTable


class What(str, Enum):
    """What can be recomputed."""

    orders = "orders"
    cameras = "cameras"


def restate(
    what: Annotated[
        What,
        typer.Argument(
            help="orders: metrics, products, conversion rate. cameras: crossings, visits, "
            "footfall, dwell, queues, by the present lines and zones."
        ),
    ],
    start: Annotated[
        datetime, typer.Option("--from", formats=INSTANTS, help="First hour: 2024-05-01T10:00Z.")
    ],
    end: Annotated[
        datetime, typer.Option("--to", formats=INSTANTS, help="The hour after the last one.")
    ],
) -> None:
    """Recompute hours from bronze, with late events.

    The streams may run meanwhile.
    """
    (_cameras if what is What.cameras else _orders)(start, end)


def _orders(start: datetime, end: datetime) -> None:
    from streaming.recompute.orders import restate_orders

    with progress("starting Spark") as report:
        hours = restate_orders(read_settings(), start, end, report)
    rows = [(h.hour, h.orders, h.events, h.late) for h in hours if h.events]
    _show("orders", ("orders", "events", "late"), rows)
    console().print(
        f"{len(hours)} hours, {sum(h.events for h in hours)} events, "
        f"{sum(h.late for h in hours)} of them late before."
    )


def _cameras(start: datetime, end: datetime) -> None:
    from streaming.recompute.cameras import restate_cameras

    with progress("starting Spark") as report:
        hours = restate_cameras(read_settings(), start, end, report)
    rows = [(h.hour, h.frames, h.crossings, h.visits) for h in hours if h.frames]
    _show("cameras", ("frames", "crossings", "visits"), rows)
    console().print(f"{len(hours)} hours, {sum(h.frames for h in hours)} frames.")


def _show(
    what: str, columns: Sequence[str], rows: Sequence[tuple[datetime, int, int, int]]
) -> None:
    names = ("hour (UTC)", *columns)
    cells = [(f"{hour:%Y-%m-%d %H:00}", *map(str, counts)) for hour, *counts in rows]
    TextTable(names, cells, numbers=columns, title=f"{what}, recomputed").show()

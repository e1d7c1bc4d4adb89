"""`storelake shop`: the simulated shop as video, as order events and as labelled pictures."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from cli.app import new_app
from cli.context import read_settings
from infra.terminal import console, progress

app = new_app("shop", "A simulated shop with known truth: videos, orders, pictures.")


@app.command()
def render(
    *,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the output.")],
    shoppers: Annotated[int, typer.Option(min=1, help="How many come.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same day.")] = 1,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="How long people arrive; else three seconds a shopper."),
    ] = None,
    start: Annotated[
        datetime | None, typer.Option(help="When the first picture is taken, in UTC; else now.")
    ] = None,
) -> None:
    """Write a day as one MP4 a camera, truth.ndjson and orders.ndjson."""
    from simulator.shop.render import open_day, render_day

    begins = start.replace(tzinfo=timezone.utc) if start else None
    day = open_day(read_settings(), shoppers=shoppers, seed=seed, start=begins, seconds=seconds)
    with _bar("rendering", day.frames * len(day.camera_ids)) as show:
        rendered = render_day(day, out, show)
    console().print_json(
        json.dumps({"frames": rendered.frames, "seconds": day.seconds, **rendered.totals})
    )


@app.command()
def pictures(
    *,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder of the pictures, in YOLO's layout.")
    ],
    count: Annotated[int, typer.Option(min=10, help="How many; a tenth is for validation.")] = 1600,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same pictures.")] = 1,
) -> None:
    """Draw labelled pictures, to train a detector with inference_service.training."""
    from simulator.shop import write_pictures

    with _bar("rendering", count) as show:
        sheet = write_pictures(out, count, seed, show)
    console().print(f"{count} pictures; {sheet} describes them", highlight=False)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    with progress(what) as show:
        yield lambda done: show(f"{what}: {done} of {total}")

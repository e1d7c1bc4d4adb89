"""`storelake shop`: the simulated shop as video, as order events and as labelled pictures."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.context import read_settings
from conf.terminal import console, error_console

if TYPE_CHECKING:
    from conf.settings import Settings
    from simulator.shop import ShopDay

app = typer.Typer(name="shop", help="A simulated shop with known truth.", no_args_is_help=True)


@dataclass(frozen=True)
class Rendered:
    """What `render_day` wrote.

    Attributes:
        videos: camera id -> MP4 at 5 frames a second.
        truth: NDJSON, a line a shopper.
        orders: NDJSON, an order event a line, in the order of time.
        totals: of the truth, see `simulator.shop.sum_up`.
        frames: pictures of each video.
    """

    videos: dict[str, Path]
    truth: Path
    orders: Path
    totals: dict[str, Any]
    frames: int


def open_day(
    settings: Settings,
    *,
    shoppers: int,
    seed: int,
    start: datetime | None = None,
    seconds: float | None = None,
    run_id: str = "shop",
) -> ShopDay:
    """A day in the shop of the store file that has the simulated cameras.

    Args:
        settings: name the store file, whose lines and zones make the truth.
        shoppers: how many come.
        seed: of everything.
        start: when the first picture is taken; None: now.
        seconds: how long people arrive; None: three seconds a shopper.
        run_id: part of all order ids.

    Raises:
        SettingsError: the store file has no such branch or camera.
    """
    from conf.settings import SettingsError
    from conf.stores import load_stores
    from simulator.shop import BRANCH, ShopDay

    branch = next(
        (b for b in load_stores(settings.stores_file).branches if b.branch_id == BRANCH), None
    )
    if branch is None:
        raise SettingsError(f"store file {settings.stores_file} has no branch {BRANCH}")
    day = ShopDay(
        branch,
        shoppers=shoppers,
        seed=seed,
        start=start or datetime.now(timezone.utc),
        open_seconds=seconds,
        run_id=run_id,
    )
    if not day.camera_ids:
        raise SettingsError(f"branch {BRANCH} of {settings.stores_file} has no simulated camera")
    return day


def film_day(
    day: ShopDay,
    out: Path,
    on_progress: Callable[[int], None] = lambda _: None,
    *,
    begin: float = 0.0,
    end: float | None = None,
) -> dict[str, Path]:
    """Write one MP4 a camera of a part of a day (its seconds); camera id -> file."""
    import cv2

    from inference_service.frames import SourceError
    from simulator.shop import FPS, HEIGHT, WIDTH

    out.mkdir(parents=True, exist_ok=True)
    videos, drawn = {}, 0
    for camera_id in day.camera_ids:
        videos[camera_id] = out / f"{camera_id}.mp4"
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(videos[camera_id]), codec, FPS, (WIDTH, HEIGHT))
        if not writer.isOpened():
            raise SourceError(f"The video {videos[camera_id]} cannot be written.")
        for shot in day.shots(camera_id, begin, end):
            writer.write(shot.image)
            drawn += 1
            on_progress(drawn)
        writer.release()
    return videos


def render_day(
    day: ShopDay, out: Path, on_progress: Callable[[int], None] = lambda _: None
) -> Rendered:
    """Write videos, truth and orders of a day; `on_progress` hears of every drawn picture."""
    from simulator.shop import sum_up

    videos = film_day(day, out, on_progress)
    truth, orders = out / "truth.ndjson", out / "orders.ndjson"
    told = day.truth()
    lines = (json.dumps(t.line(day.start), separators=(",", ":")) for t in told)
    truth.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    orders.write_bytes(b"".join(event.value + b"\n" for event in day.orders()))
    return Rendered(videos, truth, orders, sum_up(told), day.frames)


@app.command()
def render(
    *,
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the videos and ledgers.")],
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
    begins = start.replace(tzinfo=timezone.utc) if start else None
    day = open_day(read_settings(), shoppers=shoppers, seed=seed, start=begins, seconds=seconds)
    with _bar("drawing", day.frames * len(day.camera_ids)) as show:
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
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same.")] = 1,
) -> None:
    """Draw labelled pictures, to train a detector with inference_service.training."""
    from simulator.shop import write_pictures

    with _bar("drawing", count) as show:
        sheet = write_pictures(out, count, seed, show)
    console().print(f"{count} pictures; {sheet} describes them", highlight=False)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.progress import Progress

    with Progress(console=error_console()) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)

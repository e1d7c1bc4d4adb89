"""A simulated day as files: videos, orders and the truth about both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2

from conf.errors import StorelakeError
from conf.settings import Settings, SettingsError
from conf.stores import load_stores
from simulator.shop.day import BRANCH, ShopDay
from simulator.shop.truth import sum_up
from simulator.shop.views import FPS, HEIGHT, WIDTH

SHOPPERS_A_SCENE = 25


@dataclass(frozen=True)
class Rendered:
    """What `render_day` wrote.

    Attributes:
        videos: camera id -> MP4 at 5 frames a second.
        truth: NDJSON, a line for each shopper.
        orders: NDJSON, an order event a line, by time.
        totals: of the truth, see `simulator.shop.sum_up`.
        frames: number of pictures of each video.
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
    """A `ShopDay` in the branch of the store file that has the simulated cameras; starts now.

    One person at the doorway comes to `SHOPPERS_A_SCENE` shoppers; to three of them somebody
    passes by, and some of them have company.

    Raises:
        SettingsError: the store file has no such branch or camera.
    """
    branches = load_stores(settings.stores_file).branches
    branch = next((one for one in branches if one.branch_id == BRANCH), None)
    if branch is None:
        raise SettingsError(f"store file {settings.stores_file} has no branch {BRANCH}")
    day = ShopDay(
        branch,
        shoppers=shoppers,
        seed=seed,
        start=start or datetime.now(timezone.utc),
        open_seconds=seconds,
        run_id=run_id,
        doorway=shoppers // SHOPPERS_A_SCENE,
        passers=(shoppers + 2) // 3,
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
    """Write one MP4 for each camera.

    Returns:
        Camera id -> file.

    Raises:
        StorelakeError: a video cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    videos, written = {}, 0
    for camera_id in day.camera_ids:
        videos[camera_id] = out / f"{camera_id}.mp4"
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(videos[camera_id]), codec, FPS, (WIDTH, HEIGHT))
        if not writer.isOpened():
            raise StorelakeError(f"The video {videos[camera_id]} cannot be written.")
        for shot in day.shots(camera_id, begin, end):
            writer.write(shot.image)
            written += 1
            on_progress(written)
        writer.release()
    return videos


def render_day(
    day: ShopDay, out: Path, on_progress: Callable[[int], None] = lambda _: None
) -> Rendered:
    """Write videos, truth and orders of a day to a folder."""
    videos = film_day(day, out, on_progress)
    truth, orders = out / "truth.ndjson", out / "orders.ndjson"
    shoppers = day.truth()
    lines = (json.dumps(one.line(day.start), separators=(",", ":")) for one in shoppers)
    truth.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    orders.write_bytes(b"".join(event.value + b"\n" for event in day.orders()))
    return Rendered(videos, truth, orders, sum_up(shoppers), day.frames)

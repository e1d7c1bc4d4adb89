"""`make verify-cameras`: a shop whose truth is known, filmed, sold to, and found in gold.

Two cameras film the simulated day; one publishes to Pulsar, the other to Kafka, and the tills sell
through the gateway. The day has just ended when it is played, so it runs as fast as the detector.
Then the real clip is played in real time, to measure how long a frame takes until it is counted.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from conf.settings import Settings
from simulator.shop import ShopDay
from simulator.shop.render import open_day, render_day
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from verification.cameras import footage, overhead, shop
from verification.cameras.frames import CameraObserver
from verification.cameras.truth import compare
from verification.deployment import Deployment, Step

MAX_LATENCY = 5.0  # seconds, at p95
OVERHEAD_FRAMES, OVERHEAD_RUNS = 150, 3


def verify(
    deployment: Deployment, *, shoppers: int, seed: int, clip_seconds: float
) -> dict[str, Any]:
    """Run it all in a deployment.

    Args:
        deployment: fresh, with Pulsar.
        shoppers: of the day.
        seed: of the day.
        clip_seconds: how long the real clip is played.

    Returns:
        The figures, `faults` (one sentence for each thing that does not hold) and `ok`.

    Raises:
        StorelakeError: a program did not start or died by itself.
    """
    settings = deployment.settings
    day = _day_that_just_ended(settings, shoppers, seed)
    with tempfile.TemporaryDirectory(prefix="shop-", dir=settings.var_dir) as scratch:
        videos = _render(day, Path(scratch), deployment.step)
        deployment.step("the detector with and without the service around it")
        fps, fps_bare = overhead.speeds(
            _with_detector(settings), videos[day.camera_ids[0]], OVERHEAD_FRAMES, OVERHEAD_RUNS
        )
        with (
            deployment.run_streams() as streams,
            deployment.run_gateway(),
            closing(Database(settings.postgres.dsn, 2)) as db,
            open_lake(settings) as lake,
        ):
            observer = CameraObserver(db, lake)
            played = shop.play(deployment, observer, day, videos)
            streams.require_alive()
            clip = footage.play(deployment, observer, clip_seconds)
            streams.require_alive()
            deployment.step("counting")
            result = _result(settings, day, played, clip, observer)
    speeds = {"fps": fps, "fps_bare_model": fps_bare, "shoppers": shoppers}
    return {"ok": not result["faults"], **result, **speeds}


def _result(
    settings: Settings,
    day: ShopDay,
    played: shop.Played,
    clip: dict[str, Any],
    observer: CameraObserver,
) -> dict[str, Any]:
    counts = compare(day.truth(), observer.measured(day.branch.branch_id, day.start))
    published = {**played.published, footage.CAMERA: clip["frames"]}
    topics = {**shop.topics(settings, day), footage.CAMERA: settings.kafka.detections}
    faults = [*played.faults, *observer.faults(published, topics)]
    faults += [f"{what} is out of its bound" for what, ok in counts.pop("within").items() if not ok]
    if clip["latency_p95_s"] is None or clip["latency_p95_s"] > MAX_LATENCY:
        faults.append(f"latency is {clip['latency_p95_s']} s at p95, over {MAX_LATENCY:g}")
    return {
        **counts,
        "latency_p95_s": clip["latency_p95_s"],
        "real_clip": clip,
        "orders": played.orders,
        "frames": sum(published.values()),
        "shop_frames_a_second": played.frames_a_second,
        "faults": faults,
    }


def _day_that_just_ended(settings: Settings, shoppers: int, seed: int) -> ShopDay:
    def day(start: datetime) -> ShopDay:
        return open_day(settings, shoppers=shoppers, seed=seed, start=start)

    now = datetime.now(timezone.utc).replace(microsecond=0)  # `infer --start` takes whole seconds
    return day(now - timedelta(seconds=int(day(now).seconds) + 1))


def _render(day: ShopDay, folder: Path, step: Step) -> dict[str, Path]:
    pictures = day.frames * len(day.camera_ids)

    def rendered(count: int) -> None:
        if count % 500 == 0:
            step(f"{count} of {pictures} pictures rendered")

    return render_day(day, folder, rendered).videos


def _with_detector(settings: Settings) -> Settings:
    chosen = settings.inference.model_copy(update={"detector": shop.DETECTOR})
    return settings.model_copy(update={"inference": chosen})

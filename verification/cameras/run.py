"""`make verify-cameras`: a shop whose truth is known, filmed, sold to, and found in gold.

Two cameras film the simulated day; one publishes to Pulsar, the other to Kafka, and the tills sell
through the gateway. The day has just ended when it is played, so it runs as fast as the detector.
Then the real clip is played in real time, to measure how long a frame takes until it is counted.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from conf.settings import Settings
from inference_service.detectors import build_detector
from inference_service.service import Limits
from simulator.shop import ShopDay
from simulator.shop.render import open_day, render_day
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from verification.cameras import footage, shop
from verification.cameras.frames import CameraObserver
from verification.cameras.overhead import bare, serve
from verification.cameras.truth import compare
from verification.deployment import Deployment

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
    pictures = day.frames * len(day.camera_ids)

    def rendered(count: int) -> None:
        if count % 500 == 0:
            deployment.step(f"{count} of {pictures} pictures rendered")

    with tempfile.TemporaryDirectory(prefix="shop-", dir=settings.var_dir) as scratch:
        videos = render_day(day, Path(scratch), rendered).videos
        deployment.step("the detector with and without the service around it")
        speeds = _speeds(settings, videos[day.camera_ids[0]])
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
    return {"ok": not result["faults"], **result, **speeds, "shoppers": shoppers}


def _result(
    settings: Settings,
    day: ShopDay,
    played: shop.Played,
    clip: dict[str, Any],
    observer: CameraObserver,
) -> dict[str, Any]:
    counts = compare(day.truth(), observer.measured(day.branch.branch_id, day.start))
    published = {**played.published, footage.CAMERA: clip["frames"]}
    named = {"pulsar": settings.pulsar.detections, "kafka": settings.kafka.detections}
    topics = {camera_id: named[shop.broker(camera_id)] for camera_id in published}
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
    day = partial(open_day, settings, shoppers=shoppers, seed=seed)
    now = datetime.now(timezone.utc).replace(microsecond=0)  # `infer --start` takes whole seconds
    return day(start=now - timedelta(seconds=int(day(start=now).seconds) + 1))


def _speeds(settings: Settings, clip: Path) -> dict[str, float]:
    """Frames a second with the service and without: medians of runs in turn.

    In turn, so that a busy machine slows both.
    """
    inference = settings.inference.model_copy(update={"detector": shop.DETECTOR})
    chosen = settings.model_copy(update={"inference": inference})
    detector, limits = build_detector(chosen), Limits(frames=OVERHEAD_FRAMES)
    floor, service = [], []
    for _ in range(OVERHEAD_RUNS):
        floor.append(bare(clip, detector, OVERHEAD_FRAMES))
        done = serve(chosen, clip, detector, limits=limits)
        service.append(done.processed / done.seconds)
    return {"fps": round(median(service), 1), "fps_bare_model": round(median(floor), 1)}

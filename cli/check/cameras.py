"""`storelake verify-cameras`: a shop whose truth is known, filmed, sold to, and found in gold.

Two cameras film the simulated day; one publishes to Pulsar, the other to Kafka, and the tills sell
through the gateway. The day has just ended when it is played, so it goes as fast as the detector.
Then the real clip is played in real time, to see how long a frame takes until it is counted.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cli import processes
from cli.check import floor, footage, shop
from cli.check.frames import CameraObserver
from cli.check.house import House, Tell, fresh_house
from cli.check.truth import compare
from cli.shop import open_day, render_day
from conf.settings import Settings
from simulator.shop import ShopDay
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database

MAX_LATENCY = 5.0  # seconds, at p95
FLOOR_FRAMES, FLOOR_RUNS = 150, 3


@dataclass(frozen=True)
class Plan:
    """What the operator asked for.

    Attributes:
        shoppers, seed: of the day.
        clip_seconds: how long the real clip is played.
    """

    shoppers: int
    seed: int
    clip_seconds: float


def verify(base: Settings, plan: Plan, tell: Tell) -> dict[str, Any]:
    """Run the whole proof; nothing goes on afterwards, however it ends.

    Returns:
        The figures, `faults` (one sentence for each thing that does not hold) and `ok`.

    Raises:
        StorelakeError: something did not come up or died by itself.
    """
    started = time.monotonic()
    with fresh_house(base, "verify-cameras", tell, pulsar=True) as house:
        result = _prove(house, plan, tell)
        house.keep = not result["ok"]
    return {**result, "seconds": round(time.monotonic() - started, 1)}


def _prove(house: House, plan: Plan, tell: Tell) -> dict[str, Any]:
    settings = house.settings
    day = _day_that_just_ended(settings, plan)
    with ExitStack() as stack:
        scratch = tempfile.TemporaryDirectory(prefix="shop-", dir=settings.var_dir)
        videos = _draw(day, Path(stack.enter_context(scratch)), tell)
        tell("the detector with and without the service around it")
        fps, fps_bare = floor.speeds(
            _with_detector(settings), videos[day.camera_ids[0]], FLOOR_FRAMES, FLOOR_RUNS
        )
        streams = processes.start_streams(stack, settings, tell, (), house.environment)
        processes.start_gateway(stack, settings, house.environment)
        observer = _open_observer(stack, settings)
        played = shop.play(house, observer, day, videos, tell)
        processes.require_alive(streams, "streams", settings)
        counts = compare(day.truth(), observer.measured(day.branch.branch_id, day.start))
        clip = footage.play(house, observer, plan.clip_seconds, tell)
        processes.require_alive(streams, "streams", settings)
        tell("counting")
        published = {**played.published, footage.CAMERA: clip["frames"]}
        topics = {**shop.topics(settings, day), footage.CAMERA: settings.kafka.detections}
        faults = [*played.faults, *observer.faults(published, topics)]
    faults += [f"{what} is out of its bound" for what, ok in counts["within"].items() if not ok]
    if clip["latency_p95_s"] is None or clip["latency_p95_s"] > MAX_LATENCY:
        faults.append(f"latency is {clip['latency_p95_s']} s at p95, over {MAX_LATENCY:g}")
    return {
        "ok": not faults,
        **{key: value for key, value in counts.items() if key != "within"},
        "latency_p95_s": clip["latency_p95_s"],
        "fps": fps,
        "fps_bare_model": fps_bare,
        "real_clip": clip,
        "shoppers": plan.shoppers,
        "orders": played.orders,
        "frames": sum(published.values()),
        "shop_frames_a_second": played.frames_a_second,
        "faults": faults,
    }


def _day_that_just_ended(settings: Settings, plan: Plan) -> ShopDay:
    def day(start: datetime) -> ShopDay:
        return open_day(settings, shoppers=plan.shoppers, seed=plan.seed, start=start)

    now = datetime.now(timezone.utc).replace(microsecond=0)  # `infer --start` takes whole seconds
    return day(now - timedelta(seconds=int(day(now).seconds) + 1))


def _draw(day: ShopDay, folder: Path, tell: Tell) -> dict[str, Path]:
    pictures = day.frames * len(day.camera_ids)

    def drawn(count: int) -> None:
        if count % 500 == 0:
            tell(f"{count} of {pictures} pictures drawn")

    return render_day(day, folder, drawn).videos


def _with_detector(settings: Settings) -> Settings:
    chosen = settings.inference.model_copy(update={"detector": shop.DETECTOR})
    return settings.model_copy(update={"inference": chosen})


def _open_observer(stack: ExitStack, settings: Settings) -> CameraObserver:
    db = Database(settings.postgres.dsn, 2)
    stack.callback(db.close)
    return CameraObserver(db, stack.enter_context(open_lake(settings)))

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
from cli.check import floor, footage, playing
from cli.check.frames import Trail, find_faults
from cli.check.house import House, Tell, fresh_house
from cli.check.truth import compare
from cli.shop import open_day, render_day
from conf.settings import Settings
from infra.local.process import wait_until
from simulator.ledger import SendReport
from simulator.on_time import send_on_time
from simulator.shop import FPS, ShopDay
from streaming.connectors.iceberg import open_catalog
from streaming.connectors.postgres import Database

DETECTOR = "onnx"  # with the model that ships
PULSAR_CAMERA = "B01-till"
MAX_LATENCY = 5.0  # seconds, at p95
SETTLE_SECONDS = 300.0
FLOOR_FRAMES, FLOOR_RUNS = 300, 3


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
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="shop-", dir=house.settings.var_dir)
            )
        )
        day = _day_that_just_ended(house.settings, plan)
        pictures = day.frames * len(day.camera_ids)

        def drawn(count: int) -> None:
            if count % 500 == 0:
                tell(f"{count} of {pictures} pictures drawn")

        videos = render_day(day, folder, drawn).videos
        tell("the detector with and without the service around it")
        fps, fps_bare = floor.speeds(
            _with_detector(house.settings), videos[day.camera_ids[0]], FLOOR_FRAMES, FLOOR_RUNS
        )
        streams = processes.start_streams(stack, house.settings, tell, (), house.environment)
        processes.start_gateway(stack, house.settings, house.environment)
        trail = _open_trail(stack, house.settings)
        published, orders, seconds = _play_shop(house, trail, day, videos, tell)
        processes.require_alive(streams, "streams", house.settings)
        counts = compare(day.truth(), trail.measured(day.branch.branch_id, day.start))
        clip = footage.play(house, trail, plan.clip_seconds, tell)
        processes.require_alive(streams, "streams", house.settings)
        tell("counting")
        frames = {**published, footage.CAMERA: clip["frames"]}
        faults = find_faults(trail.gather(), frames, _topics(house.settings, frames))
    faults += [f"{what} is out of its bound" for what, ok in counts["within"].items() if not ok]
    sold = sum(event.event_type == "order.created" for event in day.orders())
    if orders != sold:
        faults.append(f"{sold} orders sold, {orders} taken by the gateway")
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
        "orders": orders,
        "frames": sum(frames.values()),
        "shop_frames_a_second": round(sum(published.values()) / seconds, 1),
        "faults": faults,
    }


def _day_that_just_ended(settings: Settings, plan: Plan) -> ShopDay:
    def day(start: datetime) -> ShopDay:
        return open_day(settings, shoppers=plan.shoppers, seed=plan.seed, start=start)

    now = datetime.now(timezone.utc).replace(microsecond=0)  # `infer --start` takes whole seconds
    return day(now - timedelta(seconds=int(day(now).seconds) + 1))


def _with_detector(settings: Settings) -> Settings:
    chosen = settings.inference.model_copy(update={"detector": DETECTOR})
    return settings.model_copy(update={"inference": chosen})


def _open_trail(stack: ExitStack, settings: Settings) -> Trail:
    db = Database(settings.postgres.dsn, 2)
    stack.callback(db.close)
    return Trail(db, stack.enter_context(open_catalog(settings)))


def _broker(camera_id: str) -> str:
    return "pulsar" if camera_id == PULSAR_CAMERA else "kafka"


def _topics(settings: Settings, cameras: dict[str, int]) -> dict[str, str]:
    topics = {"pulsar": settings.pulsar.detections, "kafka": settings.kafka.detections}
    return {camera_id: topics[_broker(camera_id)] for camera_id in cameras}


def _play_shop(
    house: House, trail: Trail, day: ShopDay, videos: dict[str, Path], tell: Tell
) -> tuple[dict[str, int], int, float]:
    """Play the day to its end, and wait until the gold tables know it.

    Returns:
        Camera -> events acknowledged; orders that the gateway took; seconds that the cameras took.

    Raises:
        ProcessError: a camera died or hangs.
    """
    began, ledger = time.monotonic(), house.settings.var_dir / "check" / "shop.ndjson"
    options = ["--detector", DETECTOR, "--start", f"{day.start:%Y-%m-%dT%H:%M:%S}"]
    with ExitStack() as stack:
        cameras = [
            playing.play(stack, house, camera_id, video, _broker(camera_id), *options)
            for camera_id, video in videos.items()
        ]

        def sold(report: SendReport) -> None:
            if report.sent % 100 == 0:
                tell(f"{report.sent} order events sent")

        sent = send_on_time(
            house.settings,
            day.orders(),
            ledger=ledger,
            run_id="shop",
            on_progress=sold,
        )

        def over() -> bool:
            tell(f"{trail.counted(day.camera_ids)} of {day.frames * len(cameras)} frames counted")
            return not [camera for camera in cameras if not camera.ended()]

        # A detector that is slower than the cameras were is none for this machine.
        if not wait_until(over, playing.STOP_SECONDS + 2 * day.seconds, every=2.0):
            raise processes.ProcessError(
                f"the cameras have not ended: fewer than {FPS} frames a second; see "
                f"{house.settings.var_dir}/logs"
            )
    seconds = time.monotonic() - began
    published = {camera.camera_id: camera.totals()["published"] for camera in cameras}
    orders = sent.by_type["order.created"]
    tell("waiting until the gold tables know all of it")
    wait_until(
        lambda: (
            trail.counted(day.camera_ids) >= sum(published.values())
            and not trail.gold_is_behind(day.branch.branch_id, orders)
        ),
        SETTLE_SECONDS,
        every=1.0,
    )
    return published, orders, seconds

"""A day of the simulated shop through a running house: its cameras, both brokers, and the tills."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cli.check import playing
from cli.check.frames import CameraObserver
from cli.check.house import House, Tell
from cli.processes import ProcessError
from conf.settings import Settings
from infra.local.process import wait_until
from simulator.ledger import SendReport
from simulator.on_time import send_on_time
from simulator.shop import ShopDay

DETECTOR = "onnx"  # with the model that ships
PULSAR_CAMERA = "B01-till"  # the other one publishes to Kafka
SETTLE_SECONDS = 300.0


@dataclass(frozen=True)
class Played:
    """A day that was played.

    Attributes:
        published: camera -> events that its broker acknowledged.
        orders: that the gateway took.
        frames_a_second: of all cameras together, from the start of their processes to the end.
        faults: one sentence for each thing that does not hold.
    """

    published: dict[str, int]
    orders: int
    frames_a_second: float
    faults: list[str]


def play(
    house: House, observer: CameraObserver, day: ShopDay, videos: Mapping[str, Path], tell: Tell
) -> Played:
    """Play a day that is over as fast as the detector goes, until the gold tables know it.

    Raises:
        ProcessError: a camera died or hangs.
    """
    began = time.monotonic()
    options = ["--detector", DETECTOR, "--start", f"{day.start:%Y-%m-%dT%H:%M:%S}"]
    with ExitStack() as stack:
        cameras = [
            playing.play(stack, house, camera_id, video, _broker(camera_id), *options)
            for camera_id, video in videos.items()
        ]
        sent = _sell(house, day, tell)

        def over() -> bool:
            tell(
                f"{observer.counted(*day.camera_ids)} of {day.frames * len(cameras)} frames counted"
            )
            return not [camera for camera in cameras if not camera.ended()]

        if not wait_until(over, playing.STOP_SECONDS + day.seconds, every=2.0):
            raise ProcessError(
                "the cameras have not ended: this machine is slower than they filmed; see "
                f"{house.settings.var_dir}/logs"
            )
    seconds = time.monotonic() - began
    published = {camera.camera_id: camera.totals()["published"] for camera in cameras}
    frames, orders = sum(published.values()), sent.by_type["order.created"]
    faults = _settle(observer, day, frames, orders, tell)
    if sent.accepted != (events := len(day.orders())):
        faults.append(f"{events} order events, {sent.accepted} taken by the gateway")
    return Played(published, orders, round(frames / seconds, 1), faults)


def topics(settings: Settings, day: ShopDay) -> dict[str, str]:
    """Camera -> where its events go."""
    named = {"pulsar": settings.pulsar.detections, "kafka": settings.kafka.detections}
    return {camera_id: named[_broker(camera_id)] for camera_id in day.camera_ids}


def _broker(camera_id: str) -> str:
    return "pulsar" if camera_id == PULSAR_CAMERA else "kafka"


def _sell(house: House, day: ShopDay, tell: Tell) -> SendReport:
    def sold(report: SendReport) -> None:
        if report.sent % 100 == 0:
            tell(f"{report.sent} order events sent")

    ledger = house.settings.var_dir / "check" / "shop.ndjson"
    return send_on_time(
        house.settings, day.orders(), ledger=ledger, run_id="shop", on_progress=sold
    )


def _settle(
    observer: CameraObserver, day: ShopDay, frames: int, orders: int, tell: Tell
) -> list[str]:
    """Wait until the gold tables know all of it; one fault when they never do."""

    def settled() -> bool:
        return observer.counted(*day.camera_ids) >= frames and not observer.gold_is_behind(
            day.branch.branch_id, orders
        )

    tell("waiting until the gold tables know all of it")
    if wait_until(settled, SETTLE_SECONDS, every=1.0):
        return []
    return [f"the gold tables knew all frames and orders in {SETTLE_SECONDS:.0f} s"]

"""A day of the simulated shop through the deployment: its cameras, both brokers, and the tills."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from conf.settings import Settings
from infra.local.process import wait_until
from simulator.ledger import SendReport
from simulator.on_time import send_on_time
from simulator.shop import ShopDay
from verification.cameras.frames import CameraObserver
from verification.deployment import Deployment
from verification.processes import STOP_SECONDS

DETECTOR = "onnx"  # with the model that ships
PULSAR_CAMERA = "B01-till"  # the other one publishes to Kafka
GOLD_SECONDS = 300.0


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
    deployment: Deployment, observer: CameraObserver, day: ShopDay, videos: Mapping[str, Path]
) -> Played:
    """Play a day that is over as fast as the detector is, until the gold tables have all of it.

    Raises:
        ProcessError: a camera died or hangs.
    """
    began = time.monotonic()
    options = ["--detector", DETECTOR, "--start", f"{day.start:%Y-%m-%dT%H:%M:%S}"]
    with ExitStack() as stack:
        cameras = [
            stack.enter_context(
                deployment.run_camera(camera_id, {camera_id: video}, _broker(camera_id), *options)
            )
            for camera_id, video in videos.items()
        ]
        sent = _sell(deployment, day)

        def over() -> bool:
            deployment.step(
                f"{observer.counted(*day.camera_ids)} of {day.frames * len(cameras)} frames counted"
            )
            return not [camera for camera in cameras if not camera.ended()]

        deployment.require(
            over,
            2 * STOP_SECONDS + day.seconds,
            "this machine is slower than real time: the cameras have not ended",
            every=2.0,
        )
    seconds = time.monotonic() - began
    published = {camera.child.title: camera.totals()["published"] for camera in cameras}
    frames, orders = sum(published.values()), sent.by_type["order.created"]
    faults = _wait_for_gold(deployment, observer, day, frames, orders)
    if sent.accepted != (events := len(day.orders())):
        faults.append(f"{events} order events, {sent.accepted} taken by the gateway")
    return Played(published, orders, round(frames / seconds, 1), faults)


def topics(settings: Settings, day: ShopDay) -> dict[str, str]:
    """Camera -> where its events go."""
    named = {"pulsar": settings.pulsar.detections, "kafka": settings.kafka.detections}
    return {camera_id: named[_broker(camera_id)] for camera_id in day.camera_ids}


def _broker(camera_id: str) -> str:
    return "pulsar" if camera_id == PULSAR_CAMERA else "kafka"


def _sell(deployment: Deployment, day: ShopDay) -> SendReport:
    def sold(report: SendReport) -> None:
        if report.sent % 100 == 0:
            deployment.step(f"{report.sent} order events sent")

    ledger = deployment.settings.var_dir / "check" / "shop.ndjson"
    return send_on_time(
        deployment.settings, day.orders(), ledger=ledger, run_id="shop", on_progress=sold
    )


def _wait_for_gold(
    deployment: Deployment, observer: CameraObserver, day: ShopDay, frames: int, orders: int
) -> list[str]:
    """Wait until the gold tables have all of it; one sentence when they do not."""

    def complete() -> bool:
        return observer.counted(*day.camera_ids) >= frames and not observer.gold_is_behind(
            day.branch.branch_id, orders
        )

    deployment.step("waiting until the gold tables have all of it")
    if wait_until(complete, GOLD_SECONDS, every=1.0):
        return []
    return [f"the gold tables did not have all frames and orders after {GOLD_SECONDS:.0f} s"]

"""A day of the simulated shop through the deployment: its cameras, both brokers, and the tills."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from infra.local.process import wait_until
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


def broker(camera_id: str) -> str:
    """The broker that a camera publishes to."""
    return "pulsar" if camera_id == PULSAR_CAMERA else "kafka"


def play(
    deployment: Deployment, observer: CameraObserver, day: ShopDay, videos: Mapping[str, Path]
) -> Played:
    """Play a day that is over as fast as the detector is, until the gold tables have all of it.

    Raises:
        ProcessError: a camera died or hangs.
    """
    began, events = time.monotonic(), day.orders()
    options = ["--detector", DETECTOR, "--start", f"{day.start:%Y-%m-%dT%H:%M:%S}"]
    with ExitStack() as stack:
        cameras = [
            stack.enter_context(deployment.run_camera(name, {name: video}, broker(name), *options))
            for name, video in videos.items()
        ]
        deployment.step(f"selling: {len(events)} order events")
        ledger = deployment.settings.var_dir / "check" / "shop.ndjson"
        sent = send_on_time(deployment.settings, events, ledger=ledger, run_id="shop")

        def over() -> bool:
            counted = observer.counted(*day.camera_ids)
            deployment.step(f"{counted} of {day.frames * len(cameras)} frames counted")
            return all(camera.ended() for camera in cameras)

        slow = "this machine is slower than real time: the cameras have not ended"
        deployment.require(over, 2 * STOP_SECONDS + day.seconds, slow, every=2.0)
    seconds = time.monotonic() - began
    published = {camera.child.title: camera.totals()["published"] for camera in cameras}
    frames, orders, faults = sum(published.values()), sent.by_type["order.created"], []

    def complete() -> bool:
        branch_id = day.branch.branch_id
        counted = observer.counted(*day.camera_ids) >= frames
        return counted and not observer.gold_is_behind(branch_id, orders)

    deployment.step("waiting until the gold tables have all of it")
    if not wait_until(complete, GOLD_SECONDS, every=1.0):
        faults.append(f"the gold tables lack frames or orders after {GOLD_SECONDS:.0f} s")
    if sent.accepted != len(events):
        faults.append(f"{len(events)} order events, {sent.accepted} taken by the gateway")
    return Played(published, orders, round(frames / seconds, 1), faults)

"""Weeks of a chain in a moment: order events and frames, with the times at which they came.

For whatever needs a past: seasonal baselines, backfills, reports. Orders follow a daily curve with
some chance in it; at each entrance camera one person a minute walks in. Seeded: the same arguments
make the same history, but for the identifiers, which follow `run_id`.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import uuid5

from conf.stores import Branch, Camera, Point, Stores
from simulator.baskets import read_baskets
from simulator.orders import NAMESPACE, Shop, SimulatedOrderEvent, instant

HOUR = timedelta(hours=1)
WALK_FRAMES, WALK_STEP = 8, 0.04  # shares of the picture from frame to frame
FRAME = timedelta(seconds=0.5)
EMPTY_EVERY = timedelta(seconds=20)
BOX_WIDTH, BOX_HEIGHT = 0.04, 0.12


@dataclass(frozen=True)
class Span:
    """From `start` until before `end`, both full hours in UTC."""

    start: datetime
    end: datetime

    def hours(self) -> Iterator[datetime]:
        """The start of each hour."""
        hour = self.start
        while hour < self.end:
            yield hour
            hour += HOUR


def orders_of_hour(hour: datetime, mean: float, rng: random.Random) -> int:
    """How many orders a branch takes: most at four in the afternoon (UTC), none never."""
    curve = 1 + 0.5 * math.cos((hour.hour - 16) / 24 * 2 * math.pi)
    return max(1, round(mean * curve * rng.gauss(1, 0.1)))


def order_history(
    branches: Sequence[Branch],
    span: Span,
    *,
    mean: float,
    seed: int,
    run_id: str,
    version: int | None = 1,
) -> Iterator[SimulatedOrderEvent]:
    """Every event of the orders made in a span, in the order of event time.

    Args:
        branches: that sell; each of them in each hour.
        span: of their creation; the last event may come a little later.
        mean: orders an hour of each branch.
        seed: of the baskets, lives and times.
        run_id: keeps the ids of two histories apart.
        version: of the events; None: a mix.
    """
    lives = (
        _history_of(
            branch, span, mean, seed + number, f"{run_id}-{branch.branch_id}", version=version
        )
        for number, branch in enumerate(branches)
    )
    return heapq.merge(*lives, key=attrgetter("event_time"))


def _history_of(
    branch: Branch, span: Span, mean: float, seed: int, run_id: str, *, version: int | None
) -> Iterator[SimulatedOrderEvent]:
    rng = random.Random(seed)  # noqa: S311 - replayable traffic, not secrets
    now = span.start
    shop = Shop(
        read_baskets(seed),
        [(branch.branch_id, branch.currency)],
        seed=seed,
        run_id=run_id,
        clock=lambda: now,
        version=version,
    )
    for hour in span.hours():
        count = orders_of_hour(hour, mean, rng)
        for share in sorted(rng.random() for _ in range(count)):
            now = hour + share * HOUR
            seconds = (now - span.start).total_seconds()
            # What is due comes first, and the order that was asked for is the last to be made.
            while (event := shop.next_event(seconds)).event_type != "order.created":
                yield event
            yield event
    yield from shop.finish()


def frame_history(stores: Stores, span: Span, *, run_id: str) -> Iterator[dict[str, Any]]:
    """Detection events of every camera, minute by minute, in the order of capture.

    In each minute one person walks in over the first entrance line of each camera that has one.
    """
    cameras = [(branch, camera) for branch in stores.branches for camera in branch.cameras]
    counts = dict.fromkeys((camera.camera_id for _, camera in cameras), 0)
    minute = span.start
    while minute < span.end:
        for branch, camera in cameras:
            for at, people in _minute(stores, camera, minute):
                counts[camera.camera_id] += 1
                index = counts[camera.camera_id]
                identity = {
                    "event_id": str(uuid5(NAMESPACE, f"{run_id}/{camera.camera_id}/{index}")),
                    "branch_id": branch.branch_id,
                    "camera_id": camera.camera_id,
                    "run_id": run_id,
                    "frame_index": index,
                }
                yield identity | detection_fields(at, people)
        minute += timedelta(minutes=1)


def _minute(
    stores: Stores, camera: Camera, minute: datetime
) -> Iterator[tuple[datetime, list[tuple[str, Point]]]]:
    """(captured at, [(track, anchor)]) of one camera."""
    layout = stores.layout_at(camera, minute)
    lines = [line for line in layout.lines if line.kind == "entrance"] if layout else []
    walk = FRAME * WALK_FRAMES
    if lines:
        track = f"{minute:%Y%m%d%H%M}"
        for step, anchor in enumerate(_across(lines[0].a, lines[0].b)):
            yield minute + FRAME * step, [(track, anchor)]
    at = minute + max(walk, EMPTY_EVERY)
    while at < minute + timedelta(minutes=1):
        yield at, []
        at += EMPTY_EVERY


def _across(a: Point, b: Point) -> Iterator[Point]:
    """From the left of a line to its right, over its middle; see `conf.stores.Line`."""
    (ax, ay), (bx, by) = a, b
    length = math.hypot(bx - ax, by - ay)
    right = (-(by - ay) / length, (bx - ax) / length)
    for step in range(WALK_FRAMES):
        way = (step - (WALK_FRAMES - 1) / 2) * WALK_STEP
        yield (ax + bx) / 2 + way * right[0], (ay + by) / 2 + way * right[1]


def detection_fields(at: datetime, people: Sequence[tuple[str, Point]]) -> dict[str, Any]:
    """Fields of a detection event, without its source; people are (track, where the feet are)."""
    return {
        "schema_version": 1,
        "captured_at": instant(at),
        "image": {"width": 960, "height": 540},
        "detections": [
            {"track_id": track, "class": "person", "confidence": 0.9, "bbox": _box(anchor)}
            for track, anchor in people
        ],
        "runtime": {
            "detector": "history",
            "model": "none",
            "tracker": "none",
            "device": "cpu",
            "inference_ms": 0.0,
        },
    }


def _box(anchor: Point) -> list[float]:
    x, y = anchor
    return [
        round(max(0.0, x - BOX_WIDTH / 2), 5),
        round(max(0.0, y - BOX_HEIGHT), 5),
        round(min(1.0, x + BOX_WIDTH / 2), 5),
        round(min(1.0, y), 5),
    ]

"""What becomes slower as data grows. Each curve is measured in one run in a fresh deployment."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer

Sizes = Annotated[str, typer.Option(help="With commas between.")]
Point = dict[str, float]


def numbers(sizes: str) -> list[int]:
    """The numbers of an option, ascending."""
    return sorted(int(size) for size in sizes.split(","))


def median(seconds: Sequence[float]) -> float:
    """To a tenth of a millisecond."""
    return round(statistics.median(seconds), 4)


def point(x: float, seconds: Sequence[float], **others: float) -> Point:
    """A point of a curve: median of the seconds at x, with the fastest and the slowest quarter."""
    low, _, high = statistics.quantiles(seconds, n=4)
    return {
        "x": x,
        "seconds": median(seconds),
        "low": round(low, 4),
        "high": round(high, 4),
        **others,
    }


def curve(points: Sequence[Point], base: Point) -> dict[str, Any]:
    """A curve, and how many times the seconds of a point its last one takes."""
    ratio = points[-1]["seconds"] / base["seconds"]
    return {"points": points, "base": base["x"], "ratio": round(ratio, 2)}


def status_change(order_id: str, at: datetime, rng: random.Random) -> tuple[bytes, bytes]:
    """(key, value) of an `order.status_changed` of an order of `benchmarks.drain.event`."""
    body = {
        "event_id": str(UUID(int=rng.getrandbits(128))),
        "event_type": "order.status_changed",
        "event_time": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "schema_version": 1,
        "source": "growth",
        "order": {
            "order_id": order_id,
            "branch_id": "B01",
            "old_status": "pending",
            "new_status": "processing",
        },
    }
    return order_id.encode(), json.dumps(body).encode()

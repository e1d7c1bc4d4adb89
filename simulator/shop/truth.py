"""Ground truth in the terms of the product: crossings and visits of everybody's feet.

Who comes back over a line has crossed it again once a step beyond it: so a person who sways in the
doorway crosses once.

Lines and zones are those of the store file, so the truth follows a new layout. It is computed from
the paths themselves, 10 times a second, and not from any picture. Times are seconds of the day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any

import numpy as np

from conf.stores import Camera
from simulator.orders import instant
from simulator.shop.paths import SAMPLE_SECONDS, Path
from simulator.shop.shoppers import Shopper
from simulator.shop.views import FloatArray
from udfs.geometry import contains, passes_between, signed_distance

CROSSING = ("camera_id", "line_id", "direction", "at")
VISIT = ("camera_id", "zone_id", "kind", "entered_at", "exited_at", "seconds")


@dataclass(frozen=True)
class Crossing:
    """Somebody's feet over a line; kind: of the line; direction: entry or exit."""

    shopper_id: str
    camera_id: str
    line_id: str
    kind: str
    direction: str
    second: float


@dataclass(frozen=True)
class Visit:
    """Somebody's feet in a zone, from the first to the last moment."""

    shopper_id: str
    camera_id: str
    zone_id: str
    kind: str
    enters: float
    leaves: float

    @property
    def seconds(self) -> float:
        """How long."""
        return self.leaves - self.enters


@dataclass(frozen=True)
class Truth:
    """Of one person. Key: shopper_id.

    Attributes:
        order_id: None for those who bought nothing.
        group_id: first of the people who entered together; None for those who did not enter.
    """

    shopper_id: str
    crossings: tuple[Crossing, ...]
    visits: tuple[Visit, ...]
    paid: float | None
    order_id: str | None
    gave_up: bool
    group_id: str | None = None

    def line(self, start: datetime) -> dict[str, Any]:
        """One line of the ledger: times in UTC, spans in seconds."""

        def at(second: float) -> str:
            return instant(start + timedelta(seconds=second))

        crossings = [(c.camera_id, c.line_id, c.direction, at(c.second)) for c in self.crossings]
        visits = [
            (v.camera_id, v.zone_id, v.kind, at(v.enters), at(v.leaves), round(v.seconds, 2))
            for v in self.visits
        ]
        return {
            "shopper_id": self.shopper_id,
            "crossings": [dict(zip(CROSSING, one, strict=True)) for one in crossings],
            "visits": [dict(zip(VISIT, one, strict=True)) for one in visits],
            "paid_at": None if self.paid is None else at(self.paid),
            "order_id": self.order_id,
            "gave_up": self.gave_up,
            "group_id": self.group_id,
        }


def truth_of(shopper: Shopper, cameras: Mapping[str, Camera], order_id: str | None) -> Truth:
    """What the cameras should find out about one shopper."""
    pairs = [(path, cameras[path.view.camera_id]) for path in shopper.paths]
    return Truth(
        shopper.shopper_id,
        tuple(crossing for path, camera in pairs for crossing in _crossings(path, camera)),
        tuple(visit for path, camera in pairs for visit in _visits(path, camera)),
        shopper.paid,
        order_id,
        shopper.gave_up,
    )


def sum_up(truths: Iterable[Truth]) -> dict[str, Any]:
    """Totals of the day: entries, exits, buyers, conversion, and per zone visits and mean dwell.

    Passers-by cross a passing line and no entrance.
    """
    everybody = list(truths)
    kinds = {t.shopper_id: {c.kind for c in t.crossings} for t in everybody}
    crossings = [c for t in everybody for c in t.crossings if c.kind == "entrance"]
    directions = [c.direction for c in crossings]
    entries, buyers = directions.count("entry"), sum(t.paid is not None for t in everybody)
    visits = [visit for t in everybody for visit in t.visits]
    zones = sorted({(v.camera_id, v.zone_id) for v in visits})
    return {
        "shoppers": sum(seen != {"passing"} for seen in kinds.values()),
        "passers_by": sum(seen == {"passing"} for seen in kinds.values()),
        "groups": len({t.group_id for t in everybody if t.group_id is not None}),
        "entries": entries,
        "exits": directions.count("exit"),
        "buyers": buyers,
        "gave_up": sum(t.gave_up for t in everybody),
        "conversion": round(buyers / entries, 4) if entries else None,
        "zones": {
            "/".join(zone): {"visits": len(seconds), "mean_seconds": round(fmean(seconds), 3)}
            for zone in zones
            for seconds in [[v.seconds for v in visits if (v.camera_id, v.zone_id) == zone]]
        },
    }


def _crossings(path: Path, camera: Camera) -> Iterator[Crossing]:
    seconds, feet = path.samples()
    for line in camera.lines:
        # The function takes whole columns as well as single numbers.
        distance = np.asarray(signed_distance(line.a, line.b, (feet[:, 0], feet[:, 1])))  # type: ignore[arg-type]
        for at in _changes(distance / path.step(line.a, line.b)):
            if passes_between(line.a, line.b, tuple(feet[at - 1]), tuple(feet[at])):
                direction = "entry" if distance[at] > 0 else "exit"
                where = (camera.camera_id, line.line_id, line.kind)
                yield Crossing(path.shopper_id, *where, direction, float(seconds[at]))


def _changes(steps: FloatArray) -> Iterator[int]:
    """Samples with which the side changes; back within a step of the line only a step beyond it.

    Args:
        steps: distance from the line in steps, positive on its right side.
    """
    side, is_near, at = steps[0] > 0, False, 0
    for number, here in enumerate(steps):
        if (here > 0) == side:
            is_near &= abs(here) < 1
            at = 0
            continue
        at = at or number
        if not is_near or abs(here) >= 1:
            yield at
            side, is_near, at = not side, abs(here) < 1, 0


def _visits(path: Path, camera: Camera) -> Iterator[Visit]:
    seconds, feet = path.samples()
    for zone in camera.zones:
        corners = np.array(zone.polygon)
        near = ((feet >= corners.min(axis=0)) & (feet <= corners.max(axis=0))).all(axis=1)
        inside = [
            bool(close) and contains(zone.polygon, (x, y))
            for close, (x, y) in zip(near, feet, strict=True)
        ]
        edges = np.flatnonzero(np.diff([False, *inside, False]))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            yield Visit(
                path.shopper_id,
                camera.camera_id,
                zone.zone_id,
                zone.kind,
                float(seconds[first]),
                float(seconds[end - 1]) + SAMPLE_SECONDS,
            )

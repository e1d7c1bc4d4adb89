"""What the demo plays: the simulated shop with its truth, or footage without a known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.stores import load_stores
from simulator.orders import SimulatedOrderEvent
from simulator.shop import BRANCH, Truth
from simulator.shop.render import film_day, open_day
from verification.cameras.footage import real_clip
from verification.deployment import Step

CAMERA = "B01-entrance"
BEGIN_SECONDS = 100.0  # into the shop's day: people are in the aisles and at the tills by then
ARRIVAL_SECONDS = 3.0  # one comes every so often


class DemoError(StorelakeError):
    """The demo cannot run with these options."""


@dataclass(frozen=True)
class Footage:
    """A film of real people for one camera; orders are baskets of every branch.

    Attributes:
        note: one sentence on what it is.
        films: camera id -> video.
        detector: what finds people in it; None: the one of the settings.
        loop: whether the film begins again at its end.
        branches: who sells baskets; empty: all.
    """

    note: str
    films: Mapping[str, Path]
    detector: str | None = None
    loop: bool = True
    branches: tuple[str, ...] = ()

    def orders(self, start: datetime) -> list[SimulatedOrderEvent]:  # noqa: ARG002
        """No orders: the people in the film are no customers."""
        return []

    def truth(self) -> dict[str, Any] | None:
        """Unknown."""
        return None


@dataclass(frozen=True)
class Shop:
    """A minute of the simulated shop: what its cameras film, and what the same shoppers buy."""

    settings: Settings
    shoppers: int
    seed: int
    seconds: float
    run_id: str
    films: Mapping[str, Path]
    branches: tuple[str, ...]
    note: str = field(init=False, default="a simulated shop with two cameras, whose truth is known")
    detector: str | None = field(init=False, default="onnx")
    loop: bool = field(init=False, default=False)

    def orders(self, start: datetime) -> list[SimulatedOrderEvent]:
        """Orders of the people who are filmed, when the films begin at `start`."""
        day = open_day(
            self.settings,
            shoppers=self.shoppers,
            seed=self.seed,
            start=start - timedelta(seconds=BEGIN_SECONDS),
            run_id=self.run_id,
        )
        events = day.orders()
        end = start + timedelta(seconds=self.seconds)
        paid = {
            e.order_id
            for e in events
            if e.event_type == "order.created" and start <= e.made_at < end
        }
        return [event for event in events if event.order_id in paid]

    def truth(self) -> dict[str, Any] | None:
        """What happened in the films."""
        day = open_day(self.settings, shoppers=self.shoppers, seed=self.seed)
        return _totals(day.truth(), BEGIN_SECONDS, BEGIN_SECONDS + self.seconds)


def _totals(truths: Sequence[Truth], begin: float, end: float) -> dict[str, Any]:
    """Of a part of the day; visits are those that began and ended in it."""
    crossings = [c for t in truths for c in t.crossings if begin <= c.second < end]
    entries = sum(c.direction == "entry" for c in crossings)
    orders = sum(t.paid is not None and begin <= t.paid < end for t in truths)
    visits = [v for t in truths for v in t.visits if begin <= v.enters and v.leaves < end]
    zones = sorted({v.zone_id for v in visits})
    return {
        "entries": entries,
        "exits": len(crossings) - entries,
        "orders": orders,
        "conversion_rate": round(orders / entries, 4) if entries else None,
        "dwell_seconds": {
            zone: round(fmean(v.seconds for v in visits if v.zone_id == zone), 1) for zone in zones
        },
    }


def choose_scene(
    settings: Settings, video: Path | None, *, seconds: float, seed: int, run_id: str, step: Step
) -> Footage | Shop:
    """The simulated shop, or the footage that the operator named.

    Args:
        settings: name the store file.
        video: a file, or "clip" for Debian's; None: the shop.
        seconds: how long the films last.
        seed: of the shop's day.
        run_id: part of the ids of the shop's orders.
        step: receives the number of rendered pictures.

    Raises:
        DemoError: the video does not exist.
    """
    if video is None:
        return _draw_shop(settings, seconds, seed, run_id, step)
    if video == Path("clip"):
        clip, note = real_clip(settings)
        return Footage(note, {CAMERA: clip})
    if not video.is_file():
        raise DemoError(f"{video} does not exist; --video takes a file that OpenCV can read")
    return Footage(f"your own: {video.name}", {CAMERA: video})


def _draw_shop(settings: Settings, seconds: float, seed: int, run_id: str, step: Step) -> Shop:
    shoppers = round((BEGIN_SECONDS + seconds) / ARRIVAL_SECONDS)
    day = open_day(settings, shoppers=shoppers, seed=seed)
    films = film_day(
        day,
        settings.var_dir / "demo",
        lambda count: None if count % 50 else step(f"rendering the shop: {count} pictures"),
        begin=BEGIN_SECONDS,
        end=BEGIN_SECONDS + seconds,
    )
    others = (b.branch_id for b in load_stores(settings.stores_file).branches)
    return Shop(
        settings, shoppers, seed, seconds, run_id, films, tuple(b for b in others if b != BRANCH)
    )

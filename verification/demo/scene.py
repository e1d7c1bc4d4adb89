"""What the demo plays: the simulated shop with its truth, or footage without a known truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.stores import load_stores
from simulator.orders import SimulatedOrderEvent
from simulator.shop import BRANCH, ShopDay, Truth, sum_up
from simulator.shop.render import film_day, open_day
from verification.deployment import Step

CAMERA = "B01-entrance"
CLIP = Path("clip")  # Debian's
BEGIN_SECONDS = 100.0  # into the shop's day: people are in the aisles and at the tills by then
ARRIVAL_SECONDS = 3.0  # one comes every so often


class DemoError(StorelakeError):
    """The demo cannot run with these options."""


@dataclass(frozen=True)
class Scene:
    """What the cameras film.

    Attributes:
        note: one sentence on what it is.
        films: camera id -> video.
        detector: what finds people in it; None: the one of the settings.
        seconds: how long the films of the shop last.
        day: the shop's day that starts at a time; None for footage of real people.
        branches: which branches sell other baskets; empty: all.
    """

    note: str
    films: Mapping[str, Path]
    detector: str | None = None
    seconds: float = 0.0
    day: Callable[[datetime | None], ShopDay] | None = None
    branches: tuple[str, ...] = ()

    @property
    def loop(self) -> bool:
        """Whether a film begins again at its end."""
        return self.day is None

    def orders(self, start: datetime) -> list[SimulatedOrderEvent]:
        """Orders of the people who are filmed, when the films begin at `start`."""
        if self.day is None:
            return []
        events = self.day(start - timedelta(seconds=BEGIN_SECONDS)).orders()
        end = start + timedelta(seconds=self.seconds)
        paid = {
            e.order_id
            for e in events
            if e.event_type == "order.created" and start <= e.made_at < end
        }
        return [event for event in events if event.order_id in paid]

    def truth(self) -> dict[str, Any] | None:
        """What happened in the films of the shop (`sum_up`); None where that is unknown."""
        if self.day is None:
            return None
        end = BEGIN_SECONDS + self.seconds
        return sum_up(_within(truth, BEGIN_SECONDS, end) for truth in self.day(None).truth())


def _within(truth: Truth, begin: float, end: float) -> Truth:
    """A part of the day, in its seconds; visits are those that began and ended in it."""
    return replace(
        truth,
        crossings=tuple(c for c in truth.crossings if begin <= c.second < end),
        visits=tuple(v for v in truth.visits if begin <= v.enters and v.leaves < end),
        paid=truth.paid if truth.paid is not None and begin <= truth.paid < end else None,
    )


def require_video(video: Path | None) -> None:
    """Raise `DemoError` when the footage that the operator named does not exist."""
    if video is not None and video != CLIP and not video.is_file():
        raise DemoError(f"{video} does not exist; --video takes a file that OpenCV can read")


def choose_scene(
    settings: Settings, video: Path | None, *, seconds: float, seed: int, run_id: str, step: Step
) -> Scene:
    """The simulated shop, or the footage that the operator named.

    Args:
        settings: name the store file.
        video: a file, or "clip" for Debian's; None: the shop.
        seconds: how long the films last.
        seed: of the shop's day.
        run_id: part of the ids of the shop's orders.
        step: receives the number of rendered pictures.
    """
    if video is None:
        return _render_shop(settings, seconds, seed, run_id, step)
    if video == CLIP:
        from verification.cameras.footage import real_clip  # noqa: PLC0415 - it loads SciPy

        clip, note = real_clip(settings)
        return Scene(note, {CAMERA: clip})
    return Scene(f"your own: {video.name}", {CAMERA: video})


def _render_shop(settings: Settings, seconds: float, seed: int, run_id: str, step: Step) -> Scene:
    shoppers = round((BEGIN_SECONDS + seconds) / ARRIVAL_SECONDS)

    def day(start: datetime | None) -> ShopDay:
        return open_day(settings, shoppers=shoppers, seed=seed, start=start, run_id=run_id)

    films = film_day(
        day(None),
        settings.var_dir / "demo",
        lambda count: None if count % 50 else step(f"rendering the shop: {count} pictures"),
        begin=BEGIN_SECONDS,
        end=BEGIN_SECONDS + seconds,
    )
    others = [b.branch_id for b in load_stores(settings.stores_file).branches]
    others.remove(BRANCH)
    note = "a simulated shop with two cameras, whose truth is known"
    return Scene(note, films, "onnx", seconds, day, tuple(others))

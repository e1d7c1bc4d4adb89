"""`storelake verify-quality`: ten kinds of damage, of which the report must name each and no more.

Two weeks of a chain go through a fresh house, and must be judged clean. Then comes a bad span of
two hours, partly through the streams and partly past them, and everything is judged again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from cli import processes
from cli.check import plants
from cli.check.house import House, Tell, fresh_house
from cli.check.past import ENVIRONMENT, send_frames, send_orders, settle
from conf.settings import Settings
from conf.stores import load_stores
from quality.engines import Engines
from quality.results import Result
from quality.run import Plan, Run, run_quality
from simulator.history import HOUR, Span, frame_history, order_history
from simulator.orders import OrderEvent
from streaming.lake.formats import require_iceberg

PAST = timedelta(days=14)
FILMED = 3 * HOUR
BAD = 2 * HOUR
ORDERS_AN_HOUR = 10.0  # of each branch


@dataclass
class _Scene:
    """A house with a past.

    Attributes:
        house: whose streams run.
        seed: of the history.
        now: where the past ends and the bad span begins: a full hour.
        frames: that were sent so far.
    """

    house: House
    seed: int
    now: datetime
    tell: Tell
    frames: int = 0

    def send_past(self) -> None:
        """Two weeks of orders and a few hours of frames, all sent now: brokers forget old ones."""
        past = self._orders(Span(self.now - PAST, self.now), "past")
        self._send(past, on_time=False)
        self._film(Span(self.now - FILMED, self.now), None)

    def send_bad_span(self, wait: Any) -> None:
        """Two hours with drift, a silent branch and a stale camera; then a late burst."""
        span = Span(self.now, self.now + BAD)
        events = list(self._orders(span, "bad"))
        damaged = list(plants.through_the_front_door(events, span))
        for hour in span.hours():
            within = Span(hour, hour + HOUR)
            self._send(e for e in damaged if within.start <= e.event_time < within.end)
            self._film(within, self.now + HOUR / 2)
            wait()
        self._send(plants.late_burst(events, self.now - 6 * HOUR, span.end - HOUR / 2))
        wait()

    def _orders(self, span: Span, name: str) -> Iterable[OrderEvent]:
        return order_history(
            self._stores.branches, span, mean=ORDERS_AN_HOUR, seed=self.seed, run_id=name
        )

    def _film(self, span: Span, stale_from: datetime | None) -> None:
        run_id = f"{span.start:%Y%m%dT%H}"
        frames = frame_history(self._stores, span, run_id=run_id)
        if stale_from is not None:
            frames = plants.frames_with_a_stale_camera(frames, stale_from)
        self.frames += send_frames(self.house.settings, frames)

    def _send(self, events: Iterable[OrderEvent], *, on_time: bool = True) -> None:
        send_orders(self.house.settings, events, on_time=on_time)

    @property
    def _stores(self) -> Any:
        return load_stores(self.house.settings.stores_file)


def verify(base: Settings, seed: int, tell: Tell) -> dict[str, Any]:
    """Run the whole proof; nothing goes on afterwards, however it ends.

    Returns:
        `ok`, `planted`, `found`, `false_alarms`, `missed` and `alarms` by name, `seconds`, and how
        long each validation took.

    Raises:
        StorelakeError: something did not come up or died by itself, or the lake is in Delta.
    """
    require_iceberg(base, "The proof of validation, which damages Iceberg tables,")
    started = time.monotonic()
    with fresh_house(base, "verify-quality", tell) as house:
        clean, damaged = _judge_twice(house, seed, tell)
        missed, alarms = account(plants.PLANTS, damaged.failures)
        alarms = [*clean.failures, *alarms]
        house.keep = bool(missed or alarms)
    return {
        "ok": not missed and not alarms,
        "planted": len(plants.PLANTS),
        "found": len(plants.PLANTS) - len(missed),
        "false_alarms": len(alarms),
        "missed": missed,
        "alarms": [f"{one.id}: {one.observed or ''} {one.samples}" for one in alarms],
        "named": [one.id for one in damaged.failures],
        "expectations": len(damaged.results),
        "validation_seconds": [round(run.seconds, 1) for run in (clean, damaged)],
        "seconds": round(time.monotonic() - started, 1),
    }


def account(
    planted: Iterable[plants.Plant], failures: Iterable[Result]
) -> tuple[list[str], list[Result]]:
    """The damage that no failure names, and the failures that no damage explains."""
    planted, failures = list(planted), list(failures)
    missed = [plant.name for plant in planted if not any(map(plant.names, failures))]
    alarms = [one for one in failures if not any(plant.explains(one) for plant in planted)]
    return missed, alarms


def _judge_twice(house: House, seed: int, tell: Tell) -> tuple[Run, Run]:
    settings = house.settings
    now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0) - BAD
    scene = _Scene(house, seed, now, tell)
    with closing(Engines(settings)) as engines:
        with ExitStack() as stack:
            tell("two weeks of orders")
            scene.send_past()
            streams = processes.start_streams(
                stack, settings, tell, (), house.environment | ENVIRONMENT
            )

            def wait() -> None:
                settle(settings, scene.frames, streams, tell)

            wait()
            tell("judging the clean house")
            clean = run_quality(settings, Plan(), tell, engines=engines, now=now)
            tell("two bad hours")
            scene.send_bad_span(wait)
        tell("side doors")
        plants.through_side_doors(settings)
        tell("judging the damaged house")
        return clean, run_quality(settings, Plan(), tell, engines=engines, now=now + BAD)

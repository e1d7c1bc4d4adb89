"""One day in the shop: what its cameras film, what its tills sell, and what really happened."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from uuid import uuid5

from conf.contracts.order_event import TILLS
from conf.stores import Branch
from simulator.baskets import Basket, read_baskets
from simulator.lives import Life, Step
from simulator.orders import NAMESPACE, SimulatedOrderEvent, step_event
from simulator.shop.doorway import at_the_doorway
from simulator.shop.scenes import Box, Scene, daylight
from simulator.shop.shoppers import Shopper, live_a_day
from simulator.shop.street import companions, groups, passers_by
from simulator.shop.truth import Truth, truth_of
from simulator.shop.views import FPS, VIEWS, Image
from simulator.tills import AT_THE_TILL, Sale, draw

BRANCH = "B01"
AFTER_PAYING = (("processing", 1.0), ("completed", 1.0))  # status, seconds after the one before
SECONDS_A_SHOPPER = 3.0
TAIL_SECONDS = 3.0  # an empty shop, so that every track ends


@dataclass(frozen=True, eq=False)
class Shot:
    """One picture of one camera.

    Attributes:
        image: BGR, shape (360, 640, 3), uint8.
        index: from 0, without gaps.
        captured_at: UTC.
        people: shopper id and box (pixels, may reach outside) of everybody in the picture.
    """

    image: Image
    index: int
    captured_at: datetime
    people: tuple[tuple[str, Box], ...]


class ShopDay:
    """A day of `shoppers` people; the same arguments make the same day, to the byte.

    Args:
        branch: the shop, with the cameras of `VIEWS`; its lines and zones make the truth.
        shoppers: how many come.
        seed: of everything.
        start: when the first picture is taken (UTC); the daily curve begins there, too.
        open_seconds: how long people arrive: the opening hours in time-lapse, people walk at
            their own pace. None: three seconds a shopper.
        run_id: part of all order ids.
        doorway: how many people stand in the entrance, turn round or stay outside.
        passers: how many people pass by at most. Without any, nobody has company either.
    """

    def __init__(
        self,
        branch: Branch,
        *,
        shoppers: int,
        seed: int,
        start: datetime,
        open_seconds: float | None = None,
        run_id: str = "shop",
        doorway: int = 0,
        passers: int = 0,
    ) -> None:
        self.branch, self.start, self._seed = branch, start, seed
        self._cameras = {c.camera_id: c for c in branch.cameras if c.camera_id in VIEWS}
        self._salt = f"{seed}/{run_id}"
        length = open_seconds or shoppers * SECONDS_A_SHOPPER
        self.shoppers: list[Shopper] = live_a_day(shoppers, length, seed)
        self.others = at_the_doorway(doorway, length, seed)
        if passers:
            self.others += [*companions(self.shoppers), *passers_by(passers, length, seed)]

    @property
    def everybody(self) -> list[Shopper]:
        """Shoppers in the order in which they came, then all others."""
        return [*self.shoppers, *self.others]

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """The cameras that film."""
        return tuple(self._cameras)

    @cached_property
    def seconds(self) -> float:
        """Until everybody has left, and a moment more."""
        return max((s.ends for s in self.everybody), default=0.0) + TAIL_SECONDS

    @property
    def frames(self) -> int:
        """Pictures of each camera."""
        return int(self.seconds * FPS) + 1

    def shots(self, camera_id: str, begin: float = 0.0, end: float | None = None) -> Iterator[Shot]:
        """Draw what a camera films, `FPS` pictures a second.

        Args:
            camera_id: one of `camera_ids`.
            begin: second of the day of the first picture.
            end: second of the day before which the last one is taken; None: the end of the day.
        """
        view = VIEWS[camera_id]
        scene = Scene(view)
        coming = sorted(
            (p for s in self.everybody for p in s.paths if p.view == view),
            key=lambda path: path.begins,
            reverse=True,
        )
        here = []
        last = self.frames if end is None else min(self.frames, int(end * FPS))
        for index in range(int(begin * FPS), last):
            second = index / FPS
            while coming and coming[-1].begins <= second:
                here.append(coming.pop())
            here = [path for path in here if path.ends >= second]
            people = [(path.look, path.pose(second)) for path in here]
            image, boxes = scene.picture(people, daylight(second, self.seconds), index)
            yield Shot(
                image,
                index,
                self.start + timedelta(seconds=second),
                tuple((path.shopper_id, box) for path, box in zip(here, boxes, strict=True)),
            )

    @cached_property
    def _lives(self) -> dict[str, Life]:
        """Shopper -> order, of those who paid."""
        rng = random.Random(f"{self._salt}/pay")  # noqa: S311 - replayable sales
        buyers = sorted((s for s in self.shoppers if s.paid is not None), key=lambda s: s.paid or 0)
        baskets = islice(read_baskets(self._seed), len(buyers))
        return {
            buyer.shopper_id: self._life(basket, rng)
            for buyer, basket in zip(buyers, baskets, strict=True)
        }

    def _life(self, basket: Basket, rng: random.Random) -> Life:
        steps = [Step(0.0, "order.created", "pending", basket.lines)]
        steps += [
            Step(after, "order.status_changed", status, basket.lines)
            for status, after in AFTER_PAYING
        ]
        tag = uuid5(NAMESPACE, f"{self._salt}/{self.branch.branch_id}").hex[:8]
        return Life(
            order_id=f"O-{tag}-{basket.basket_id}",
            branch_id=self.branch.branch_id,
            customer_id=basket.customer_id,
            payment_method="cash",
            currency=self.branch.currency,
            steps=tuple(steps),
            version=TILLS,
            sale=Sale(self.branch.currency, methods=draw(rng, AT_THE_TILL)),
        )

    def orders(self) -> list[SimulatedOrderEvent]:
        """Events of the tills by time: created when paid, then its status changes."""
        events = []
        for shopper in self.shoppers:
            life = self._lives.get(shopper.shopper_id)
            if life is None or shopper.paid is None:
                continue
            created_at = at = self.start + timedelta(seconds=shopper.paid)
            for number, step in enumerate(life.steps):
                at += timedelta(seconds=step.after)
                event = step_event(
                    life, number, self._salt, made_at=at, event_time=at, created_at=created_at
                )
                events.append(event)
        return sorted(events, key=lambda event: (event.made_at, event.event_id))

    def truth(self) -> list[Truth]:
        """One for each person of `everybody`."""
        truths = [
            truth_of(s, self._cameras, life.order_id if life else None)
            for s in self.everybody
            for life in [self._lives.get(s.shopper_id)]
        ]
        group_ids = groups(
            (c.second, next(p for p in s.paths if p.begins <= c.second <= p.ends))
            for s, truth in zip(self.everybody, truths, strict=True)
            for c in truth.crossings
            if (c.kind, c.direction) == ("entrance", "entry")
        )
        return [replace(truth, group_id=group_ids.get(truth.shopper_id)) for truth in truths]

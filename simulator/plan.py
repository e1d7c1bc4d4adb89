"""What one run of `send` is to do: how much, how fast, and what share of it out of the ordinary."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from conf.errors import StorelakeError
from conf.settings import StreamSettings
from simulator.baskets import Basket, read_baskets
from simulator.orders import LIFE_SECONDS
from simulator.synthetic import invent_baskets

Kind = Literal["order", "poison", "late", "duplicate"]
Source = Literal["baskets", "synthetic"]

UNPACED_SLOT = 0.001  # shop seconds between two events without a rate
LATE_AFTER = 0.1
LATE_AFTER_OF_ENDLESS = 100
LATE_SPAN = timedelta(hours=23)


class PlanError(StorelakeError):
    """The shares of a plan do not fit together."""


@dataclass(frozen=True)
class Plan:
    """How much, how fast, how much of it broken, late, or sent twice.

    Attributes:
        rate: messages a minute; None: as fast as possible.
        count: stop after so many messages, of whatever kind.
        poison, late, duplicates: shares of the messages, together 1 at most. A system that has seen
            nothing yet has no watermark, and nothing is late for it: so late ones begin after the
            first tenth of the messages (after the first hundred where the total is not known).
        version: of the events; None: a mix of all, as old tills and new ones send.
    """

    rate: float | None = None
    count: int | None = None
    seconds: float | None = None
    poison: float = 0.0
    late: float = 0.0
    duplicates: float = 0.0
    seed: int = 1
    source: Source = "baskets"
    version: int | None = None

    def __post_init__(self) -> None:
        if self.ordinary < 0:
            raise PlanError(
                f"poison ({self.poison}), late ({self.late}) and duplicates ({self.duplicates}) "
                "are shares of one whole: together they are 1 at most."
            )

    @property
    def ordinary(self) -> float:
        """The share that is none of the three."""
        return round(1 - self.poison - self.late - self.duplicates, 9)

    @property
    def total(self) -> int | None:
        """How many messages, where that is known before."""
        if self.count is None and self.rate and self.seconds:
            return max(1, int(self.rate * self.seconds / 60))
        return self.count

    @property
    def slot(self) -> float:
        """Shop seconds per message: real ones when there is a rate."""
        return 60 / self.rate if self.rate else UNPACED_SLOT

    @property
    def life_seconds(self) -> float:
        """The span of an order's life, short enough that most of them end within the run."""
        span = self.total * self.slot if self.total else self.seconds or math.inf
        return min(LIFE_SECONDS, 0.4 * span)

    def baskets(self) -> Iterator[Basket]:
        """What the shop sells."""
        return invent_baskets(self.seed) if self.source == "synthetic" else read_baskets(self.seed)

    def kind(self, number: int, rng: random.Random) -> Kind:
        """Draw what message `number` (from 0) is."""
        left = rng.random()
        shares: tuple[tuple[Kind, float], ...] = (
            ("poison", self.poison),
            ("late", self.late),
            ("duplicate", self.duplicates),
        )
        for kind, share in shares:
            if left < share:
                return "order" if kind == "late" and number < self._first_late else kind
            left -= share
        return "order"

    @property
    def _first_late(self) -> int:
        if self.total is None:
            return LATE_AFTER_OF_ENDLESS
        return math.ceil(LATE_AFTER * self.total)

    def ordinary_left(self, number: int) -> int | None:
        """About how many ordinary messages are still to come from `number` on, if that is known."""
        return None if self.total is None else math.ceil((self.total - number) * self.ordinary)


def draw_age(limits: StreamSettings, rng: random.Random) -> timedelta:
    """How far behind a late event lies: enough to be late for every rule of the metrics.

    The hour of the event must have ended more than the allowed lateness before the watermark, which
    itself is behind; one more hour is room for a stream that is not quite up to date. With the
    default limits that is 3 h 5 min to 26 h 5 min.
    """
    least = timedelta(hours=2) + limits.allowed_lateness + limits.watermark
    return least + rng.random() * LATE_SPAN

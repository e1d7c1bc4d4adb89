"""How much, when, and in which shops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from conf.stores import Stores

Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

BEGIN = datetime(2024, 5, 1, tzinfo=timezone.utc)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ZONES = ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "Europe/London")
OPEN, CLOSED = 8, 21  # by the clock in the branch

BRANCH = """
[[branches]]
branch_id = "{id}"
name = "Branch {id}"
region = "{region}"
timezone = "{zone}"
currency = "USD"

[[branches.cameras]]
camera_id = "{id}-entrance"
name = "Main entrance"
fps = 1.0
lines = [{{ line_id = "door", kind = "entrance", a = [0.65, 0.9], b = [0.65, 0.1] }}]
zones = [{{ zone_id = "lobby", kind = "browse", polygon = [[0.7, 0.1], [1.0, 0.1], [1.0, 0.9]] }}]

[[branches.cameras]]
camera_id = "{id}-till"
name = "Tills"
fps = 1.0
zones = [
    {{ zone_id = "till-queue", kind = "queue", polygon = [[0.0, 0.6], [0.6, 0.6], [0.6, 0.8]] }},
    {{ zone_id = "snacks", kind = "browse", polygon = [[0.0, 0.3], [0.6, 0.3], [0.6, 0.5]] }},
]
"""


def chain_stores(branches: int) -> str:
    """A store file of so many branches with two cameras each, in four time zones."""
    made = [
        BRANCH.format(id=f"B{n:03}", region=f"region-{n % 5}", zone=ZONES[n % len(ZONES)])
        for n in range(1, branches + 1)
    ]
    return "version = 1\nvalid_from = 2024-01-01T00:00:00Z\n" + "".join(made)


@dataclass(frozen=True)
class Plan:
    """What is made.

    Attributes:
        orders: order events, that is rows of silver.orders.
        detections: rows of silver.detections.
        days: from `BEGIN` on.
        branches: of the chain.
        commits: slices of time; each table gets at most one commit of each.
        seed: of all chance.
    """

    orders: int
    detections: int
    days: int
    branches: int
    commits: int
    seed: int = 7

    def slices(self, stores: Stores) -> list[Slice]:
        """Slices that share the rows as the hours of the day do."""
        minutes = np.rint(np.linspace(0, self.days * 1440, self.commits + 1)).astype(int)
        edges = [BEGIN + int(at) * MINUTE for at in minutes]
        bins = [_bins(start, end) for start, end in pairwise(edges)]
        grids = [_grid(stores, of_slice) for of_slice in bins]
        orders = _shares([grid.sum() for grid in grids], self.orders)
        rows = _shares([grid.sum() for grid in grids], self.detections)
        return [
            Slice(number, tuple(bins[number]), grids[number], int(orders[number]), int(count))
            for number, count in enumerate(rows)
        ]


@dataclass(frozen=True)
class Slice:
    """Some time of the chain.

    Attributes:
        number: from 0 on.
        edges: of its bins, of at most an hour each, UTC.
        weights: how busy each branch is in each bin.
        orders: order events of orders that begin in it.
        detections: rows of silver.detections.
    """

    number: int
    edges: tuple[datetime, ...]
    weights: Floats
    orders: int
    detections: int

    @property
    def start(self) -> datetime:
        """Its begin, UTC, a full minute."""
        return self.edges[0]

    @property
    def end(self) -> datetime:
        """The begin of the next one."""
        return self.edges[-1]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Longs, Longs, Longs]:
        """(branch, begin of a bin, end of it), so many times; in microseconds."""
        chance = np.cumsum(self.weights.ravel())
        picked = np.searchsorted(chance, rng.random(count) * chance[-1], side="right")
        branch, of_bin = np.divmod(picked, self.weights.shape[1])
        edges = np.array([microseconds(edge) for edge in self.edges])
        return branch, edges[of_bin], edges[of_bin + 1]


def microseconds(moment: datetime) -> int:
    """Since 1970, UTC."""
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def _bins(start: datetime, end: datetime) -> list[datetime]:
    """The slice cut at full hours."""
    cuts = [start]
    while cuts[-1] < end:
        full = cuts[-1].replace(minute=0) + HOUR
        cuts.append(min(full, end))
    return cuts


def _grid(stores: Stores, edges: Sequence[datetime]) -> Floats:
    """(branches, bins): a branch is as busy as it is large, and as its clock says."""
    grid = np.zeros((len(stores.branches), len(edges) - 1))
    for row, branch in enumerate(stores.branches):
        zone = ZoneInfo(branch.timezone)
        for column, (start, end) in enumerate(pairwise(edges)):
            busy = _curve(start.astimezone(zone).hour)
            grid[row, column] = busy * ((end - start) / HOUR) / np.sqrt(row + 1)
    return grid


def _curve(hour: int) -> float:
    if not OPEN <= hour < CLOSED:
        return 0.0
    noon, evening = np.exp(-(((hour - 12) / 2) ** 2)), np.exp(-(((hour - 17.5) / 2) ** 2))
    return float(0.1 + noon + 1.3 * evening)


def _shares(weights: Sequence[float], total: int) -> Longs:
    """Whole numbers by weight whose sum is the total."""
    upto = np.rint(np.cumsum(weights) / np.sum(weights) * total).astype(np.int64)
    return np.asarray(np.diff(upto, prepend=0))

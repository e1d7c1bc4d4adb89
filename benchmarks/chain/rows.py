"""The rows of every table that the questions read, slice by slice; hours where both sides meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from benchmarks.chain.cameras import CameraDesk
from benchmarks.chain.columns import amounts, times, words
from benchmarks.chain.orders import SECOND, OrderDesk
from benchmarks.chain.plan import BEGIN, Longs, Plan, Slice, microseconds
from conf.stores import Stores

HOUR_US = 3600 * SECOND
BEGIN_HOUR = microseconds(BEGIN) // HOUR_US


def slices_of_rows(plan: Plan, stores: Stores) -> Iterator[tuple[Slice, Mapping[str, pa.Table]]]:
    """Each slice of a plan with its rows by table; one may be empty.

    Rows of one table come in the order of its time, so that no slice repeats the time of another.
    """
    orders, cameras = OrderDesk(stores, plan.orders), CameraDesk(stores)
    hours = _Hours(stores, plan.days * 24)
    slices = plan.slices(stores)
    for of in slices:
        rng = np.random.default_rng([plan.seed, of.number])
        last = of.number == len(slices) - 1
        sold, summary = orders.rows(rng, of, last=last)
        watched, footfall, waits = cameras.rows(rng, of)
        hours.count(summary, footfall, waits)
        until = plan.days * 24 if last else int((of.end - BEGIN) / timedelta(hours=1))
        yield of, {**sold, **watched, "gold.store_hourly": hours.finished(until)}


@dataclass
class _Hours:
    """gold.store_hourly: sums by branch and hour, given out when an hour is over."""

    stores: Stores
    many: int
    _done: int = 0
    _waits: list[pa.Table] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = (len(self.stores.branches), self.many)
        names = ("visitors", "orders", "revenue", "cancelled", "minutes")
        self._sums = {name: np.zeros(shape, dtype=np.int64) for name in names}

    def count(self, sold: pa.Table, footfall: pa.Table, waits: pa.Table) -> None:
        """Add what one slice has."""
        cents = sold["cents"].to_numpy()
        lost = sold["cancelled"].to_numpy(zero_copy_only=False)
        where = self._where(sold["branch"], sold["created_at"])
        self._add("orders", where, np.ones(len(sold), dtype=np.int64))
        self._add("revenue", where, cents)
        self._add("cancelled", where, np.where(lost, cents, 0))
        where = self._where(footfall["branch"], footfall["at"])
        self._add("visitors", where, footfall["entries"].to_numpy())
        self._add("minutes", where, np.ones(len(footfall), dtype=np.int64))
        self._waits.append(waits)

    def _add(self, name: str, where: tuple[Longs, Longs], values: Longs) -> None:
        np.add.at(self._sums[name], where, values)

    def _where(self, branch: pa.ChunkedArray, at: pa.ChunkedArray) -> tuple[Longs, Longs]:
        hour = at.to_numpy() // HOUR_US - BEGIN_HOUR
        return branch.to_numpy(), np.minimum(hour, self.many - 1)

    def finished(self, until: int) -> pa.Table:
        """The hours before `until`, counted from the begin of the plan, that were not given out."""
        first, self._done = self._done, until
        hours = np.arange(first, until)
        branch = np.tile(np.arange(len(self.stores.branches)), len(hours))
        hour = np.repeat(hours, len(self.stores.branches))
        sums = {name: table[branch, hour] for name, table in self._sums.items()}
        cameras = np.array([len(b.cameras) for b in self.stores.branches])
        waits = self._waits_of(first, until, branch, hour)
        visitors, orders = sums["visitors"], sums["orders"]
        at = (BEGIN_HOUR + hour) * HOUR_US
        some = visitors > 0
        each = np.maximum(visitors, 1)
        change = pa.array(first * len(self.stores.branches) + 1 + np.arange(len(hour)))
        columns: dict[str, Any] = {
            "branch_id": words([b.branch_id for b in self.stores.branches], branch),
            "hour": times(at),
            "local_hour": self._local(branch, hour),
            "visitors": pa.array(visitors),
            "orders": pa.array(orders),
            "conversion_rate": pa.array(orders / each, mask=~some),
            "revenue": amounts(sums["revenue"], 18, 2),
            "net_revenue": amounts(sums["revenue"] - sums["cancelled"], 18, 2),
            "revenue_per_visitor": amounts(sums["revenue"] // each, 18, 2),
            "camera_coverage": pa.array(sums["minutes"] / (60 * cameras[branch])),
            **waits,
            "occupancy_peak": pa.array(visitors),
            "is_final": pa.array(np.ones(len(hour), dtype=bool)),
            **dict.fromkeys(("orders_change_id", "footfall_change_id", "visits_change_id"), change),
            "updated_at": times(at + HOUR_US),
            "change_id": change,
        }
        return pa.table(columns)

    def _waits_of(self, first: int, until: int, branch: Longs, hour: Longs) -> dict[str, pa.Array]:
        """How many waited in each of these hours, and how long half and 95 of 100 did at most."""
        known = pa.concat_tables(self._waits)
        of_branch, of_hour = self._where(known["branch"], known["at"])
        self._waits = [known.filter(pa.array(of_hour >= until))]
        mine = (of_hour >= first) & (of_hour < until)
        key = (of_hour * len(self.stores.branches) + of_branch)[mine]
        seconds = known["seconds"].to_numpy()[mine]
        order = np.lexsort((seconds, key))
        key, seconds = key[order], seconds[order]
        wanted = hour * len(self.stores.branches) + branch
        low = np.searchsorted(key, wanted)
        count = np.searchsorted(key, wanted, side="right") - low
        padded = np.append(seconds, 0.0)

        def at_most(share: float) -> pa.Array:
            place = low + np.maximum(np.ceil(count * share).astype(np.int64) - 1, 0)
            return pa.array(padded[np.minimum(place, len(seconds))], mask=count == 0)

        return {
            "queue_waits": pa.array(count),
            "queue_wait_p50": at_most(0.5),
            "queue_wait_p95": at_most(0.95),
        }

    def _local(self, branch: Longs, hour: Longs) -> pa.Array:
        """The wall clocks, as datetimes: an hour of a branch is one row."""
        zones = [ZoneInfo(b.timezone) for b in self.stores.branches]
        local = [
            datetime.fromtimestamp((BEGIN_HOUR + h) * 3600, timezone.utc)
            .astimezone(zones[b])
            .replace(tzinfo=None)
            for b, h in zip(branch.tolist(), hour.tolist(), strict=True)
        ]
        return pa.array(local, pa.timestamp("us"))

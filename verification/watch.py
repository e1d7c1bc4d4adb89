"""Measures latency as a reader outside the streams sees it: event time to visible, in seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import psutil
import psycopg

from conf.settings import Settings
from infra.local.poller import Poller
from infra.local.process import resident
from infra.local.streams import stream_states
from quality.smoke_test import new_orders
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Commit, Lake, LakeError, TableState
from streaming.lake.tables import GOLD_FOOTFALL_MINUTE, SILVER_ORDERS
from verification.processes import ProcessError, family

EVER = datetime.min.replace(tzinfo=timezone.utc)


@dataclass
class Latencies:
    """Pairs of (event time, seconds until visible), both sides on this machine's clock."""

    pairs: list[tuple[datetime, float]] = field(default_factory=list)

    def seen(self, event_times: list[datetime]) -> None:
        """Record events that became visible just now."""
        now = datetime.now(timezone.utc)
        self.pairs += [(t, (now - t).total_seconds()) for t in event_times]

    def summary(self, warm: datetime = EVER, start: datetime = EVER) -> dict[str, Any]:
        """p50, p95, maximum and count of the events from `warm` on; of all where that was late."""
        values = self._since(warm) or self._since(start)
        if not values:
            return {"p50": None, "p95": None, "max": None, "events": 0}
        p50, p95 = np.percentile(values, [50, 95])
        return {
            "p50": round(float(p50), 3),
            "p95": round(float(p95), 3),
            "max": round(max(values), 3),
            "events": len(values),
        }

    def of(self, event_times: Collection[datetime]) -> Latencies:
        """Those of one sender: times of different events differ by microseconds."""
        return Latencies([pair for pair in self.pairs if pair[0] in event_times])

    def _since(self, moment: datetime) -> list[float]:
        return [seconds for event_time, seconds in self.pairs if event_time >= moment]


@dataclass
class FrameCounts:
    """When a reader saw how many frames of each camera counted in footfall_minute.

    Attributes:
        before: camera -> frames that were counted before anybody looked.
        seen: camera -> (moment, frames counted since), both rising.
    """

    before: Mapping[str, int] = field(default_factory=dict)
    seen: dict[str, list[tuple[datetime, int]]] = field(default_factory=dict)

    def saw(self, counted: Mapping[str, int]) -> None:
        """Record what is counted now."""
        now = datetime.now(timezone.utc)
        for camera_id, total in counted.items():
            frames = total - self.before.get(camera_id, 0)
            seen = self.seen.setdefault(camera_id, [])
            if frames > (seen[-1][1] if seen else 0):
                seen.append((now, frames))

    def total(self) -> int:
        """Frames of all cameras that are counted by now."""
        return sum(seen[-1][1] for seen in self.seen.values() if seen)

    def latencies(self, captured_at: Mapping[str, Sequence[datetime]]) -> Latencies:
        """How long each frame took that was counted; frames of a camera count in their order.

        Args:
            captured_at: camera -> of its frames since, in the order of their index.
        """
        pairs: list[tuple[datetime, float]] = []
        for camera_id, seen in self.seen.items():
            done, frames = 0, captured_at.get(camera_id, ())
            for moment, total in seen:
                pairs += [(at, (moment - at).total_seconds()) for at in frames[done:total]]
                done = total
        return Latencies(pairs)


def number(settings: Settings, query: str) -> int:
    """The one integer that a query of Postgres returns."""
    with psycopg.connect(settings.postgres.dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    if row is None:
        raise ProcessError(f"no row: {query}")
    return int(row[0])


def watch_postgres(settings: Settings, found: Latencies) -> Poller:
    """New rows of orders_raw, for a second client of Postgres."""
    return new_orders(settings, lambda rows: found.seen([time for _, time in rows]))


def watch_lake(settings: Settings, found: Latencies) -> Poller:
    """A second reader of the lake without Spark, four times a second: new rows of silver.orders."""

    def saw(state: TableState, last: int) -> None:
        rows = state.added_since(last).to_arrow(("event_time",))
        found.seen(rows["event_time"].to_pylist())

    return _watch_commits(open_lake(settings), SILVER_ORDERS.name, saw)


def watch_footfall(settings: Settings, found: FrameCounts) -> Poller:
    """A second client of Postgres, ten times a second: frames in footfall_minute."""
    connection = psycopg.connect(settings.postgres.dsn, autocommit=True)

    def counted() -> dict[str, int]:
        rows = connection.execute(
            "SELECT camera_id, sum(frames + late_frames) FROM footfall_minute GROUP BY camera_id"
        )
        return {camera_id: int(frames) for camera_id, frames in rows}

    found.before = counted()
    return Poller("footfall", lambda: found.saw(counted()), 0.1)


def watch_footfall_lake(settings: Settings, found: FrameCounts) -> Poller:
    """A second reader of the lake without Spark, four times a second: frames in the gold table."""
    lake, table = open_lake(settings), GOLD_FOOTFALL_MINUTE.name

    def counted() -> dict[str, int]:
        columns = ("camera_id", "frames", "late_frames")
        rows = lake.read(table, columns)
        totals: Counter[str] = Counter()
        for camera_id, *frames in zip(*(rows[name].to_pylist() for name in columns), strict=True):
            totals[camera_id] += sum(frames)
        return totals

    # A reading takes CPU from what is measured, so only what is new is read.
    poller = _watch_commits(lake, table, lambda _, __: found.saw(counted()))
    found.before = counted()
    return poller


def _watch_commits(lake: Lake, table: str, saw: Callable[[TableState, int], None]) -> Poller:
    """Call `saw` after new commits, with the table and the sequence number of the last one seen."""
    last = _sequence(_state(lake, table).newest)

    def look() -> None:
        nonlocal last
        state = _state(lake, table)
        if (now := _sequence(state.newest)) > last:
            saw(state, last)
            last = now

    return Poller(f"{table} in the lake", look, 0.25)


def _state(lake: Lake, table: str) -> TableState:
    state = lake.state(table)
    if state is None:
        raise LakeError(f"There is no table {table} in the lake.")
    return state


def _sequence(newest: Commit | None) -> int:
    """0 for a table that nobody has written to."""
    return newest.sequence if newest else 0


class Watch:
    """What readers outside the streams see, from the making of this object until `finish`.

    Attributes:
        start: when it began (UTC).
        postgres, lake: latencies of orders.
        footfall, footfall_lake: frames counted; only with `frames`.
        peak: the largest resident memory of the application and its children, in bytes.
        warm_at: when every stream had finished a batch (UTC); None before that.
    """

    def __init__(self, settings: Settings, pid: int, *, frames: bool = False) -> None:
        """Args: of running services, of the Spark application, whether to count frames."""
        self.start, self.peak = datetime.now(timezone.utc), 0
        self.warm_at: datetime | None = None
        self.postgres, self.lake = Latencies(), Latencies()
        self.footfall, self.footfall_lake = FrameCounts(), FrameCounts()
        self._settings, self._pid = settings, pid
        self._pollers = [
            watch_postgres(settings, self.postgres),
            watch_lake(settings, self.lake),
            Poller("memory", self._sample_memory, 1.0),
            Poller("warm-up", self._note_warm_up, 0.2),
        ]
        if frames:
            self._pollers.append(watch_footfall(settings, self.footfall))
            self._pollers.append(watch_footfall_lake(settings, self.footfall_lake))
        for poller in self._pollers:
            poller.start()

    def finish(self) -> None:
        """Read once more, and end."""
        for poller in self._pollers:
            poller.finish()

    def _sample_memory(self) -> None:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._pid)
            self.peak = max(self.peak, sum(map(resident, family(root))))

    def _note_warm_up(self) -> None:
        states = stream_states(self._settings).values()
        if states and all(state["finished_batches"] > 0 for state in states):
            self.warm_at = self.warm_at or datetime.now(timezone.utc)

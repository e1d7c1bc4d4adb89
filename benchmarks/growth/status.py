"""Batch time of the order status tracker by orders in its state, the same input at each size."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import Annotated

import psycopg
import typer

from benchmarks import Out, fresh, notify, print_result
from benchmarks.drain import GIVE_UP_SECONDS, TRACKER, event
from benchmarks.growth import Point, Sizes, curve, numbers, point, status_change
from streaming.source import GENERATION, HEARTBEAT
from verification.backlog import fill_topic
from verification.deployment import Deployment
from verification.processes import Child, cpu_seconds
from verification.watch import number

COMMITTED_SQL = f"""
    SELECT coalesce(sum(position::numeric % {GENERATION} + 1), 0) FROM stream_offsets
    WHERE stream = '{TRACKER}' AND topic <> '{HEARTBEAT}'"""  # noqa: S608 - constants
BATCHES_SQL = """
    SELECT extract(epoch FROM committed_at)::float, rows_in FROM stream_batches
    WHERE query_id = %s AND committed_at > %s ORDER BY batch_id"""


@dataclass
class Tracker:
    """The running stream: `rows` at most in a batch, `sent` messages so far."""

    deployment: Deployment
    child: Child
    rows: int
    sent: int = 0

    def process(self, messages: Iterable[tuple[bytes, bytes]], count: int) -> None:
        """Send so many messages, and wait until the stream has written them."""
        settings = self.deployment.settings
        fill_topic(settings, settings.kafka.order_created, messages)
        self.sent += count

        def is_over() -> bool:
            return number(settings, COMMITTED_SQL) >= self.sent

        sentence = "the tracker has not read everything"
        self.deployment.require(is_over, GIVE_UP_SECONDS, sentence, every=0.2, alive=self.child)

    def measure(self, orders: int, start: datetime, batches: int) -> Point:
        """Full batches of changes of any of the orders that `event` has created at `start`."""
        rng, now = random.Random(orders), datetime.now(timezone.utc)  # noqa: S311
        count, before = batches * self.rows, cpu_seconds(self.child.pid)
        prefix = f"D-{start.timestamp():.0f}"
        names = (f"{prefix}-{rng.randrange(orders)}" for _ in range(count))
        self.process((status_change(name, now, rng) for name in names), count)
        spent = sum(cpu_seconds(self.child.pid).values()) - sum(before.values())
        return point(orders, list(self._seconds(now)), cpu_s=round(spent / batches, 3))

    def _seconds(self, since: datetime) -> Iterator[float]:
        """Seconds between the commits of full batches."""
        with psycopg.connect(self.deployment.settings.postgres.dsn) as connection:
            found = connection.execute(BATCHES_SQL, (TRACKER, since)).fetchall()
        full = 0.9 * max(rows for _, rows in found)
        for (begun, before), (ended, rows) in pairwise(found):
            if min(before, rows) >= full:
                yield ended - begun


def main(
    sizes: Sizes = "10000,100000,1000000",
    rows: Annotated[int, typer.Option(help="Of a batch.")] = 2500,
    batches: Annotated[int, typer.Option(min=6, help="Measured at each size.")] = 12,
    out: Out = None,
) -> None:
    """Order status tracker: batch time by orders in its state."""
    limits = {
        "STORELAKE_STREAMS__MAX_ROWS_PER_BATCH": str(rows),
        "STORELAKE_STREAMS__TRIGGER_SECONDS": "0",
    }
    start, rng, known = datetime.now(timezone.utc), random.Random(1), 0  # noqa: S311
    points: list[Point] = []
    with fresh() as deployment, deployment.run_streams(TRACKER, **limits) as child:
        tracker = Tracker(deployment, child, rows)
        for size in numbers(sizes):
            notify(f"{size:,} orders in the state")
            created = (event(number, start, rng) for number in range(known, size))
            tracker.process(created, size - known)
            known = size
            points.append(tracker.measure(size, start, batches))
    print_result({"rows_a_batch": rows, **curve(points, points[-2])}, out)

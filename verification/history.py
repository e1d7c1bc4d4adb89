"""Weeks of history sent in a moment, and the wait until every stream has written them.

Everything is sent straight to Kafka. Delivery: each message once, acknowledged by all, or an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from conf.contracts.topics import event_topics
from conf.stores import load_stores
from quality.order_observer import end_offsets
from simulator.history import HOUR, Span, frame_history, order_history
from simulator.ledger import Delivery
from simulator.orders import SimulatedOrderEvent, as_json
from simulator.transport import KafkaTransport
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.lake.tables import TABLES
from streaming.registry import STREAMS
from streaming.sinks.postgres import Database
from streaming.sinks.replicate import newest_change
from streaming.source import broker_offset
from verification.deployment import Deployment
from verification.processes import Child, ProcessError

WRITTEN_SECONDS = 240.0
# History is one batch: in pieces, its partitions would be late to each other.
ONE_BATCH = {"STORELAKE_STREAMS__MAX_ROWS_PER_BATCH": "200000"}

ORDERS_AN_HOUR = 10.0  # of each branch
FILMED = 3 * HOUR

Message = tuple[str, bytes, bytes, datetime | None]
"""Topic, key, value, and when it was sent; None is now."""


def this_hour() -> datetime:
    """The start of the present hour, UTC."""
    return datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)


@dataclass
class History:
    """Orders and frames of a chain, sent to a deployment.

    Attributes:
        deployment: whose services run.
        seed: of the orders.
        frames: sent so far.
    """

    deployment: Deployment
    seed: int
    frames: int = 0

    def orders(self, span: Span, run_id: str) -> Iterator[SimulatedOrderEvent]:
        """Order events of every branch in a span."""
        branches = load_stores(self.deployment.settings.stores_file).branches
        history = order_history(branches, span, mean=ORDERS_AN_HOUR, seed=self.seed, run_id=run_id)
        return iter(history)

    def send_orders(self, events: Iterable[SimulatedOrderEvent], *, on_time: bool = True) -> None:
        """Send order events, as if when they were made, or all now: brokers delete old ones."""
        kafka = self.deployment.settings.kafka
        self._send(
            (event_topics(kafka)[e.event_type], e.key, e.value, e.made_at if on_time else None)
            for e in events
        )

    def send_frames(
        self, span: Span, run_id: str, keep: Callable[[str, datetime], bool] = lambda *_: True
    ) -> None:
        """Send the frames of a span as if when they were taken.

        Args:
            span: of their capture.
            run_id: of the cameras.
            keep: whether to send a frame, by its camera and time.
        """
        settings = self.deployment.settings

        def messages() -> Iterator[Message]:
            for frame in frame_history(load_stores(settings.stores_file), span, run_id=run_id):
                at = datetime.fromisoformat(frame["captured_at"].replace("Z", "+00:00"))
                if keep(frame["camera_id"], at):
                    key = f"{frame['branch_id']}/{frame['camera_id']}".encode()
                    yield settings.kafka.detections, key, as_json(frame), at

        self.frames += self._send(messages())

    def _send(self, messages: Iterable[Message]) -> int:
        """Returns the number of messages."""
        done: list[Delivery] = []

        async def send() -> None:
            transport = KafkaTransport(self.deployment.settings.kafka, 60)
            for topic, key, value, at in messages:
                await transport.send(topic, key, value, done.append, at=at)
                transport.poll()
            await transport.drain()

        asyncio.run(send())
        if failed := [delivery for delivery in done if delivery.outcome != "accepted"]:
            raise ProcessError(f"{len(failed)} messages failed: {failed[0].detail}")
        return len(done)

    def wait(self, streams: Child) -> None:
        """Wait until every stream has written all that was sent, and the lake has its replicas.

        Raises:
            ProcessError: the streams have died, or take too long.
        """
        settings = self.deployment.settings
        ends = end_offsets(settings, settings.kafka.order_topics)
        with closing(Database(settings.postgres.dsn, 2)) as db, open_lake(settings) as lake:

            def complete() -> bool:
                behind, missing = _behind(db, ends), self.frames - _counted(db)
                self.deployment.step(f"{behind} events and {missing} frames to go")
                return behind + max(0, missing) == 0 and self._replicated(db, lake, ends)

            sentence = "the streams have not written everything"
            self.deployment.require(complete, WRITTEN_SECONDS, sentence, alive=streams)

    def _replicated(self, db: Database, lake: Lake, ends: Mapping[Any, int]) -> bool:
        """Whether bronze has every message, and each replica the newest change."""
        counts = {"bronze.order_events": sum(ends.values()), "bronze.detections": self.frames}
        if any(lake.read(name, ("topic",)).num_rows < count for name, count in counts.items()):
            return False
        for table in TABLES:
            if table.copy_of is None:
                continue
            # S608: names come from this repository, not from input.
            sql = f"SELECT coalesce(max(change_id), 0) AS n FROM {table.copy_of}"  # noqa: S608
            if newest_change(lake.read(table.name, ("change_id",))) < db.fetch(sql)[0]["n"]:
                return False
        return True


def _behind(db: Database, ends: Mapping[tuple[str, int], int]) -> int:
    """Events that some order stream has not written."""
    streams = [s.name for s in STREAMS if (s.reads, s.ledger) == ("orders", "postgres")]
    written = [db.progress(name)[0] for name in streams]
    return sum(
        max(0, end - 1 - broker_offset(done[at]) if at in done else end)
        for done in written
        for at, end in ends.items()
    )


def _counted(db: Database) -> int:
    """Frames in footfall_minute."""
    sql = "SELECT coalesce(sum(frames + late_frames), 0)::bigint AS n FROM footfall_minute"
    return int(db.fetch(sql)[0]["n"])

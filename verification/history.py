"""Weeks of history sent in a moment, and the wait until every stream has written them.

Everything is sent straight to Kafka. Delivery: each message once, acknowledged by all, or an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from typing import Any

from conf.settings import Settings
from conf.stores import load_stores
from quality.order_observer import end_offsets
from simulator.history import HOUR, Span, order_history
from simulator.ledger import Delivery
from simulator.orders import SimulatedOrderEvent, as_json
from simulator.transport import KafkaTransport, topic_of
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.lake.tables import TABLES
from streaming.replicate import newest_change
from streaming.sinks.postgres import Database
from streaming.source import broker_offset
from verification.deployment import Deployment
from verification.processes import Child, ProcessError

WRITTEN_SECONDS = 240.0
ORDER_STREAMS = ("order_event_processor", "real_time_metrics", "order_status_tracker")
# History is one batch: in pieces, its partitions would be late to each other.
ONE_BATCH = {"STORELAKE_STREAMS__MAX_ROWS_PER_BATCH": "200000"}

ORDERS_AN_HOUR = 10.0  # of each branch
FILMED = 3 * HOUR

Message = tuple[str, bytes, bytes, datetime | None]
"""Topic, key, value, and when it was sent; None is now."""


def this_hour() -> datetime:
    """The start of the present hour, UTC."""
    return datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)


def orders_of(
    settings: Settings, span: Span, seed: int, run_id: str
) -> Iterator[SimulatedOrderEvent]:
    """Order events of every branch in a span."""
    branches = load_stores(settings.stores_file).branches
    return iter(order_history(branches, span, mean=ORDERS_AN_HOUR, seed=seed, run_id=run_id))


def send_orders(
    settings: Settings, events: Iterable[SimulatedOrderEvent], *, on_time: bool = True
) -> None:
    """Send order events, as if when they were made, or all now: brokers delete old ones."""
    kafka = settings.kafka
    _deliver(
        settings,
        (
            (topic_of(e.event_type, kafka), e.key, e.value, e.made_at if on_time else None)
            for e in events
        ),
    )


def send_frames(settings: Settings, frames: Iterable[dict[str, Any]]) -> int:
    """Send frames as if when they were taken; returns how many."""

    def messages() -> Iterator[Message]:
        for frame in frames:
            key = f"{frame['branch_id']}/{frame['camera_id']}".encode()
            at = datetime.fromisoformat(frame["captured_at"].replace("Z", "+00:00"))
            yield settings.kafka.detections, key, as_json(frame), at

    return len(_deliver(settings, messages()))


def _deliver(settings: Settings, messages: Iterable[Message]) -> list[Delivery]:
    done: list[Delivery] = []

    async def send() -> None:
        transport = KafkaTransport(settings.kafka, 60)
        for topic, key, value, at in messages:
            await transport.send(topic, key, value, done.append, at=at)
            transport.poll()
        await transport.drain()

    asyncio.run(send())
    if failed := [delivery for delivery in done if delivery.outcome != "accepted"]:
        raise ProcessError(f"{len(failed)} messages failed: {failed[0].detail}")
    return done


def wait_for_history(deployment: Deployment, frames: int, streams: Child) -> None:
    """Wait until every stream has written all that was sent, and the lake has its replicas.

    Args:
        deployment: whose streams run.
        frames: sent so far, all of them to Kafka.
        streams: the Spark application.

    Raises:
        ProcessError: the streams have died, or take too long.
    """
    settings = deployment.settings
    ends = end_offsets(settings, settings.kafka.order_topics)
    wanted = {
        (stream, topic, partition): end - 1
        for stream in ORDER_STREAMS
        for (topic, partition), end in ends.items()
        if end
    }
    with closing(Database(settings.postgres.dsn, 2)) as db, open_lake(settings) as lake:

        def complete() -> bool:
            streams.require_alive()
            rows = db.fetch("SELECT stream, topic, partition, position FROM stream_offsets")
            there = {
                (r["stream"], r["topic"], r["partition"]): broker_offset(r["position"])
                for r in rows
            }
            behind = sum(max(0, end - there.get(key, -1)) for key, end in wanted.items())
            (seen,) = db.fetch(
                "SELECT coalesce(sum(frames + late_frames), 0)::bigint AS n FROM footfall_minute"
            )
            deployment.step(f"{behind} events and {frames - seen['n']} frames to go")
            return not behind and seen["n"] >= frames and _replicated(db, lake, ends, frames)

        deployment.require(complete, WRITTEN_SECONDS, "the streams have not written everything")


def _replicated(db: Database, lake: Lake, ends: Any, frames: int) -> bool:
    """Whether bronze has every message, and each replica the newest change."""
    for name, count in (
        ("bronze.order_events", sum(ends.values())),
        ("bronze.detections", frames),
    ):
        if lake.read(name, ("topic",)).num_rows < count:
            return False
    for table in TABLES:
        if table.copy_of is None:
            continue
        # S608: names come from this repository, not from input.
        (row,) = db.fetch(f"SELECT coalesce(max(change_id), 0) AS n FROM {table.copy_of}")  # noqa: S608
        if newest_change(lake.read(table.name, ("change_id",))) < row["n"]:
            return False
    return True

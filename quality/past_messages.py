"""The messages of a generated day: how they are sent, and which are in the topics already."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import NamedTuple

import msgspec

from conf.contracts.topics import event_topics
from conf.settings import KafkaSettings, Settings
from quality.order_observer import Offsets, open_log
from quality.seed_state import SeedError
from simulator.ledger import Delivery
from simulator.past.days import PastDay
from simulator.transport import KafkaTransport
from streaming.source import HISTORY_HEADER, broker_offset
from streaming.sources.log import Range

PATIENCE_SECONDS = 60.0
"""Of a message that Kafka does not acknowledge."""
HISTORY = ((HISTORY_HEADER, b"1"),)


class PastMessage(NamedTuple):
    """One message of a topic; headers of orders mark them as history, which is never late."""

    topic: str
    key: bytes
    value: bytes
    event_id: str
    headers: tuple[tuple[str, bytes], ...] = ()


def messages_of(kafka: KafkaSettings, day: PastDay) -> Iterator[PastMessage]:
    """All messages of a day; those of one order, and of one camera, by time."""
    topics = event_topics(kafka)
    for event in day.orders:
        yield PastMessage(topics[event.event_type], event.key, event.value, event.event_id, HISTORY)
    encode = msgspec.json.Encoder().encode
    for frame in day.frames():
        key = f"{frame['branch_id']}/{frame['camera_id']}".encode()
        yield PastMessage(kafka.detections, key, encode(frame), frame["event_id"])


def deliver(kafka: KafkaSettings, messages: Iterable[PastMessage]) -> Offsets:
    """Send messages in order; returns the newest offset of each partition.

    Raises:
        SeedError: Kafka did not acknowledge all of them; some of those may be in the topics.
    """
    done: list[Delivery] = []

    async def send() -> None:
        tills = KafkaTransport(kafka, PATIENCE_SECONDS)
        cameras = KafkaTransport(kafka, PATIENCE_SECONDS, "cameras")
        for topic, key, value, _, headers in messages:
            transport = cameras if topic == kafka.detections else tills
            await transport.send(topic, key, value, done.append, headers=headers)
            transport.poll()
        await tills.drain()
        await cameras.drain()

    asyncio.run(send())
    ends: Offsets = {}
    for one in done:
        if one.partition is None or one.offset is None:
            raise SeedError(
                f"Kafka at {kafka.bootstrap} did not take every message ({one.detail}): repeat "
                "the command, which continues there."
            )
        at = (one.topic, one.partition)
        ends[at] = max(one.offset, ends.get(at, -1))
    return ends


def sent_since(settings: Settings, begun: Offsets) -> tuple[set[str], Offsets]:
    """Ids of the events in some topics.

    Args:
        settings: of the deployment.
        begun: the first offset of each partition that counts.

    Returns:
        The ids, and the newest offset of each partition.
    """
    topics = sorted({topic for topic, _ in begun})
    with closing(open_log(settings, topics)) as log:
        ranges = [
            Range(*partition, max(first, begun.get(partition, first)), end)
            for partition, (first, end) in log.bounds().items()
        ]
        values = (v for rows in log.fetch(ranges) for v in rows.column("value").to_pylist())
        ids = {event_id for value in values if (event_id := event_id_of(value))}
    ends = {(one.topic, one.partition): broker_offset(str(one.end)) - 1 for one in ranges}
    return ids, ends


class _Event(msgspec.Struct):
    event_id: str


def event_id_of(value: bytes | None) -> str | None:
    """The id of the event in a message; None where it has none."""
    try:
        return msgspec.json.decode(value or b"", type=_Event).event_id
    except (ValueError, RecursionError):
        return None

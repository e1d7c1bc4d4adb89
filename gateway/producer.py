"""The seam to the broker: `Publisher`, and the one in memory that ships; Kafka's is in `kafka.py`.

Delivery guarantee: a `Receipt` means that the broker acknowledged the message (all in-sync
replicas). After `UnavailableError` the message may still arrive: a caller repeats it with the same
`event_id`, which the keys downstream make harmless.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from conf.settings import KafkaSettings
from gateway.rejections import TooLargeError, UnavailableError


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message, as bytes."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the broker put a message."""

    topic: str
    partition: int
    offset: int


# A rejection is a value here, because who sends a batch looks at many outcomes, not at the first
# one.
Outcome: TypeAlias = Receipt | TooLargeError | UnavailableError


@dataclass(frozen=True)
class BrokerView:
    """Metadata of a broker; `partitions` has every topic that exists."""

    brokers: tuple[tuple[int, str, int], ...]  # id, host, port
    partitions: dict[str, int]


class Publisher(Protocol):
    """Puts messages on topics. One behaviour suite runs on every implementation."""

    def send(self, message: OutgoingMessage) -> asyncio.Future[Outcome]:
        """Queue a message; messages with one key reach their topic in the order of the calls.

        The future never fails, and is done within the acknowledgement time-out.
        """

    async def look(self) -> BrokerView:
        """Ask the broker for its topics in one round trip; raise `UnavailableError`."""

    async def close(self) -> None:
        """Flush what is under way; everything is `UnavailableError` afterwards."""


async def publish(publisher: Publisher, message: OutgoingMessage) -> Receipt:
    """Send one message and wait; raise `UnavailableError` or `TooLargeError`."""
    outcome = await publisher.send(message)
    if isinstance(outcome, Receipt):
        return outcome
    raise outcome


class MemoryPublisher:
    """A broker with one partition per topic in this process, for tests and demos.

    `stalled` takes messages without acknowledging them; `down` refuses at once.
    """

    def __init__(
        self,
        ack_timeout: float = 0.2,
        max_message_bytes: int = 1_000_000,
        topics: tuple[str, ...] = KafkaSettings().all_topics,
    ) -> None:
        self.messages: dict[str, list[OutgoingMessage]] = defaultdict(list)
        self.topics = topics
        self.down = False
        self.stalled = False
        self._ack_timeout = ack_timeout
        self._max_message_bytes = max_message_bytes

    def send(self, message: OutgoingMessage) -> asyncio.Future[Outcome]:
        """Keep the message."""
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[Outcome] = loop.create_future()
        if self.down:
            acknowledged.set_result(UnavailableError("the broker is away"))
        elif len(message.value) > self._max_message_bytes:
            acknowledged.set_result(TooLargeError("message over the limit of the broker"))
        elif self.stalled:
            late = UnavailableError("no acknowledgement in time")
            loop.call_later(self._ack_timeout, acknowledged.set_result, late)
        else:
            kept = self.messages[message.topic]
            kept.append(message)
            acknowledged.set_result(Receipt(message.topic, 0, len(kept) - 1))
        return acknowledged

    async def look(self) -> BrokerView:
        """One broker, with the configured topics."""
        if self.down:
            raise UnavailableError("the broker is away")
        return BrokerView(((1, "memory", 0),), dict.fromkeys(self.topics, 1))

    async def close(self) -> None:
        """Nothing is under way here."""
        self.down = True

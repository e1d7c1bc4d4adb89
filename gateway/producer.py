"""The seam to the broker: `Publisher`, its Kafka form, and one in memory that ships.

Delivery guarantee: `publish` returns only after the broker acknowledged the message (all in-sync
replicas), or raises within `ack_timeout` seconds. After `UnavailableError` it may still arrive:
a caller repeats it with the same `event_id`, which the keys downstream make harmless.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from conf.settings import KafkaSettings

log = structlog.get_logger(__name__)


class UnavailableError(Exception):
    """The broker did not acknowledge in time, or cannot be reached; repeating is right."""


class TooLargeError(Exception):
    """The broker will never take a message of this size; repeating is useless."""


@dataclass(frozen=True)
class Message:
    """One message, as bytes."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Receipt:
    """Where the broker put a message."""

    topic: str
    partition: int
    offset: int


class Publisher(Protocol):
    """Puts messages on topics. One behaviour suite runs on every implementation."""

    async def publish(self, message: Message) -> Receipt:
        """Return once acknowledged; raise `UnavailableError` or `TooLargeError`."""

    async def ready(self, topics: tuple[str, ...]) -> None:
        """Return when the broker has these topics; raise `UnavailableError` otherwise."""

    async def close(self) -> None:
        """Flush what is under way; `publish` raises `UnavailableError` afterwards."""


class MemoryPublisher:
    """A broker with one partition per topic in this process, for tests and demos.

    `stalled` takes messages without acknowledging them; `down` refuses at once.
    """

    def __init__(self, ack_timeout: float = 0.2, max_message_bytes: int = 1_000_000) -> None:
        self.messages: dict[str, list[Message]] = defaultdict(list)
        self.down = False
        self.stalled = False
        self._ack_timeout = ack_timeout
        self._max_message_bytes = max_message_bytes

    async def publish(self, message: Message) -> Receipt:
        """Keep the message."""
        if self.down:
            raise UnavailableError("the broker is away")
        if len(message.value) > self._max_message_bytes:
            raise TooLargeError("message over the limit of the broker")
        if self.stalled:
            await asyncio.sleep(self._ack_timeout)
            raise UnavailableError("no acknowledgement in time")
        self.messages[message.topic].append(message)
        return Receipt(message.topic, 0, len(self.messages[message.topic]) - 1)

    async def ready(self, topics: tuple[str, ...]) -> None:  # noqa: ARG002
        """Ready unless told otherwise."""
        if self.down:
            raise UnavailableError("the broker is away")

    async def close(self) -> None:
        """Nothing is under way here."""
        self.down = True


class KafkaPublisher:
    """librdkafka behind asyncio: one poll thread turns delivery reports into resolved futures.

    Why not `confluent_kafka.aio`: it batches for up to a second by default, and its batches carry
    no headers. `produce` itself only appends to a queue, so it may run on the event loop.
    """

    def __init__(self, kafka: KafkaSettings, ack_timeout: float) -> None:
        self._config = _producer_config(kafka, ack_timeout)
        self._ack_timeout = ack_timeout
        self._producer = self._connect()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._thread.start()

    async def publish(self, message: Message) -> Receipt:
        """Append to librdkafka's queue and await the delivery report."""
        if self._closed.is_set():
            raise UnavailableError("the publisher is closed")
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[Receipt] = loop.create_future()

        def report(error: KafkaError | None, sent: Any) -> None:
            try:
                loop.call_soon_threadsafe(_settle, acknowledged, error, sent)
            except RuntimeError:  # the loop ended before its answer came: nobody waits any more
                log.warning("ack_without_listener", topic=message.topic)

        try:
            self._producer.produce(
                message.topic,
                value=message.value,
                key=message.key,
                headers=list(message.headers),
                on_delivery=report,
            )
        except BufferError:
            raise UnavailableError("too many messages wait for the broker") from None
        except KafkaException as error:
            raise self._refused(error.args[0]) from None
        try:
            return await asyncio.wait_for(acknowledged, self._ack_timeout)
        except asyncio.TimeoutError:
            raise UnavailableError("no acknowledgement in time") from None

    async def ready(self, topics: tuple[str, ...]) -> None:
        """Ask the broker for its topics, off the event loop."""
        timeout = min(self._ack_timeout, 2.0)
        try:
            found = await asyncio.to_thread(self._producer.list_topics, timeout=timeout)
        except KafkaException as error:
            raise UnavailableError(error.args[0].str()) from None
        missing = sorted(set(topics) - set(found.topics))
        if missing:
            raise UnavailableError(f"missing topics: {', '.join(missing)}")

    async def close(self) -> None:
        """Flush for at most the acknowledgement time-out, then stop the poll thread."""
        if self._closed.is_set():
            return
        self._closed.set()
        left = await asyncio.to_thread(self._producer.flush, self._ack_timeout)
        await asyncio.to_thread(self._thread.join)
        log.info("publisher_closed", unacknowledged=left)

    def _connect(self) -> Producer:
        # librdkafka would write plain lines to stderr; through logging they become JSON like ours.
        return Producer(self._config, logger=logging.getLogger("gateway.librdkafka"))

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(0.1)

    def _refused(self, error: KafkaError) -> Exception:
        """What a refusal of `produce` means; a producer that died for good is replaced."""
        if error.fatal():
            log.error("producer_replaced", reason=error.str())
            self._producer = self._connect()
        return _exception(error)


def _producer_config(kafka: KafkaSettings, ack_timeout: float) -> dict[str, Any]:
    return {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": "storelake-gateway",
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 5,
        # A message is given up when its caller is: it shall not arrive minutes after the 503.
        "message.timeout.ms": max(int(ack_timeout * 1000), 10),
        # Where JVM producers put the same key, so that one order keeps to one partition.
        "partitioner": "murmur2_random",
        # Bounded memory while the broker is away; then `publish` refuses at once.
        "queue.buffering.max.kbytes": 64 * 1024,
        # Back within a second once the broker is, without a log line every 100 ms until then.
        "reconnect.backoff.ms": 500,
        "reconnect.backoff.max.ms": 1000,
        **kafka.client_options,
    }


def _settle(acknowledged: asyncio.Future[Receipt], error: KafkaError | None, sent: Any) -> None:
    if acknowledged.done():  # its caller stopped waiting
        return
    if error is None:
        acknowledged.set_result(Receipt(sent.topic(), sent.partition(), sent.offset()))
    else:
        acknowledged.set_exception(_exception(error))


def _exception(error: KafkaError) -> Exception:
    permanent = error.code() == KafkaError.MSG_SIZE_TOO_LARGE
    return (TooLargeError if permanent else UnavailableError)(error.str())

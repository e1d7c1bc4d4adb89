"""Kafka producer of rejected messages, and a `produce` that waits while the queue is full."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from conf.errors import KafkaUnavailableError
from conf.kafka import Rejections, open_client, producer_config
from conf.settings import KafkaSettings
from streaming.dlq_ids import ORIGIN_HEADER

QUEUE_SECONDS = 35.0
"""Longer than a message may wait: by then each has room, was sent, or has failed."""

DlqMessage = tuple[bytes | None, bytes | None, list[tuple[str, str | bytes | None]]]
"""Key, value, headers."""

VALUE_BYTES_HEADER = "storelake-value-bytes"
"""Header of a rejected message without its value: the size of the value."""


def produce(producer: Producer, *message: Any, **options: Any) -> None:
    """Call `producer.produce`, and wait while the queue of the producer is full.

    Raises:
        BufferError: there was no room for 35 s.
    """
    give_up = time.monotonic() + QUEUE_SECONDS
    while not _offer(producer, *message, **options):
        if time.monotonic() > give_up:
            raise BufferError(f"no room in the producer's queue for {QUEUE_SECONDS:.0f} s")
        producer.poll(0.1)  # delivery reports make room


def _offer(producer: Producer, *message: Any, **options: Any) -> bool:
    try:
        producer.produce(*message, **options)
    except BufferError:
        return False
    return True


class DlqProducer:
    """Sends rejected messages; at least once, acknowledged by all replicas.

    A batch that is run again may send a message again: its headers name the source position, which
    identifies copies. The quarantine table has each message exactly once.

    Args:
        kafka: the cluster, and the topic `order_dlq`.
        queue_kbytes: size of the producer's queue.
    """

    def __init__(self, kafka: KafkaSettings, queue_kbytes: int = 32 * 1024) -> None:
        self._topic = kafka.order_dlq
        self._rejections = Rejections()
        own = {
            "message.max.bytes": 16_777_216,
            "queue.buffering.max.kbytes": queue_kbytes,
            "error_cb": self._rejections,
        }
        config = producer_config(kafka, "streams", own, message_timeout_ms=30_000)
        self._producer = open_client(Producer, config)

    def send(self, messages: Iterable[DlqMessage]) -> int:
        """Send (key, value, headers) and wait until all are acknowledged.

        A message that is too large for the topic is sent without its value, with the size in a
        header; and if its key and headers are too large, with its origin only. One large message
        must not stop the stream, and quarantine has the whole of it.

        Raises:
            KafkaUnavailableError: the broker did not acknowledge every message within 30 s.
        """
        count, too_large = self._send(messages)
        # The broker rejects a whole request, with the small messages in it: send each by itself.
        for message in too_large:
            self._send_alone(message, _without_value(message), _origin_only(message))
        return count

    def _send_alone(self, *shorter: DlqMessage) -> None:
        """Send the first of some forms of a message that the topic takes."""
        for message in shorter:
            if not self._send([message])[1]:
                return
        raise KafkaUnavailableError(f"{self._topic} takes no message of a hundred bytes.")

    def _send(self, messages: Iterable[DlqMessage]) -> tuple[int, list[DlqMessage]]:
        failed: list[str] = []
        too_large: list[DlqMessage] = []
        count = 0

        def done(message: DlqMessage, error: KafkaError | None, _: Message | None) -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                too_large.append(message)
            else:
                failed.append(self._rejections.explain(error))

        for message in messages:
            key, value, headers = message
            report = partial(done, message)
            count += 1
            try:
                produce(
                    self._producer, self._topic, value, key, headers=headers, on_delivery=report
                )
            except BufferError as error:
                failed.append(str(error))
                break
            except KafkaException as error:  # larger than the limit of this client
                report(error.args[0], None)
            self._producer.poll(0)
        left = self._producer.flush(QUEUE_SECONDS)
        if failed or left:
            why = failed[0] if failed else "no answer in time"
            raise KafkaUnavailableError(
                f"{self._topic}: {len(failed) + left} of {count} not stored: {why}"
            )
        return count, too_large


def _without_value(message: DlqMessage) -> DlqMessage:
    key, value, headers = message
    return key, None, [*headers, _value_bytes(value)]


def _origin_only(message: DlqMessage) -> DlqMessage:
    _, value, headers = message
    origin = [(name, text) for name, text in headers if name == ORIGIN_HEADER]
    return None, None, [*origin[-1:], _value_bytes(value)]


def _value_bytes(value: bytes | None) -> tuple[str, bytes]:
    return VALUE_BYTES_HEADER, str(len(value or b"")).encode()


_shared: dict[tuple[str, str], DlqProducer] = {}
"""Producers of this process, by address and topic."""


def send_messages(kafka: KafkaSettings, messages: Iterable[DlqMessage]) -> int:
    """Call `DlqProducer.send` of the one producer of this process.

    A producer has threads, buffers and connections, so batches share it; one that has failed is
    replaced.
    """
    key = kafka.bootstrap, kafka.order_dlq
    if key not in _shared:
        _shared[key] = DlqProducer(kafka)
    try:
        return _shared[key].send(messages)
    except KafkaUnavailableError:
        _shared.clear()
        raise

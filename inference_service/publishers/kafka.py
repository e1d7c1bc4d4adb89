"""Publishes to Kafka: acknowledged by all replicas, idempotent, ordered per camera by the key."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from conf.kafka import open_client, producer_config
from conf.settings import KafkaSettings
from inference_service.publishers.buffered import AwayError, RefusedError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1


class KafkaEventTransport:
    """librdkafka's producer as a transport; its queue waits, in order, while the broker is away."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._topic = settings.detections
        self._where = f"Kafka at {settings.bootstrap}, topic {self._topic}"
        # No timeout: librdkafka would drop events of a long outage.
        options = producer_config(settings, "cameras", {"linger.ms": 10}, message_timeout_ms=0)
        self._producer = open_client(Producer, options, logger=log)
        self._closed = threading.Event()
        self._polling = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._polling.start()

    @property
    def where(self) -> str:
        """The broker and the topic."""
        return self._where

    def send(self, key: bytes, value: bytes, done: Callable[[str | None], None]) -> None:
        """Queue one event; see `EventTransport.send`."""

        def stored(error: Any, _: Message) -> None:
            done(None if error is None else str(error.str()))

        try:
            self._producer.produce(self._topic, value, key, on_delivery=stored)
        except BufferError as error:
            raise AwayError("its client's queue is full") from error
        except KafkaException as error:
            raise RefusedError(str(error.args[0])) from error

    def close(self) -> None:
        """Purge the queue; else the producer's own destructor would wait for the broker."""
        self._closed.set()
        self._polling.join()
        self._producer.purge()
        self._producer.flush(POLL_SECONDS)

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._poll_once()

    def _poll_once(self) -> None:
        try:
            self._producer.poll(POLL_SECONDS)
        except KafkaException as error:  # a fatal one, as without the right to write
            log.error("%s: %s", self._where, error.args[0].str())
            self._producer.purge()

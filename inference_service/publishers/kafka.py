"""Publishes to Kafka: acknowledged by all replicas, idempotent, ordered per camera by the key."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from conf.settings import KafkaSettings
from inference_service.publishers import PublishError

log = logging.getLogger(__name__)

QUEUE_MESSAGES = 10_000
QUEUE_KBYTES = 16 * 1024
POLL_SECONDS = 0.1


class KafkaPublisher:
    """librdkafka's producer behind `Publisher`.

    While the broker is away events wait in librdkafka's bounded queue, without a time limit; when
    that is full `publish` waits (a file is read slower, a live camera drops frames, counted).
    Whatever is not acknowledged `close_seconds` after the end is reported by `PublishError`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        stopping: threading.Event | None = None,
        close_seconds: float = 15.0,
        queue_messages: int = QUEUE_MESSAGES,
    ) -> None:
        self._topic = settings.detections
        self._where = f"Kafka at {settings.bootstrap}"
        self._stopping = stopping or threading.Event()
        self._close_seconds = close_seconds
        self._accepted = self._delivered = 0
        self._refused: str | None = None
        self._closed = False
        options: dict[str, Any] = {
            **settings.client_options,
            "bootstrap.servers": settings.bootstrap,
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": 0,  # 0: never give up by itself, which would be a silent loss
            "queue.buffering.max.messages": queue_messages,
            "queue.buffering.max.kbytes": QUEUE_KBYTES,
            "linger.ms": 10,
            "reconnect.backoff.max.ms": 2_000,
        }
        self._producer = Producer(options, logger=log)

    @property
    def delivered(self) -> int:
        """Events that all in-sync replicas have acknowledged."""
        return self._delivered

    def publish(self, key: bytes, value: bytes) -> None:
        """Queue one event; see `Publisher.publish`."""
        self._check()
        waiting = False
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._acknowledge)
                break
            except BufferError:
                if not waiting:
                    log.warning("%s does not keep up: the queue is full, waiting", self._where)
                    waiting = True
                if self._stopping.is_set():
                    raise PublishError(
                        f"Stopped while the queue to {self._where} was full: one event is lost."
                    ) from None
                self._producer.poll(POLL_SECONDS)
                self._check()
            except KafkaException as error:
                raise PublishError(f"{self._where} took no event: {error.args[0]}.") from error
        self._accepted += 1
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for all acknowledgements, at most `close_seconds`."""
        deadline = time.monotonic() + self._close_seconds
        while self._producer.flush(POLL_SECONDS) and time.monotonic() < deadline:
            pass
        self._check_refused()
        missing = self._accepted - self._delivered
        if missing:
            raise PublishError(
                f"{missing} of {self._accepted} events were not acknowledged by {self._where} "
                f"within {self._close_seconds:g} s."
            )

    def close(self) -> None:
        """Flush, once."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            # Else the producer's own destructor would wait for the broker a second time.
            self._producer.purge()
            self._producer.flush(POLL_SECONDS)

    def _acknowledge(self, error: Any, _: Message) -> None:
        if error is None:
            self._delivered += 1
        elif self._refused is None:
            self._refused = str(error.str())

    def _check(self) -> None:
        if self._closed:
            raise PublishError(f"The publisher to {self._where} is closed.")
        self._check_refused()

    def _check_refused(self) -> None:
        if self._refused is not None:
            raise PublishError(
                f"{self._where} refused events for topic {self._topic}: {self._refused} "
                f"({self._delivered} of {self._accepted} acknowledged)."
            )

"""The publisher on Kafka: librdkafka behind asyncio.

One thread polls: it turns delivery reports, and deadlines that pass without one, into results of
futures, many at a time. Why not `confluent_kafka.aio`: it batches for up to a second by default,
and its batches carry no headers. `produce` only appends to a queue, so it may run on the event
loop.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections import defaultdict, deque
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from conf.kafka import KEY_PARTITIONER, Rejections, open_client, producer_config
from conf.settings import KafkaSettings, SettingsError
from gateway.producer import BrokerView, Outcome, OutgoingMessage, Receipt
from gateway.rejections import TooLargeError, UnavailableError

log = structlog.get_logger()
_POLL_SECONDS = 0.1
_LOOK_SECONDS = 2.0

_Waiting = asyncio.Future[Outcome]

_HOST = re.compile(r"\S*/\S+: ")
"""Where librdkafka's reasons begin: `sasl_ssl://HOST:PORT/bootstrap: `."""


class KafkaPublisher:
    """Delivery guarantee: as `Publisher`; acks=all and an idempotent producer."""

    def __init__(self, kafka: KafkaSettings, ack_timeout: float) -> None:
        self._rejections = Rejections()
        self._config = _producer_config(kafka, ack_timeout) | {"error_cb": self._rejections}
        self._ack_timeout = ack_timeout
        self._producer = self._connect()
        self._reports: deque[tuple[_Waiting, Outcome]] = deque()
        self._deadlines: deque[tuple[float, _Waiting]] = deque()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="kafka-poll", daemon=True)
        self._thread.start()

    def send(self, message: OutgoingMessage) -> asyncio.Future[Outcome]:
        """Append to librdkafka's queue; a full one refuses at once."""
        acknowledged: _Waiting = asyncio.get_running_loop().create_future()
        if self._closed.is_set():
            acknowledged.set_result(UnavailableError("the publisher is closed"))
            return acknowledged
        reports = self._reports

        def report(error: KafkaError | None, sent: Any) -> None:
            outcome: Outcome
            if error is None:
                self._rejections.clear()
                outcome = Receipt(sent.topic(), sent.partition(), sent.offset())
            else:
                outcome = self._rejection(error)
            reports.append((acknowledged, outcome))

        try:
            self._producer.produce(
                message.topic,
                value=message.value,
                key=message.key,
                headers=list(message.headers),
                on_delivery=report,
            )
        except BufferError:
            acknowledged.set_result(UnavailableError("too many messages wait for the broker"))
        except KafkaException as error:
            acknowledged.set_result(self._refused(error.args[0]))
        else:
            self._deadlines.append((time.monotonic() + self._ack_timeout, acknowledged))
        return acknowledged

    async def look(self) -> BrokerView:
        """Ask for the metadata of the cluster, off the event loop."""
        timeout = min(self._ack_timeout, _LOOK_SECONDS)
        try:
            found = await asyncio.to_thread(self._producer.list_topics, timeout=timeout)
        except KafkaException as error:
            log.warning("broker_away", reason=self._rejections.explain(error.args[0]))
            raise UnavailableError("the broker does not answer") from None
        return BrokerView(
            brokers=tuple((b.id, b.host, b.port) for b in found.brokers.values()),
            partitions={name: len(topic.partitions) for name, topic in found.topics.items()},
        )

    async def close(self) -> None:
        """Flush for at most the acknowledgement time-out, then stop the poll thread."""
        if self._closed.is_set():
            return
        self._closed.set()
        left = await asyncio.to_thread(self._producer.flush, self._ack_timeout)
        await asyncio.to_thread(self._thread.join)
        self._expire(float("inf"), "the publisher is closed")
        self._hand_over()
        log.info("publisher_closed", unacknowledged=left)

    def _connect(self) -> Producer:
        # librdkafka would write plain lines to stderr; through logging they become JSON like ours.
        return open_client(Producer, self._config, logger=logging.getLogger("gateway.librdkafka"))

    def _poll(self) -> None:
        while not self._closed.is_set():
            try:
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:  # a fatal one, as without the right to write
                self._rejections(error.args[0])
                self._refused(error.args[0])
                self._closed.wait(_POLL_SECONDS)
            self._expire(time.monotonic(), self._reason() or "no acknowledgement in time")
            self._hand_over()

    def _expire(self, now: float, reason: str) -> None:
        """Give up what has waited too long. Answers come nearly in order, so this is cheap."""
        deadlines = self._deadlines
        while deadlines and (deadlines[0][1].done() or deadlines[0][0] <= now):
            _, waiting = deadlines.popleft()
            if not waiting.done():
                self._reports.append((waiting, UnavailableError(reason)))

    def _hand_over(self) -> None:
        """Wake each event loop once for all of its answers: a wake-up costs more than an answer."""
        answers: dict[asyncio.AbstractEventLoop, list[tuple[_Waiting, Outcome]]]
        answers = defaultdict(list)
        while self._reports:
            waiting, outcome = self._reports.popleft()
            answers[waiting.get_loop()].append((waiting, outcome))
        for loop, settled in answers.items():
            _wake(loop, settled)

    def _refused(self, error: KafkaError) -> Outcome:
        """What a rejection of `produce` means; a producer that died for good is replaced."""
        if error.fatal():
            try:
                self._producer = self._connect()
                log.error("producer_replaced", reason=error.str())
            except SettingsError as failed:  # such as a certificate that is away: the next tries
                log.error("producer_not_replaced", reason=str(failed))
        return self._rejection(error)

    def _rejection(self, error: KafkaError) -> TooLargeError | UnavailableError:
        """What a client reads: the code, since the text may name hosts."""
        text = f"the broker reports {error.name()}"
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return TooLargeError(text)
        return UnavailableError(self._reason() or text)

    def _reason(self) -> str:
        """Why the cluster refuses the gateway, without its hosts; empty where it does not."""
        return _HOST.sub("", self._rejections.reason) if self._rejections.is_rejection else ""


def _producer_config(kafka: KafkaSettings, ack_timeout: float) -> dict[str, Any]:
    own = {**KEY_PARTITIONER, "client.id": "storelake-gateway"}
    # A message expires with its request: it must not arrive minutes after the 503.
    timeout_ms = max(int(ack_timeout * 1000), 10)
    return producer_config(kafka, "gateway", own, message_timeout_ms=timeout_ms)


def _wake(loop: asyncio.AbstractEventLoop, answers: list[tuple[_Waiting, Outcome]]) -> None:
    try:
        loop.call_soon_threadsafe(_resolve, answers)
    except RuntimeError:  # the loop ended before its answer came: no caller waits any more
        log.warning("ack_without_listener", messages=len(answers))


def _resolve(answers: list[tuple[_Waiting, Outcome]]) -> None:
    for waiting, outcome in answers:
        if not waiting.done():  # its deadline may have been first
            waiting.set_result(outcome)

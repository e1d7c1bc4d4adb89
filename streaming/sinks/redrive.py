"""Dead letters on their way back to the topic they came from.

Delivery guarantee: at least once. A dead letter is marked after the acknowledgement of all
replicas; a crash in between leaves it open, and the copy that is sent the next time has the same
event_id, which the keys downstream make harmless.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from conf.kafka import KEY_PARTITIONER, producer_config
from conf.settings import KafkaSettings
from streaming.dead_letters import (
    ORIGIN_HEADER,
    OWN_HEADERS,
    DeadLetterError,
    Headers,
    dead_letter_id,
)
from streaming.sinks.dead_letter_store import DeadLetter, DeadLetterRepository
from streaming.sinks.kafka_producer import produce
from streaming.source import GENERATION
from streaming.transforms.repair import order_id_of, read_event

CHUNK = 50
"""Letters in memory at once: each may be megabytes large."""

# librdkafka's own lines about a broker that is away: our error says it.
_SILENT = logging.getLogger("storelake.redrive.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True)
class Return:
    """What is sent back for a dead letter."""

    dead_letter: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass
class RedriveReport:
    """What a redrive has done: dead letter -> where it went, or why it did not."""

    sent: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def to_return(dead_letter: DeadLetter) -> Return:
    """The fixed value, or the message as it came; its headers, and the dead letter it is sent for.

    A fixed value gets its order_id as the key: that is the rule for order topics.
    """
    key, value = dead_letter.key, dead_letter.value
    if dead_letter.fixed_value is not None:
        value = dead_letter.fixed_value
        order_id = order_id_of(read_event(value))
        key = order_id.encode() if order_id else key
    headers = [(n, v) for n, v in dead_letter.headers if not n.startswith(OWN_HEADERS)]
    headers.append((ORIGIN_HEADER, dead_letter.id.encode()))
    return Return(dead_letter.id, dead_letter.topic, key, value, headers)


class Redriver:
    """Sends dead letters back over one producer.

    Raises:
        DeadLetterError: Kafka does not answer.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        own = {
            **KEY_PARTITIONER,
            "client.id": "storelake-redrive",
            # Beyond all that a consumer has read: the topic decides what is too large.
            "message.max.bytes": 100_000_000,
            "queue.buffering.max.kbytes": 128 * 1024,
        }
        config = producer_config(kafka, own, message_timeout_ms=30_000)
        self._producer = Producer(config, logger=_SILENT)
        try:
            self._producer.list_topics(timeout=5)
        except KafkaException as error:
            raise self._away(error.args[0].str()) from error

    def redrive(
        self,
        store: DeadLetterRepository,
        ids: Sequence[str],
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> RedriveReport:
        """Send these dead letters and mark each that is acknowledged.

        Args:
            store: where they are, held `alone`.
            ids: of open dead letters, in the order to send them in.
            on_progress: is told how many are done.

        Raises:
            DeadLetterError: Kafka went away; those that it acknowledged are marked.
        """
        report = RedriveReport()
        for chunk in _chunks(ids):
            messages = [to_return(dead_letter) for dead_letter in store.get(chunk)]
            bases = {m.topic: store.generation(m.topic) * GENERATION for m in messages}
            lost = self._send(messages, bases, report)
            for dead_letter in chunk:
                if dead_letter in report.sent:
                    store.mark_redriven(dead_letter, report.sent[dead_letter])
            on_progress(len(report.sent) + len(report.refused))
            if lost:
                raise self._away(f"{lost}; {len(report.sent)} dead letters were sent before")
        return report

    def _send(
        self, messages: Sequence[Return], bases: Mapping[str, int], report: RedriveReport
    ) -> str | None:
        """Fill in the report; returns why Kafka did not answer, if it did not.

        Args:
            messages: to send.
            bases: topic -> offset 0 of its generation.
            report: of what became of each.
        """
        lost: list[str] = []
        too_large: list[Return] = []

        def done(message: Return, error: KafkaError | None, sent: Message) -> None:
            dead_letter = message.dead_letter
            if error is None:
                topic = str(sent.topic())
                position = f"{bases[topic] + int(sent.offset() or 0):020d}"
                report.sent[dead_letter] = dead_letter_id(
                    topic, int(sent.partition() or 0), position
                )
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(messages) > 1:
                too_large.append(message)
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                report.refused[dead_letter] = "it is larger than the topic takes"
            elif error.code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART):
                report.refused[dead_letter] = "its topic does not exist any more"
            else:
                lost.append(error.str())

        try:
            for message in messages:
                produce(
                    self._producer,
                    message.topic,
                    message.value,
                    message.key,
                    headers=list(message.headers),
                    on_delivery=partial(done, message),
                )
        except BufferError as error:
            lost.append(str(error))
        left = self._producer.flush(35)
        # A request is refused as a whole, so small messages beside a large one are, too.
        for message in too_large:
            if not lost:
                lost += filter(None, [self._send([message], bases, report)])
        return lost[0] if lost else "no answer in time" if left else None

    def _away(self, reason: str) -> DeadLetterError:
        return DeadLetterError(
            f"Kafka at {self._kafka.bootstrap} does not answer ({reason}): run `storelake up`, or "
            "check STORELAKE_KAFKA__HOST and __PORT."
        )


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]

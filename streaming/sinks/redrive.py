"""Sends rejected messages to the topics that they came from.

Delivery guarantee: at least once. A rejected message is marked after the acknowledgement of all
replicas; a crash in between leaves it open, and the copy that is sent the next time has the same
event_id, by which the tables downstream skip it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from conf.kafka import KEY_PARTITIONER, Rejections, open_client, producer_config
from conf.settings import KafkaSettings
from streaming.dlq_ids import (
    ORIGIN_HEADER,
    OWN_HEADERS,
    DlqError,
    Headers,
    dead_letter_id,
)
from streaming.sinks.dlq_edits import CHUNK
from streaming.sinks.dlq_entries import DlqEntry
from streaming.sinks.dlq_store import DlqRepository
from streaming.sinks.kafka_producer import produce
from streaming.source import GENERATION
from streaming.transforms.repair import order_id_of, read_event

# Silences librdkafka's own lines about an unreachable broker: the error states it.
_SILENT = logging.getLogger("storelake.redrive.librdkafka")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True)
class RedriveMessage:
    """Message that is redriven from a rejected message."""

    entry: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass
class RedriveReport:
    """Results of a redrive: id of a message -> id of the new one, or why it was not sent."""

    sent: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def redrive_message(entry: DlqEntry) -> RedriveMessage:
    """The message to send: the fixed value or the original one, its headers, and its origin.

    A fixed value has its order_id as the key, as order topics require.
    """
    key, value = entry.key, entry.value
    if entry.fixed_value is not None:
        value = entry.fixed_value
        order_id = order_id_of(read_event(value))
        key = order_id.encode() if order_id else key
    headers = [(n, v) for n, v in entry.headers if not n.startswith(OWN_HEADERS)]
    headers.append((ORIGIN_HEADER, entry.id.encode()))
    return RedriveMessage(entry.id, entry.topic, key, value, headers)


class Redriver:
    """Sends rejected messages back over one producer.

    Raises:
        DlqError: Kafka does not answer.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        own: dict[str, Any] = {
            **KEY_PARTITIONER,
            "client.id": "storelake-redrive",
            # Larger than any message that was consumed: the topic decides what is too large.
            "message.max.bytes": 100_000_000,
            "queue.buffering.max.kbytes": 128 * 1024,
        }
        rejections = own["error_cb"] = Rejections()
        config = producer_config(kafka, "operator", own, message_timeout_ms=30_000)
        self._producer = open_client(Producer, config, logger=_SILENT)
        try:
            self._producer.list_topics(timeout=5)
        except KafkaException as error:
            raise self._away(rejections.explain(error.args[0], self._producer)) from error

    def redrive(
        self,
        store: DlqRepository,
        ids: Sequence[str],
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> RedriveReport:
        """Send these rejected messages and mark each that is acknowledged.

        Args:
            store: of the rejected messages, locked by `alone`.
            ids: of open rejected messages, in the order to send them in.
            on_progress: called with the number of rejected messages that are done.

        Raises:
            DlqError: Kafka stopped answering; acknowledged rejected messages are marked.
        """
        report = RedriveReport()
        for chunk in _chunks(ids):
            messages = [redrive_message(entry) for entry in store.get(chunk)]
            bases = {m.topic: store.generation(m.topic) * GENERATION for m in messages}
            lost = self._send(messages, bases, report)
            store.mark_redriven({one: report.sent[one] for one in chunk if one in report.sent})
            on_progress(len(report.sent) + len(report.refused))
            if lost:
                raise self._away(f"{lost}; {len(report.sent)} dead letters were sent before")
        return report

    def _send(
        self, messages: Sequence[RedriveMessage], bases: Mapping[str, int], report: RedriveReport
    ) -> str | None:
        """Send messages; returns the reason if Kafka did not answer.

        Args:
            messages: to send.
            bases: topic -> offset 0 of its generation.
            report: receives the result of each.
        """
        lost: list[str] = []
        too_large: list[RedriveMessage] = []

        def done(message: RedriveMessage, error: KafkaError | None, sent: Message) -> None:
            entry = message.entry
            if error is None:
                topic = str(sent.topic())
                position = f"{bases[topic] + int(sent.offset() or 0):020d}"
                report.sent[entry] = dead_letter_id(topic, int(sent.partition() or 0), position)
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE and len(messages) > 1:
                too_large.append(message)
            elif error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                report.refused[entry] = "it is larger than the topic takes"
            elif error.code() in (KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART):
                report.refused[entry] = "its topic does not exist any more"
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
        # The broker rejects a whole request, with the small messages in it: send each by itself.
        for message in too_large:
            if not lost:
                lost += filter(None, [self._send([message], bases, report)])
        return lost[0] if lost else "no answer in time" if left else None

    def _away(self, reason: str) -> DlqError:
        return DlqError(
            f"Kafka at {self._kafka.bootstrap} does not answer ({reason}): run `storelake up`, or "
            "check STORELAKE_KAFKA__HOST and __PORT."
        )


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]

"""One customer in the order topics and the DLQ topic of Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]

from conf.errors import StorelakeError
from conf.kafka import CALL_SECONDS, client_config
from conf.settings import Settings
from streaming.privacy.person import Person, Row
from streaming.source import GENERATION, broker_time
from streaming.sources.kafka_topics import TopicQueries
from streaming.sources.rows import headers_of

Partition = tuple[str, int]


class NotReadError(StorelakeError):
    """A message of the customer is not read by all streams, so it must not be deleted yet."""


@dataclass(frozen=True)
class PersonMessages:
    """Messages of the customer in one topic partition.

    Attributes:
        count: of them.
        newest: offset of the newest one.
        until: when Kafka has deleted it by `retention.ms` (UTC); None: never by itself. A segment
            is deleted whole, so it may stay some longer.
    """

    count: int
    newest: int
    until: datetime | None


def messages_with(settings: Settings, person: Person) -> Iterator[Row]:
    """Every message in Kafka that mentions the customer, read from the first one.

    Raises:
        KafkaException: Kafka does not answer, or denies access.
    """
    kafka = settings.kafka
    queries = TopicQueries(client_config(kafka, "reader"))
    known = queries.all()
    topics = [one for one in (*kafka.order_topics, kafka.order_dlq) if one in known]
    bounds = queries.bounds([(one, number) for one in topics for number in known[one].partitions])
    options = {"group.id": "storelake-privacy", "enable.auto.commit": "false"}
    options["enable.partition.eof"] = "true"
    consumer = Consumer(client_config(kafka, "reader", options))
    with closing(consumer):
        for partition, (low, high) in bounds.items():
            for message in _messages(consumer, partition, low, high):
                row = _row(message)
                if person.redacted_row(row, rejected=False) != row:
                    yield row


def _messages(consumer: Consumer, partition: Partition, low: int, high: int) -> Iterator[Message]:
    if low < high:
        consumer.assign([TopicPartition(*partition, low)])
    while low < high:
        message = consumer.poll(CALL_SECONDS)
        if message is None:
            raise KafkaException(f"{partition[0]}[{partition[1]}] does not go on")
        error = message.error()
        if error and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        # At the end may be markers of transactions, which no consumer gets.
        low = high if error else (message.offset() or 0) + 1
        if not error:
            yield message


def _row(message: Message) -> Row:
    return {
        "key": message.key(),
        "value": message.value(),
        "headers": headers_of(cast("Any", message.headers)),
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": broker_time(message.timestamp()[1]),
    }


def held(settings: Settings, person: Person) -> dict[Partition, PersonMessages]:
    """Where Kafka holds messages of the customer, and until when."""
    found: dict[Partition, list[Row]] = {}
    for row in messages_with(settings, person):
        found.setdefault((row["topic"], row["partition"]), []).append(row)
    keeps = _retention(settings, {topic for topic, _ in found})
    return {
        at: PersonMessages(len(rows), rows[-1]["offset"], _until(rows, keeps[at[0]]))
        for at, rows in found.items()
    }


def _until(rows: list[Row], keep: timedelta | None) -> datetime | None:
    times = [row["timestamp"] for row in rows]
    # Kafka keeps a message by its own time, also where that cannot be one.
    return None if keep is None or None in times else max(times) + keep


def _retention(settings: Settings, topics: set[str]) -> dict[str, timedelta | None]:
    if not topics:
        return {}
    admin = AdminClient(client_config(settings.kafka, "reader"))
    wanted = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in sorted(topics)]
    answers = admin.describe_configs(wanted, request_timeout=CALL_SECONDS)
    millis = {r.name: int(answer.result()["retention.ms"].value) for r, answer in answers.items()}
    return {t: None if ms < 0 else timedelta(milliseconds=ms) for t, ms in millis.items()}


def delete_messages(
    settings: Settings, found: Mapping[Partition, PersonMessages], read: Mapping[Partition, str]
) -> None:
    """Delete the messages up to the newest one of the customer, those of others among them.

    Args:
        settings: of the deployment.
        found: the result of `held`.
        read: the position up to which every stream has read; no entry for a topic without readers.

    Raises:
        NotReadError: a stream has still to read one of them; nothing was deleted.
    """
    behind = [at for at, one in found.items() if at in read and _offset(read[at]) < one.newest]
    if behind:
        places = ", ".join(f"{topic}[{number}]" for topic, number in behind)
        raise NotReadError(f"Streams have still to read {places}: run the command again later.")
    ends = [TopicPartition(*at, one.newest + 1) for at, one in found.items()]
    if ends:
        admin = AdminClient(client_config(settings.kafka, "admin"))
        for answer in admin.delete_records(ends, request_timeout=CALL_SECONDS).values():
            answer.result()


def _offset(position: str) -> int:
    return int(position or 0) % GENERATION

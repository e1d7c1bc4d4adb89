"""Rejected messages on their way back to a topic, whole, with what was wrong in the headers."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pyspark.sql import DataFrame, Row

from conf.settings import KafkaSettings
from streaming.connectors.kafka import DeadLetterProducer

DeadLetter = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]


def to_messages(rows: Iterator[Row]) -> Iterator[DeadLetter]:
    """Quarantine rows -> (key, value, headers): the original ones, and the position and rules."""
    for row in rows:
        headers = [(h.key, bytes(h.value or b"")) for h in row.headers or []]
        origin = f"{row.topic}/{row.partition}/{row.position}"
        headers += [
            ("storelake-origin", origin.encode()),
            ("storelake-rules", json.dumps(list(row.rules)).encode()),
        ]
        key, value = row.key, row.value
        yield (None if key is None else bytes(key), None if value is None else bytes(value), headers)


def send_dead_letters(kafka: KafkaSettings, rejected: DataFrame) -> int:
    """Send quarantine rows to the dead letter topic; returns when all are acknowledged."""
    client = {"bootstrap.servers": kafka.bootstrap, **kafka.client_options}
    producer = DeadLetterProducer(client, kafka.order_dlq)
    return producer.send(to_messages(rejected.toLocalIterator()))

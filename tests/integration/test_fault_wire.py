"""Records that are sent byte by byte arrive at a real Kafka as they were made."""

from __future__ import annotations

from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conf.settings import Settings
from verification.faults.wire import ProduceError, Record, crc32c, produce, varint


@pytest.fixture
def topic(services: Settings) -> str:
    name = f"wire-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": services.kafka.bootstrap})
    config = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
    admin.create_topics([NewTopic(name, 2, 1, config=config)])[name].result(20)
    return name


def test_a_record_arrives_with_its_key_value_time_and_headers(
    services: Settings, topic: str
) -> None:
    kafka = services.kafka
    sent = [
        Record(b"value", b"key", 1_714_557_600_123, ((b"a", b"1"), (b"a", None))),
        Record(None, None, 1_764_000_000_000_000),
        Record(b"x" * 300, b"\xff\x00"),
    ]
    assert [produce(kafka.host, kafka.port, topic, 1, one) for one in sent] == [0, 1, 2]

    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": topic})
    consumer.assign([TopicPartition(topic, 1, 0)])
    try:
        got = [consumer.poll(20) for _ in sent]
    finally:
        consumer.close()
    assert [(m.value(), m.key(), m.timestamp()[1]) for m in got if m is not None] == [
        (one.value, one.key, one.timestamp) for one in sent
    ]
    assert got[0] is not None
    assert got[0].headers() == [("a", b"1"), ("a", None)]


def test_a_header_name_that_is_not_utf_8_is_stored(services: Settings, topic: str) -> None:
    record = Record(b"value", headers=((b"trace\xff", b"1"),))
    assert produce(services.kafka.host, services.kafka.port, topic, 0, record) == 0


def test_a_topic_that_is_not_there_is_refused(services: Settings) -> None:
    with pytest.raises(ProduceError, match="nowhere/0: error code 3"):
        produce(services.kafka.host, services.kafka.port, "nowhere", 0, Record(b"x"))


def test_the_check_sum_and_the_numbers_are_those_of_the_protocol() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # of every description of CRC-32C
    assert [varint(n) for n in (0, -1, 1, 63, -64, 64, 300)] == [
        b"\x00",
        b"\x01",
        b"\x02",
        b"\x7e",
        b"\x7f",
        b"\x80\x01",
        b"\xd8\x04",
    ]

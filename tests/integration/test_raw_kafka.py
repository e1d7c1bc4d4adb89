"""Odd records arrive at a real Kafka as they were made."""

from __future__ import annotations

from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from conf.kafka import connection_config
from conf.settings import Settings
from verification.faults.raw_kafka import Record, produce


def test_a_record_arrives_with_its_key_value_time_and_headers(services: Settings) -> None:
    client, topic = connection_config(services.kafka, "admin"), f"raw-{uuid4().hex[:8]}"
    config = {"retention.ms": "-1", "message.timestamp.after.max.ms": str(2**63 - 1)}
    admin = AdminClient(client)  # which must outlive its answers
    admin.create_topics([NewTopic(topic, 2, 1, config=config)])[topic].result(20)
    sent = [
        Record(b"value", b"key", 1_714_557_600_123, ((b"a", b"1"), (b"a", None))),
        Record(None, None, 1_764_000_000_000_000),
        Record(b"", b"\xff\x00", 2**63 - 1),
        Record(b"x" * 300, None, -1),
    ]
    assert [produce(client, topic, one, 1) for one in sent] == [0, 1, 2, 3]
    assert produce(client, topic, Record(b"value", headers=((b"trace\xff", b"1"),))) == 0

    consumer = Consumer({**client, "group.id": topic})
    consumer.assign([TopicPartition(topic, 1, 0)])
    try:
        got = [message for _ in sent if (message := consumer.poll(20)) is not None]
    finally:
        consumer.close()
    assert [(m.value(), m.key()) for m in got] == [(one.value, one.key) for one in sent]
    assert [m.timestamp()[1] for m in got] == [one.timestamp for one in sent]
    assert got[0].headers() == [("a", b"1"), ("a", None)]

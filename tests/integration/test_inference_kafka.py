"""The Kafka publisher keeps the publishers' contract on a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition

from conf.settings import KafkaSettings, Settings
from inference_service.publishers import PublishError
from inference_service.publishers.kafka import KafkaPublisher


@pytest.fixture
def kafka(settings: Settings, services: object) -> KafkaSettings:
    return settings.kafka


@pytest.fixture
def consumer(kafka: KafkaSettings) -> Iterator[Consumer]:
    """Reads what is new on the detections topic, from the moment of its creation."""
    reader = Consumer(
        {
            **kafka.client_options,
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"test-{uuid4()}",
            "enable.auto.commit": False,
        }
    )
    topic = kafka.detections
    partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
    ends = {p: reader.get_watermark_offsets(TopicPartition(topic, p))[1] for p in partitions}
    reader.assign([TopicPartition(topic, p, end) for p, end in ends.items()])
    yield reader
    reader.close()


def read(consumer: Consumer, n: int) -> list[tuple[bytes, bytes]]:
    """The next `n` messages; fails when they do not come."""
    found: list[tuple[bytes, bytes]] = []
    while len(found) < n:
        message = consumer.poll(20)
        assert message is not None, f"only {len(found)} of {n} messages came"
        assert message.error() is None, message.error()
        found.append((message.key(), message.value()))
    return found


def test_events_of_a_camera_arrive_unchanged_and_in_order(
    kafka: KafkaSettings, consumer: Consumer
) -> None:
    publisher = KafkaPublisher(kafka)
    cameras = [b"B01/a", b"B01/b", b"B02/c"]
    sent = [(cameras[n % 3], f'{{"n":{n},"text":"Straße"}}'.encode()) for n in range(300)]
    for key, value in sent:
        publisher.publish(key, value)
    publisher.flush()
    assert publisher.delivered == 300
    publisher.close()
    came = read(consumer, 300)
    for camera in cameras:
        assert [v for k, v in came if k == camera] == [v for k, v in sent if k == camera]


def test_closing_flushes_and_a_closed_publisher_takes_no_event(
    kafka: KafkaSettings, consumer: Consumer
) -> None:
    publisher = KafkaPublisher(kafka)
    publisher.publish(b"k", b"{}")
    publisher.close()
    publisher.close()
    assert publisher.delivered == 1
    assert read(consumer, 1) == [(b"k", b"{}")]
    with pytest.raises(PublishError, match="closed"):
        publisher.publish(b"k", b"{}")


def test_a_queue_smaller_than_the_stream_only_slows_it_down(
    kafka: KafkaSettings, consumer: Consumer
) -> None:
    publisher = KafkaPublisher(kafka, queue_messages=10)
    values = [str(n).encode() for n in range(200)]
    for value in values:
        publisher.publish(b"k", value)
    publisher.close()
    assert publisher.delivered == 200
    assert [v for _, v in read(consumer, 200)] == values


def test_an_event_that_is_too_large_is_refused_loudly(kafka: KafkaSettings) -> None:
    publisher = KafkaPublisher(kafka)
    with pytest.raises(PublishError, match="took no event"):
        publisher.publish(b"k", b"x" * 2_000_000)
    publisher.close()
    assert publisher.delivered == 0

"""Kafka as a Spark source: the contract of every log, on the real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import pytest
from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic
from pyspark.sql import SparkSession

from conf.settings import Settings
from infra.local.process import wait_until
from tests.source_suite import NOON, Reader, Shop, SourceSuite
from tests.spark_local import end_spark, start_spark


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    yield start_spark()
    end_spark()


@pytest.fixture(scope="module")
def admin(services: Settings) -> AdminClient:
    return AdminClient({"bootstrap.servers": services.kafka.bootstrap})


class TestKafkaSource(SourceSuite):
    """The same suite as the memory source's."""

    @pytest.fixture
    def shop(self, services: Settings, admin: AdminClient) -> Shop:
        producer = Producer({"bootstrap.servers": services.kafka.bootstrap, "linger.ms": 0})

        def create_topic(topic: str, partitions: int) -> None:
            # The messages are of 2024: retention would delete them under the test.
            new = NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})
            assert wait_until(lambda: made(new), 20)

        def made(new: NewTopic) -> bool:
            try:
                admin.create_topics([new], operation_timeout=20)[new.topic].result(30)
            except KafkaException as error:
                # A topic of this name may still be on its way out.
                assert error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
                return False
            return True

        def delete_topic(topic: str) -> None:
            admin.delete_topics([topic], operation_timeout=20)[topic].result(30)

        def write(
            topic: str,
            value: bytes | None,
            key: bytes | None = None,
            *,
            partition: int = 0,
            timestamp: datetime = NOON,
            headers: Sequence[tuple[str, bytes]] | None = None,
        ) -> None:
            producer.produce(
                topic,
                value,
                key,
                partition,
                timestamp=int(timestamp.timestamp() * 1000),
                headers=list(headers) if headers else None,
            )
            assert producer.flush(20) == 0

        def trim(topic: str, partition: int, low: int) -> None:
            upto = TopicPartition(topic, partition, low)
            (done,) = admin.delete_records([upto]).values()
            done.result(30)

        return Shop(
            source="storelake_kafka",
            options={
                "kafka.bootstrap.servers": services.kafka.bootstrap,
                "groupId": f"source-suite-{time.monotonic_ns()}",
                "fetchTimeoutSeconds": "20",
            },
            create_topic=create_topic,
            write=write,
            trim=trim,
            delete_topic=delete_topic,
        )

    def test_the_group_shows_the_batches_that_are_done(
        self, shop: Shop, topic: str, admin: AdminClient, reader: Callable[..., Reader]
    ) -> None:
        def committed() -> list[int]:
            asked = ConsumerGroupTopicPartitions(
                shop.options["groupId"], [TopicPartition(topic, n) for n in (0, 1)]
            )
            (answer,) = admin.list_consumer_group_offsets([asked]).values()
            return [p.offset for p in answer.result(20).topic_partitions]

        shop.fill(topic, 4, partition=0)
        shop.fill(topic, 2, start=4, partition=1)
        query = reader().start()
        try:
            query.processAllAvailable()
            # A batch is done for Spark when it plans the next one.
            shop.fill(topic, 1, start=6, partition=1)
            query.processAllAvailable()
            # The commit is asynchronous: progress for display, which may lag.
            assert wait_until(lambda: committed()[0] == 4, 20), committed()
            assert committed()[1] in (2, 3)
        finally:
            query.stop()

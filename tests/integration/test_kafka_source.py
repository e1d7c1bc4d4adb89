"""Kafka as a Spark source: the contract of every log, on the real broker."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import psutil
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
from pyspark.sql.types import StructType

from conf.errors import KafkaUnavailableError
from conf.settings import Settings
from infra.local.kafka import KafkaService
from infra.local.process import wait_until
from streaming.source import UNREADABLE_HEADER
from streaming.sources.kafka import KafkaSource
from streaming.sources.log import from_wire
from streaming.sources.readers import LogStreamReader
from tests.support.source_suite import NOON, Met, Reader, Shop, SourceSuite
from tests.support.spark_local import end_spark, start_spark
from verification.faults.raw_kafka import Record, produce


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
                if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    return False
                raise
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

    def test_a_header_whose_name_is_no_text_leaves_its_bytes_and_stops_nothing(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        where = {"bootstrap.servers": shop.options["kafka.bootstrap.servers"]}
        produce(where, topic, Record(b"1", b"k", headers=[(b"good", b"x"), (b"\xff\xfe", b"y")]))
        for prefetch in ("0", "100"):
            stream = reader(prefetchRows=prefetch)
            stream.checkpoint = stream.checkpoint / prefetch
            ((row,),) = stream.run()
            assert (row["key"], row["value"]) == (b"k", b"1")
            assert row["headers"] == [{"key": UNREADABLE_HEADER, "value": b"\xff\xfe"}]

    def test_ten_thousand_headers_and_one_without_a_value_are_headers(
        self, spark: SparkSession, shop: Shop, topic: str
    ) -> None:
        headers: list[Any] = [(f"h{n}", None if n == 7 else b"v") for n in range(10_000)]
        shop.write(topic, b"1", headers=headers)
        (row,) = self.table(spark, shop, topic)
        assert [(h["key"], h["value"]) for h in row["headers"]] == headers

    @pytest.mark.parametrize("unit", [1, 1_000_000, 1_000_000_000], ids=["s", "us", "ns"])
    def test_a_time_in_another_unit_is_no_time(
        self, spark: SparkSession, shop: Shop, admin: AdminClient, unit: int
    ) -> None:
        topic = f"source-{unit}-{time.monotonic_ns()}"
        # From its creation: a broker applies a changed setting some time after it was accepted.
        any_time = {"message.timestamp.after.max.ms": str(2**63 - 1), "retention.ms": "-1"}
        admin.create_topics([NewTopic(topic, 1, 1, config=any_time)])[topic].result(30)
        at = int(NOON.timestamp() * unit)
        produce(
            {"bootstrap.servers": shop.options["kafka.bootstrap.servers"]},
            topic,
            Record(b"1", b"k", at),
        )
        (row,) = self.table(spark, shop, topic)
        assert (row["value"], row["timestamp"]) == (b"1", None)

    def test_a_topic_that_is_made_again_while_it_is_read_stops_the_stream(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        met = Met(shop)
        shop.fill(topic, 2)
        stream = reader(topicGenerations=met.option(topic), onDataLoss="continue")
        query = stream.start()
        try:
            query.processAllAvailable()
            shop.delete_topic(topic)
            shop.create_topic(topic, 2)
            shop.fill(topic, 9, start=10)
            assert wait_until(lambda: not query.isActive, 60)
            assert re.search("made again|does not exist", str(query.exception()))
        finally:
            query.stop()
        assert [int(row["value"]) for batch in stream.batches for row in batch] == [0, 1]
        again = reader(topicGenerations=met.option(topic), onDataLoss="continue")
        assert again.values() == list(range(10, 19))

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


def read(reader: LogStreamReader, topic: str, how: str) -> None:
    """Read until an error: as the planner does of what arrives, or as a task what is planned."""
    while how == "trickle":
        reader.latestOffset()
    (task,) = reader.partitions({topic: {"1": 0}}, {topic: {"1": 5}})
    list(reader.read(task))


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["trickle", "task"])
def test_a_broker_that_went_silent_is_named_within_a_minute_and_read_on_when_it_continues(
    services: Settings, admin: AdminClient, how: str
) -> None:
    topic = f"silent-{how}"
    admin.create_topics([NewTopic(topic, 2, 1)], operation_timeout=20)[topic].result(30)
    # A broker that has just resumed may take a message and time out: a plain producer sends it
    # again, and the topic has it twice.
    producer = Producer({"bootstrap.servers": services.kafka.bootstrap, "enable.idempotence": True})
    producer.produce(topic, b"1", partition=0)
    assert producer.flush(20) == 0
    where = {"kafka.bootstrap.servers": services.kafka.bootstrap, "fetchTimeoutSeconds": "30"}
    reader = KafkaSource({**where, "subscribe": topic}).streamReader(StructType())
    assert wait_until(lambda: reader.latestOffset()[topic]["0"] == 1, 20)
    broker = psutil.Process(KafkaService(services).status().pid)
    broker.suspend()
    try:
        since = time.monotonic()
        with pytest.raises(KafkaUnavailableError, match=services.kafka.bootstrap):
            read(reader, topic, how)
        assert time.monotonic() - since < 60
    finally:
        broker.resume()
    producer.produce(topic, b"2", partition=1)
    assert producer.flush(60) == 0

    found: list[object] = []

    def reads() -> bool:
        try:
            found.append(reader.latestOffset()[topic]["1"])
        except KafkaUnavailableError as error:
            found.append(error)
        return found[-1] == 1

    assert wait_until(reads, 60), found[-3:]
    reader.stop()


def test_a_stream_that_has_read_everything_is_behind_an_aborted_transaction_too(
    services: Settings, admin: AdminClient
) -> None:
    topic = f"transactions-{time.monotonic_ns()}"
    admin.create_topics([NewTopic(topic, 1, 1)], operation_timeout=20)[topic].result(30)
    where = {"kafka.bootstrap.servers": services.kafka.bootstrap, "fetchTimeoutSeconds": "30"}
    source = KafkaSource({**where, "subscribe": topic})
    reader, broker = source.streamReader(StructType()), source.open_log()
    start = reader.latestOffset()  # from here on the planner reads what arrives by itself
    producer = Producer({"bootstrap.servers": services.kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(30)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(topic, b"1")
        end(30)
    try:
        assert wait_until(lambda: not broker.behind(from_wire(reader.latestOffset())), 30)
        read = reader.getCache(start, reader.latestOffset())
        assert read is not None
        assert sum(batch.num_rows for batch in read) == 1
    finally:
        reader.stop()
        broker.close()

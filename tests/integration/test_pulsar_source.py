"""Pulsar as a Spark source: the contract of every log, and its own traps, on the real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import httpx
import psutil
import pulsar
import pytest
from confluent_kafka import Producer
from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructType

from conf.settings import PulsarSettings, Settings
from conf.stores import load_stores
from infra.local.process import wait_until
from infra.local.pulsar import PulsarService
from streaming.source import unpacked
from streaming.sources.pulsar import PulsarSource, PulsarUnavailableError
from streaming.sources.readers import LogStreamReader
from streaming.stream import Context
from tests.support.pulsar_local import start_pulsar
from tests.support.source_suite import NOON, Reader, Shop, SourceSuite
from tests.support.spark_local import end_spark, start_spark

pytestmark = pytest.mark.requirement("V6")

PREFIX = "persistent://retail/metadata/"
RETENTION = "/namespaces/retail/metadata/retention"
FOR_EVER = {"retentionTimeInMinutes": -1, "retentionSizeInMB": -1}
NOT_AT_ALL = {"retentionTimeInMinutes": 0, "retentionSizeInMB": 0}


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    yield start_spark()
    end_spark()


@pytest.fixture(scope="module")
def conf(pulsar_service: PulsarService) -> PulsarSettings:
    return pulsar_service.conf


@pytest.fixture(scope="module")
def admin(conf: PulsarSettings) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{conf.admin}/admin/v2", timeout=30) as client:
        client.post(RETENTION, json=FOR_EVER).raise_for_status()
        yield client


def path(topic: str) -> str:
    return "/" + topic.replace("://", "/")


class Producers:
    """One producer a partition, made at first use."""

    def __init__(self, conf: PulsarSettings) -> None:
        self.client = pulsar.Client(conf.url, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
        self._made: dict[str, pulsar.Producer] = {}

    def __call__(self, name: str) -> pulsar.Producer:
        if name not in self._made:
            self._made[name] = self.client.create_producer(name)
        return self._made[name]

    def leave(self, topic: str) -> None:
        """Close those of a topic's partitions."""
        for name in [one for one in self._made if one.startswith(topic)]:
            self._made.pop(name).close()


@pytest.fixture(scope="module")
def producers(conf: PulsarSettings) -> Iterator[Producers]:
    made = Producers(conf)
    yield made
    made.client.close()


def in_one_entry(producers: Producers, name: str, values: Sequence[int]) -> None:
    """Several messages that the producer sends as one batch."""
    producer = producers.client.create_producer(
        name,
        batching_enabled=True,
        batching_max_messages=len(values),
        batching_max_publish_delay_ms=10_000,
    )
    refused: list[object] = []
    for value in values:
        producer.send_async(b"%d" % value, lambda result, _: refused.append(result))
    producer.flush()
    producer.close()
    assert refused == [pulsar.Result.Ok] * len(values)


class TestPulsarSource(SourceSuite):
    """The same suite as Kafka's and the memory source's."""

    @pytest.fixture
    def shop(self, conf: PulsarSettings, admin: httpx.Client, producers: Producers) -> Shop:
        def create_topic(topic: str, partitions: int) -> None:
            admin.put(f"{path(topic)}/partitions", json=partitions).raise_for_status()

        def write(
            topic: str,
            value: bytes | None,
            key: bytes | None = None,
            *,
            partition: int = 0,
            timestamp: datetime = NOON,
            headers: Sequence[tuple[str, bytes]] | None = None,
        ) -> None:
            producers(f"{topic}-partition-{partition}").send(
                value,
                properties={k: v.decode() for k, v in headers} if headers else None,
                partition_key=key.decode() if key else None,
                event_timestamp=int(timestamp.timestamp() * 1000),
            )

        def trim(topic: str, partition: int, low: int) -> None:
            name = path(f"{topic}-partition-{partition}")
            stats = admin.get(f"{name}/internalStats").json()
            left = int(stats["numberOfEntries"]) - low
            for one, state in admin.get(f"{name}/stats").json()["subscriptions"].items():
                skipped = int(state["msgBacklog"]) - left
                admin.post(f"{name}/subscription/{one}/skip/{skipped}").raise_for_status()
            admin.post(RETENTION, json=NOT_AT_ALL).raise_for_status()

            first_left = stats["ledgers"][low // 2]["ledgerId"]

            def trimmed() -> bool:
                admin.post(f"{name}/trim").raise_for_status()
                found = admin.get(f"{name}/internalStats").json()
                return bool(found["ledgers"][0]["ledgerId"] == first_left)

            assert wait_until(trimmed, 20), admin.get(f"{name}/internalStats").json()
            admin.post(RETENTION, json=FOR_EVER).raise_for_status()

        def delete_topic(topic: str) -> None:
            producers.leave(topic)
            one = admin.delete(f"{path(topic)}-partition-0", params={"force": "true"})
            one.raise_for_status()
            gone = admin.delete(f"{path(topic)}/partitions", params={"force": "true"})
            gone.raise_for_status()

        return Shop(
            source="storelake_pulsar",
            options={
                "pulsar.service.url": conf.url,
                "pulsar.admin.url": conf.admin,
                "groupId": "source-suite",
                "fetchTimeoutSeconds": "20",
            },
            create_topic=create_topic,
            write=write,
            trim=trim,
            delete_topic=delete_topic,
            first_position=r"\d{20}:0{20}:00001:0{10}",
            headers=(("a", "Straße".encode()), ("trace", b"2")),
            reports_empty_keys=False,
            topic_prefix=PREFIX,
        )

    def test_messages_of_one_entry_have_positions_of_their_own(
        self, spark: SparkSession, shop: Shop, topic: str, producers: Producers
    ) -> None:
        in_one_entry(producers, f"{topic}-partition-0", range(12))
        rows = self.table(spark, shop, topic)
        assert [int(row["value"]) for row in rows] == list(range(12))
        assert [row["position"][-10:] for row in rows] == [f"{n:010d}" for n in range(12)]

    @pytest.mark.parametrize("prefetch", ["0", "100"])
    def test_a_batch_may_end_and_a_stream_stop_within_an_entry(
        self,
        shop: Shop,
        topic: str,
        reader: Callable[..., Reader],
        producers: Producers,
        prefetch: str,
    ) -> None:
        in_one_entry(producers, f"{topic}-partition-0", range(7))
        in_one_entry(producers, f"{topic}-partition-0", range(7, 10))
        stream = reader(maxRowsPerBatch="4", prefetchRows=prefetch)
        assert [[int(r["value"]) for r in batch] for batch in stream.run()] == [
            [0, 1, 2, 3],
            [4, 5, 6, 7],
            [8, 9],
        ]
        (stream.checkpoint / "commits" / "2").unlink()
        (stream.checkpoint / "commits" / ".2.crc").unlink()
        shop.fill(topic, 1, start=10)
        assert reader(prefetchRows=prefetch).values() == [8, 9, 10]

    def test_a_topic_without_partitions_and_one_partition_alone_are_topics(
        self, spark: SparkSession, shop: Shop, topic: str, admin: httpx.Client, producers: Producers
    ) -> None:
        admin.put(path(f"{topic}-plain")).raise_for_status()
        producers(f"{topic}-plain").send(b"1")
        shop.fill(topic, 2, partition=1)
        assert [r["value"] for r in self.table(spark, shop, f"{topic}-plain")] == [b"1"]
        (first, _) = self.table(spark, shop, f"{topic}-partition-1")
        assert (first["topic"], first["partition"]) == (f"{topic}-partition-1", 0)

    def test_a_key_that_is_no_text_stops_nothing(
        self, spark: SparkSession, shop: Shop, topic: str, producers: Producers
    ) -> None:
        producer = producers(f"{topic}-partition-0")
        message: Any = pulsar._pulsar.MessageBuilder()
        message.content(b"v")
        message.partition_key(b"\xff\x00")
        producer._producer.send(message.build())
        assert [(r["key"], r["value"]) for r in self.table(spark, shop, topic)] == [
            (b"\xff\x00", b"v")
        ]

    def test_the_broker_keeps_what_the_stream_has_not_read_and_its_last_entry(
        self, shop: Shop, topic: str, admin: httpx.Client, reader: Callable[..., Reader]
    ) -> None:
        name = path(f"{topic}-partition-0")

        def held() -> str:
            cursors = admin.get(f"{name}/internalStats").json()["cursors"]
            return str(cursors["source-suite"]["markDeletePosition"]).split(":")[1]

        shop.fill(topic, 2)
        query = reader().start()
        try:
            query.processAllAvailable()
            assert held() == "-1"
            # A batch is done for Spark when it plans the next one.
            shop.fill(topic, 1, start=2)
            query.processAllAvailable()
            assert wait_until(lambda: held() == "0", 20)
        finally:
            query.stop()

    def test_an_unloaded_topic_and_a_restarted_broker_are_waited_for(
        self,
        shop: Shop,
        topic: str,
        admin: httpx.Client,
        pulsar_service: PulsarService,
        reader: Callable[..., Reader],
    ) -> None:
        def seen() -> list[int]:
            return sorted(int(row["value"]) for batch in stream.batches for row in batch)

        shop.fill(topic, 3)
        stream = reader()
        query = stream.start()
        try:
            query.processAllAvailable()
            admin.put(f"{path(topic)}/unload").raise_for_status()
            shop.fill(topic, 3, start=3)
            assert wait_until(lambda: seen() == list(range(6)), 30), query.exception()
            pulsar_service.stop()
            start_pulsar(pulsar_service)
            shop.fill(topic, 3, start=6)
            assert wait_until(lambda: seen() == list(range(9)), 60), query.exception()
            assert query.isActive
        finally:
            query.stop()

    def test_a_topic_deleted_while_it_is_read_stops_the_stream(
        self, shop: Shop, topic: str, admin: httpx.Client, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 3)
        query = reader().start()
        try:
            query.processAllAvailable()
            admin.delete(f"{path(topic)}/partitions", params={"force": "true"}).raise_for_status()
            assert wait_until(lambda: not query.isActive, 60)
            assert f"topic {topic} was deleted while it was read" in str(query.exception())
        finally:
            query.stop()

    def test_a_topic_made_again_is_not_taken_for_the_old_one(
        self, shop: Shop, topic: str, admin: httpx.Client, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 3)
        reader().run()
        admin.delete(f"{path(topic)}-partition-0", params={"force": "true"}).raise_for_status()
        admin.delete(f"{path(topic)}/partitions", params={"force": "true"}).raise_for_status()
        again = f"{topic}-again"
        shop.create_topic(again, 2)
        shop.create_topic(topic, 2)
        shop.write(again, b"9")
        with pytest.raises(StreamingQueryException, match=r"stands at message .*onDataLoss"):
            reader().run()


@pytest.mark.timeout(240)
def test_a_broker_that_went_silent_is_named_within_a_minute_and_read_on_when_it_continues(
    conf: PulsarSettings, producers: Producers, pulsar_service: PulsarService, admin: httpx.Client
) -> None:
    topic = f"{PREFIX}silent"
    admin.put(f"{path(topic)}/partitions", json=2).raise_for_status()
    producers(f"{topic}-partition-0").send(b"1", event_timestamp=int(NOON.timestamp() * 1000))
    options = {"pulsar.service.url": conf.url, "pulsar.admin.url": conf.admin, "subscribe": topic}
    reader = PulsarSource(options).streamReader(StructType())
    assert reader.latestOffset()[topic]["0"] > 0
    broker = psutil.Process(pulsar_service.status().pid)
    broker.suspend()
    try:
        since = time.monotonic()
        with pytest.raises(PulsarUnavailableError, match=conf.url):
            read(reader)
        assert time.monotonic() - since < 60
    finally:
        broker.resume()
    producers(f"{topic}-partition-1").send(b"2", event_timestamp=int(NOON.timestamp() * 1000))
    assert wait_until(lambda: _reads(reader, topic, "1"), 60)
    reader.stop()


def read(reader: LogStreamReader) -> None:
    """Ask for the next batch until an error."""
    while True:
        reader.latestOffset()


def _reads(reader: LogStreamReader, topic: str, partition: str) -> bool:
    try:
        return bool(reader.latestOffset()[topic][partition] > 0)
    except PulsarUnavailableError:
        return False


def test_a_time_in_microseconds_is_no_time(
    spark: SparkSession, conf: PulsarSettings, producers: Producers, admin: httpx.Client
) -> None:
    topic = f"{PREFIX}micros"
    admin.put(f"{path(topic)}/partitions", json=1).raise_for_status()
    micros = int(NOON.timestamp() * 1_000_000)
    producers(f"{topic}-partition-0").send(b"1", event_timestamp=micros)
    options = {"pulsar.service.url": conf.url, "pulsar.admin.url": conf.admin, "subscribe": topic}
    (row,) = spark.read.format("storelake_pulsar").options(**options).load().toArrow().to_pylist()
    assert (row["value"], row["timestamp"]) == (b"1", None)


def test_detections_come_from_both_brokers_when_both_are_named(
    spark: SparkSession, services: Settings, conf: PulsarSettings, producers: Producers
) -> None:
    both = services.streams.model_copy(update={"detections_from": ("kafka", "pulsar")})
    settings = services.model_copy(update={"pulsar": conf, "streams": both})
    kafka = Producer({"bootstrap.servers": settings.kafka.bootstrap})
    kafka.produce(settings.kafka.detections, b"of kafka")
    kafka.flush(20)
    producers(conf.detections).send(b"of pulsar")
    seen: dict[str, str] = {}

    def keep(rows: DataFrame, _: int) -> None:
        for batch in rows.toArrow().to_batches():
            seen.update({r["value"].decode(): r["topic"] for r in unpacked(batch).to_pylist()})

    context = Context(spark, settings, load_stores(settings.stores_file))
    query = context.read_detections("both").writeStream.foreachBatch(keep).start()
    try:
        query.processAllAvailable()
    finally:
        query.stop()
    assert seen["of kafka"] == "detections"
    assert seen["of pulsar"] == "persistent://retail/metadata/events"

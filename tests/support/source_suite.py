"""Tests for every source of a log. A subclass supplies the fixture `shop`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Protocol

import pytest
from pyspark.errors import PySparkException, StreamingQueryException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming import StreamingQuery

from streaming.runtime.session import log_source
from streaming.sources.generations import as_option
from streaming.sources.log import Log
from streaming.sources.options import Generation

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


class Write(Protocol):
    """Append one message; it is readable when this returns."""

    def __call__(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None = None,
        *,
        partition: int = 0,
        timestamp: datetime = NOON,
        headers: Sequence[tuple[str, bytes]] | None = None,
    ) -> None: ...


@dataclass
class Shop:
    """A broker with a source: creates topics, writes, and deletes old messages."""

    source: str
    options: Mapping[str, str]
    create_topic: Callable[[str, int], None]
    write: Write
    trim: Callable[[str, int, int], None]
    """trim(topic, partition, low): delete the first `low` messages."""
    delete_topic: Callable[[str], None]
    first_position: str = "0" * 20
    """A regular expression for the position of the first message in partition 1."""
    headers: Sequence[tuple[str, bytes]] = (("trace", b"\x00\x01"), ("trace", b"2"))
    """What the broker can carry beside a message."""
    reports_empty_keys: bool = True
    """Whether an empty key differs from none."""
    topic_prefix: str = ""

    def fill(self, topic: str, count: int, start: int = 0, partition: int = 0) -> None:
        for n in range(start, start + count):
            self.write(topic, str(n).encode(), partition=partition)

    def log(self, topic: str, **options: str) -> Log:
        """A client for the topic, apart from a stream; the caller closes it."""
        broker = self.source.removeprefix("storelake_")
        return log_source(broker)({**self.options, "subscribe": topic, **options}).open_log()


@dataclass
class Met:
    """The table `topic_generations`, in memory: ids of the topics of a name, in their order."""

    shop: Shop
    ids: list[str] = field(default_factory=list)

    def option(self, topic: str) -> str:
        """`topicGenerations` for the topic that the broker has now."""
        with closing(self.shop.log(topic)) as log:
            found = log.topic_ids().get(topic)
        if found is None:
            return "{}"
        if found not in self.ids:
            self.ids.append(found)
        return as_option({topic: Generation(found, self.ids.index(found))})


@dataclass
class Reader:
    """A stream with a checkpoint: every `run` starts, reads all messages, and stops."""

    spark: SparkSession
    shop: Shop
    checkpoint: Path
    options: dict[str, str]
    batches: list[list[dict[str, Any]]] = field(default_factory=list)

    def run(self) -> list[list[dict[str, Any]]]:
        """The batches of this run that held rows."""
        query = self.start()
        try:
            query.processAllAvailable()
        finally:
            query.stop()
        return self.batches

    def start(self) -> StreamingQuery:
        """The stream, running; the caller stops it."""
        self.batches = []
        return (
            self.spark.readStream.format(self.shop.source)
            .options(**self.shop.options, **self.options)
            .load()
            .writeStream.foreachBatch(self._keep)
            .option("checkpointLocation", str(self.checkpoint))
            .start()
        )

    def values(self) -> list[int]:
        """The values of one run, as numbers, sorted."""
        return sorted(int(row["value"]) for batch in self.run() for row in batch)

    def _keep(self, rows: DataFrame, _: int) -> None:
        found = rows.toArrow().to_pylist()
        if found:
            self.batches.append(found)


class SourceSuite:
    """Collected through its subclasses only."""

    @pytest.fixture
    def topic(self, shop: Shop) -> str:
        """An empty topic of two partitions."""
        name = f"{shop.topic_prefix}source-{uuid.uuid4().hex[:8]}"
        shop.create_topic(name, 2)
        return name

    @pytest.fixture
    def reader(
        self, spark: SparkSession, shop: Shop, topic: str, tmp_path: Path
    ) -> Callable[..., Reader]:
        """Readers of the topic; all of one test share a checkpoint."""

        def make(topics: str | None = topic, **options: str) -> Reader:
            which = {} if topics is None else {"subscribe": topics}
            return Reader(spark, shop, tmp_path / "checkpoint", {**which, **options})

        return make

    @staticmethod
    def table(spark: SparkSession, shop: Shop, topics: str, **options: str) -> list[dict[str, Any]]:
        frame = spark.read.format(shop.source).options(**shop.options, subscribe=topics, **options)
        rows: list[dict[str, Any]] = frame.load().toArrow().to_pylist()
        return sorted(rows, key=lambda r: (r["topic"], r["partition"], r["position"]))

    # Rows

    def test_a_message_is_a_row_byte_for_byte(
        self, spark: SparkSession, shop: Shop, topic: str
    ) -> None:
        at = NOON + timedelta(milliseconds=7)
        headers = shop.headers
        shop.write(topic, b"\xff\x00{", b"\x00k", partition=1, timestamp=at, headers=headers)
        rows = self.table(spark, shop, topic)
        assert [bool(re.fullmatch(shop.first_position, row.pop("position"))) for row in rows] == [1]
        assert rows == [
            {
                "key": b"\x00k",
                "value": b"\xff\x00{",
                "topic": topic,
                "partition": 1,
                "timestamp": at,
                "headers": [{"key": k, "value": v} for k, v in headers],
            }
        ]

    @pytest.mark.parametrize("how", ["batch", "trickle", "backlog"])
    def test_nulls_empty_bytes_and_tombstones_are_distinguished(
        self,
        spark: SparkSession,
        shop: Shop,
        topic: str,
        reader: Callable[..., Reader],
        how: str,
    ) -> None:
        sent = [(b"k", None), (None, b"v"), (b"", b""), (None, None)]
        for key, value in sent:
            shop.write(topic, value, key)
        if how == "batch":
            rows = self.table(spark, shop, topic)
        else:
            (rows,) = reader(prefetchRows="0" if how == "backlog" else "100").run()
        empty = b"" if shop.reports_empty_keys else None
        expected = [(key if key != b"" else empty, value) for key, value in sent]
        assert [(row["key"], row["value"]) for row in rows] == expected
        assert [row["headers"] for row in rows] == [None] * 4

    def test_positions_sort_as_text_in_the_order_of_the_log(
        self, spark: SparkSession, shop: Shop, topic: str
    ) -> None:
        shop.fill(topic, 12)
        rows = self.table(spark, shop, topic)
        assert [int(row["value"]) for row in rows] == list(range(12))

    def test_a_batch_read_takes_several_topics(
        self, spark: SparkSession, shop: Shop, topic: str
    ) -> None:
        shop.create_topic(f"{topic}-b", 1)
        shop.fill(topic, 2)
        shop.fill(f"{topic}-b", 3)
        rows = self.table(spark, shop, f"{topic}, {topic}-b")
        assert [row["topic"] for row in rows] == [topic] * 2 + [f"{topic}-b"] * 3

    def test_a_batch_read_of_an_empty_topic_has_no_rows(
        self, spark: SparkSession, shop: Shop, topic: str
    ) -> None:
        assert self.table(spark, shop, topic) == []

    # Streams

    def test_after_a_restart_nothing_is_read_twice_and_nothing_is_left_out(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 5, partition=0)
        shop.fill(topic, 5, start=5, partition=1)
        assert reader().values() == list(range(10))
        assert reader().values() == []
        shop.fill(topic, 3, start=10, partition=1)
        assert reader().values() == [10, 11, 12]

    def test_batches_are_bounded_also_the_first_one_after_a_restart(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 1)
        reader(maxRowsPerBatch="10").run()
        shop.fill(topic, 20, partition=0)
        shop.fill(topic, 15, partition=1)
        batches = reader(maxRowsPerBatch="10").run()
        assert len(batches) == 4
        assert max(len(batch) for batch in batches) <= 10
        assert sum(len(batch) for batch in batches) == 35

    @pytest.mark.parametrize("prefetch", ["0", "100"], ids=["backlog", "trickle"])
    def test_batches_are_bounded_by_bytes_and_a_larger_message_is_a_batch_of_its_own(
        self, shop: Shop, topic: str, reader: Callable[..., Reader], prefetch: str
    ) -> None:
        most = 2_500
        query = reader(maxBytesPerBatch=str(most), prefetchRows=prefetch)
        query.run()
        sizes = [1_000, 1_000, 1_000, 10_000, 10, 10, 1_000, 1_400, 1_000]
        for number, size in enumerate(sizes):
            shop.write(topic, b"%d" % number + b"x" * (size - 1), partition=number % 2)
        batches = query.run()
        read = [[len(row["value"]) for row in batch] for batch in batches]
        assert sorted(size for batch in read for size in batch) == sorted(sizes)
        assert all(sum(batch) <= most or len(batch) == 1 for batch in read)

    def test_a_backlog_that_is_a_multiple_of_the_batch_is_read_to_its_end(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 20)
        assert reader(maxRowsPerBatch="10").values() == list(range(20))

    def test_backlog_and_trickle_give_equal_rows(
        self, spark: SparkSession, shop: Shop, topic: str, tmp_path: Path
    ) -> None:
        shop.fill(topic, 9, partition=0)
        shop.fill(topic, 9, partition=1)
        ways = []
        for prefetch in ("0", "100"):
            way = Reader(
                spark, shop, tmp_path / prefetch, {"subscribe": topic, "prefetchRows": prefetch}
            )
            rows = [row for batch in way.run() for row in batch]
            ways.append(sorted(rows, key=lambda r: (r["partition"], r["position"])))
        assert ways[0] == ways[1] == self.table(spark, shop, topic)

    def test_a_batch_in_doubt_is_read_again_as_it_was(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 4)
        stream = reader()
        (first,) = stream.run()
        commits = stream.checkpoint / "commits"
        for name in ("0", ".0.crc"):
            (commits / name).unlink(missing_ok=True)
        shop.fill(topic, 2, start=4)
        again, fresh = stream.run()
        assert again == first
        assert [row["value"] for row in fresh] == [b"4", b"5"]

    def test_a_stream_over_several_topics_reads_all(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.create_topic(f"{topic}-b", 1)
        shop.fill(topic, 3)
        shop.fill(f"{topic}-b", 3, start=3)
        assert reader(f"{topic},{topic}-b").values() == list(range(6))

    def test_a_stream_may_start_at_the_end(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 3)
        assert reader(startingOffsets="latest").values() == []
        shop.fill(topic, 2, start=3)
        assert reader(startingOffsets="latest").values() == [3, 4]

    # Trouble

    def test_events_deleted_before_they_were_read_stop_the_stream(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 3)
        reader().run()
        shop.fill(topic, 5, start=3)
        shop.trim(topic, 0, 6)
        with pytest.raises(StreamingQueryException, match=r"stands at .*onDataLoss"):
            reader().run()

    def test_by_option_a_stream_continues_with_the_messages_that_are_left(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        shop.fill(topic, 3)
        reader(onDataLoss="continue").run()
        shop.fill(topic, 5, start=3)
        shop.trim(topic, 0, 6)
        assert reader(onDataLoss="continue").values() == [6, 7]

    def test_by_option_a_topic_that_was_made_again_is_read_from_its_start_behind_the_old_one(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        met = Met(shop)
        shop.fill(topic, 4)
        old = reader(topicGenerations=met.option(topic)).run()
        shop.delete_topic(topic)
        shop.create_topic(topic, 2)
        shop.fill(topic, 6, start=10)
        shop.fill(topic, 2, start=20, partition=1)
        new = reader(topicGenerations=met.option(topic), onDataLoss="continue").run()
        assert sorted(int(row["value"]) for batch in new for row in batch) == [
            *range(10, 16),
            20,
            21,
        ]
        newest = max(row["position"] for batch in old for row in batch)
        assert all(row["position"] > newest for batch in new for row in batch)

    def test_a_topic_that_was_made_again_stops_the_stream(
        self, shop: Shop, topic: str, reader: Callable[..., Reader]
    ) -> None:
        met = Met(shop)
        shop.fill(topic, 4)
        reader(topicGenerations=met.option(topic)).run()
        shop.delete_topic(topic)
        shop.create_topic(topic, 2)
        shop.fill(topic, 6, start=10)
        with pytest.raises(StreamingQueryException, match=r"stands at .*onDataLoss"):
            reader(topicGenerations=met.option(topic)).run()

    def test_a_topic_that_was_made_again_is_read_again_without_a_checkpoint(
        self, shop: Shop, topic: str, reader: Callable[..., Reader], tmp_path: Path
    ) -> None:
        met = Met(shop)
        shop.fill(topic, 4)
        (old,) = reader(topicGenerations=met.option(topic)).run()
        shop.delete_topic(topic)
        shop.create_topic(topic, 2)
        shop.fill(topic, 2, start=10)
        stream = reader(topicGenerations=met.option(topic))
        stream.checkpoint = tmp_path / "another"
        (new,) = stream.run()
        assert [int(row["value"]) for row in new] == [10, 11]
        assert new[0]["position"] > old[-1]["position"]

    def test_a_topic_that_does_not_exist_is_named(
        self, spark: SparkSession, shop: Shop, reader: Callable[..., Reader]
    ) -> None:
        nowhere = f"{shop.topic_prefix}nowhere"
        with pytest.raises(PySparkException, match=f"topic {nowhere} does not exist"):
            self.table(spark, shop, nowhere)
        with pytest.raises(StreamingQueryException, match=f"topic {nowhere} does not exist"):
            reader(nowhere).run()

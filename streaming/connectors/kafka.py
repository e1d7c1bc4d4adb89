"""Kafka as a Spark source, over confluent-kafka (librdkafka), and the producer of dead letters.

Guarantees are those of `log_source`. Of Kafka's own:

- Only committed records are read (`isolation.level=read_committed`), nulls and tombstones included.
- Offsets of finished batches are also committed to the consumer group `groupId`, asynchronously and
  for display only: Kafka's tools then show the lag of each stream.
- Consumers live as long as their process: the planner's as long as the query, a worker's between
  batches, so a batch pays no connection set-up.
- A broker that is away is waited for; a task gives up after `fetchTimeoutSeconds` and fails, which
  the runner retries.

Options besides those of `log_source.ReadOptions`: `kafka.<librdkafka option>` (at least
`kafka.bootstrap.servers`), `groupId`, `fetchTimeoutSeconds` (60).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any, cast

import pyarrow as pa
from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from streaming.connectors.log_source import (
    ROWS_PER_ARROW_BATCH,
    DataLossError,
    DenseLog,
    LogSource,
    Offsets,
    Partition,
    Range,
    ReadOptions,
    Subscription,
    to_arrow,
)

log = logging.getLogger(__name__)

METADATA_REFRESH_SECONDS = 30.0
CALL_TIMEOUT_SECONDS = 10.0

_LOST = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
}
_GONE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}

_task_consumers: dict[tuple[tuple[str, str], ...], Consumer] = {}
"""Consumers of this Python worker, by their configuration; Spark reuses workers between batches."""


class KafkaUnavailableError(Exception):
    """Kafka could not be read; the message names the topic and what Kafka said."""


def _row(message: Message) -> tuple[Any, ...]:
    kind, millis = message.timestamp()
    stamp = (
        None
        if kind == TIMESTAMP_NOT_AVAILABLE
        else datetime.fromtimestamp(millis / 1000, tz=timezone.utc)
    )
    headers = cast("list[tuple[str, bytes]] | None", message.headers())
    return (
        message.key(),
        message.value(),
        message.topic(),
        message.partition(),
        f"{message.offset():020d}",
        stamp,
        [{"key": k, "value": v} for k, v in headers] if headers else None,
    )


def _raise(error: KafkaError, where: str) -> None:
    """Turn librdkafka's event into our errors; what it retries by itself is not raised."""
    if error.code() in _LOST:
        raise DataLossError(f"{where}: {error.str()}")
    if error.code() in _GONE:
        raise KafkaUnavailableError(f"{where} does not exist: {error.str()}")
    if error.fatal() or not error.retriable():
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):
            return
        raise KafkaUnavailableError(f"{where}: {error.str()}")


class KafkaLog(DenseLog):
    """`log_source.Log` over one Kafka cluster. Connections are made at first use."""

    def __init__(
        self,
        topics: Subscription,
        client: Mapping[str, str],
        group_id: str,
        fetch_timeout: float = 60.0,
    ) -> None:
        self._topics = topics
        self._client = {
            "group.id": group_id,
            "enable.auto.commit": "false",
            "enable.auto.offset.store": "false",
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": "500",
            "queued.max.messages.kbytes": "16384",
            "message.max.bytes": "16777216",
            **client,
        }
        self._fetch_timeout = fetch_timeout
        self._consumer: Consumer | None = None
        self._assigned: Offsets | None = None
        self._known: list[Partition] = []
        self._known_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_consumer": None, "_assigned": None}

    def _planner(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(self._client)
        return self._consumer

    def _partitions(self) -> list[Partition]:
        """Partitions of the topics; asked again every 30 s, so new partitions are found."""
        if self._known and time.monotonic() - self._known_at < METADATA_REFRESH_SECONDS:
            return self._known
        topics = self._planner().list_topics(timeout=CALL_TIMEOUT_SECONDS).topics
        try:
            names = self._topics.among(name for name, one in topics.items() if one.error is None)
        except LookupError as error:
            raise KafkaUnavailableError(str(error)) from None
        found = [(name, number) for name in names for number in topics[name].partitions]
        self._known, self._known_at = sorted(found), time.monotonic()
        return self._known

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """First and next offset of each partition, asked from the broker."""
        consumer = self._planner()
        return {
            (t, n): consumer.get_watermark_offsets(
                TopicPartition(t, n), timeout=CALL_TIMEOUT_SECONDS
            )
            for t, n in self._partitions()
        }

    def at_time(self, moment: datetime) -> Offsets:
        """By the timestamps of the messages, as the broker indexes them."""
        millis = int(moment.timestamp() * 1000)
        asked = [TopicPartition(t, n, millis) for t, n in self._partitions()]
        high = {p: bound[1] for p, bound in self.bounds().items()}
        answer = self._planner().offsets_for_times(asked, timeout=CALL_TIMEOUT_SECONDS)
        # Kafka answers -1 where nothing is as young.
        return {
            (a.topic, a.partition): a.offset if a.offset >= 0 else high[a.topic, a.partition]
            for a in answer
        }

    def poll(self, position: Offsets, limit: int) -> tuple[pa.RecordBatch | None, Offsets]:
        """What librdkafka has fetched in the background; returns at once."""
        consumer = self._planner()
        position = {p: position.get(p, 0) for p in self._partitions()}
        if self._assigned != position:
            consumer.assign([TopicPartition(t, n, o) for (t, n), o in position.items()])
            first = True
        else:
            first = False
        rows: list[tuple[Any, ...]] = []
        end = dict(position)
        # A fresh assignment needs one round trip before anything can arrive.
        for message in consumer.consume(limit, timeout=0.5 if first else 0.01):
            error = message.error()
            if error is not None:
                self._assigned = None
                _raise(error, f"{message.topic()}[{message.partition()}]")
                continue
            rows.append(_row(message))
            end[rows[-1][2], rows[-1][3]] = cast(int, message.offset()) + 1
        self._assigned = end
        if len(rows) == limit:
            # The caller plans tasks instead; the next poll starts where those end.
            self._assigned = None
            consumer.unassign()
        return (to_arrow(rows) if rows else None), end

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        """Read ranges with this worker's own consumer."""
        config = {**self._client, "enable.partition.eof": "true"}
        config["queued.max.messages.kbytes"] = "65536"
        key = tuple(sorted(config.items()))
        if key not in _task_consumers:
            _task_consumers[key] = Consumer(config)
        consumer = _task_consumers[key]
        rows: list[tuple[Any, ...]] = []
        try:
            for piece in ranges:
                for message in self._read_range(consumer, piece):
                    rows.append(_row(message))
                    if len(rows) >= ROWS_PER_ARROW_BATCH:
                        yield to_arrow(rows)
                        rows = []
        finally:
            consumer.unassign()
        if rows:
            yield to_arrow(rows)

    def _read_range(self, consumer: Consumer, piece: Range) -> Iterator[Message]:
        where = f"{piece.topic}[{piece.partition}]"
        consumer.assign([TopicPartition(piece.topic, piece.partition, piece.start)])
        give_up = time.monotonic() + self._fetch_timeout
        while True:
            for message in consumer.consume(2_000, timeout=0.2):
                give_up = time.monotonic() + self._fetch_timeout
                error = message.error()
                if error is not None:
                    # Compaction and transaction markers leave gaps: the log's end ends us, too.
                    if error.code() == KafkaError._PARTITION_EOF:
                        if cast(int, message.offset()) >= piece.end:
                            return
                        continue
                    _raise(error, where)
                    continue
                offset = cast(int, message.offset())
                if offset >= piece.end:
                    return
                yield message
                if offset == piece.end - 1:
                    return
            if time.monotonic() > give_up:
                raise KafkaUnavailableError(
                    f"{where}: nothing arrived for {self._fetch_timeout:.0f} s while reading "
                    f"[{piece.start}, {piece.end}); is the broker up?"
                )

    def commit(self, offsets: Offsets) -> None:
        """Show progress to Kafka's tools; a failure is only logged."""
        try:
            self._planner().commit(
                offsets=[TopicPartition(t, n, o) for (t, n), o in offsets.items()],
                asynchronous=True,
            )
        except KafkaException as error:
            log.warning("group offsets not committed: %s", error)

    def close(self) -> None:
        """Leave the cluster."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


class KafkaSource(LogSource):
    """`format("storelake_kafka")`, batch and streaming; rows as `source.SOURCE_DDL`."""

    @classmethod
    def name(cls) -> str:
        """The name to use in `format(...)`."""
        return "storelake_kafka"

    def open_log(self) -> KafkaLog:
        """See `LogSource.open_log`."""
        options = {k.lower(): v for k, v in self.options.items()}
        client = {k[len("kafka.") :]: v for k, v in options.items() if k.startswith("kafka.")}
        if "bootstrap.servers" not in client:
            raise ValueError("option 'kafka.bootstrap.servers' is required")
        return KafkaLog(
            ReadOptions.parse(self.options).topics,
            client,
            options.get("groupid", "storelake"),
            float(options.get("fetchtimeoutseconds", "60")),
        )


DeadLetterMessage = tuple[bytes | None, bytes | None, list[tuple[str, str | bytes | None]]]
"""Key, value, headers."""

VALUE_BYTES_HEADER = "storelake-value-bytes"
"""Of a dead letter without its value: how large that was."""


class DeadLetterProducer:
    """Sends rejected messages on, whole; at least once, acknowledged by all replicas.

    A batch that is run again may send a message again: its headers name the source position, which
    is the key to tell the copies by. The quarantine table has each one exactly once.
    """

    def __init__(self, client: Mapping[str, str], topic: str) -> None:
        self._topic = topic
        self._producer = Producer(
            {
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.max.bytes": 16777216,
                "message.timeout.ms": 30000,
                **client,
            }
        )

    def send(self, messages: Iterable[DeadLetterMessage]) -> int:
        """Send (key, value, headers) and wait until all are acknowledged.

        A message that the topic does not take for its size goes without its value, whose size a
        header tells: one large message must not stop the stream, and quarantine has it whole.

        Raises:
            KafkaUnavailableError: the broker did not acknowledge every message within 30 s.
        """
        count, too_large = self._send(messages)
        # A request is refused as a whole, so small messages beside a large one are, too: each
        # gets a request of its own.
        for message in too_large:
            _, alone = self._send([message])
            self._send(map(_without_value, alone))
        return count

    def _send(self, messages: Iterable[DeadLetterMessage]) -> tuple[int, list[DeadLetterMessage]]:
        failed: list[str] = []
        too_large: list[DeadLetterMessage] = []
        count = 0

        def done(message: DeadLetterMessage, error: KafkaError | None, _: Message) -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and message[1] is not None:
                too_large.append(message)
            else:
                failed.append(error.str())

        for message in messages:
            key, value, headers = message
            self._producer.produce(
                self._topic,
                value,
                key,
                headers=headers,
                on_delivery=partial(done, message),
            )
            self._producer.poll(0)
            count += 1
        left = self._producer.flush(35)
        if failed or left:
            why = failed[0] if failed else "no answer in time"
            raise KafkaUnavailableError(
                f"{self._topic}: {len(failed) + left} of {count} not stored: {why}"
            )
        return count, too_large


def _without_value(message: DeadLetterMessage) -> DeadLetterMessage:
    key, value, headers = message
    return key, None, [*headers, (VALUE_BYTES_HEADER, str(len(value or b"")).encode())]

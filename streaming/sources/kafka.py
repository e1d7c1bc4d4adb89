"""Kafka as a Spark source, over confluent-kafka (librdkafka).

Guarantees are those of `log_source`. Of Kafka's own:

- Only committed records are read (`isolation.level=read_committed`), nulls and tombstones included.
- A topic is identified by its id: where option `topicGenerations` has the topic, its id is checked
  after each read, so no row of a topic that was created again under the same name passes as one of
  the old topic.
- Offsets of finished batches are also committed to the consumer group `groupId`, asynchronously and
  for display only: Kafka's tools then show the lag of each stream.
- Consumers live as long as their process: the planner's as long as the query, a worker's between
  batches, so a batch pays no connection set-up.
- A broker that does not answer is noticed within 30 s: the planner fails with an error that names
  it, a task after `fetchTimeoutSeconds` without a message; the runner retries. A planner's consumer
  that gets nothing of a partition for so long, although messages wait there, is assigned again; if
  that does not help, the planner fails.

Options besides those of `ReadOptions`: `kafka.<librdkafka option>`, at least
`kafka.bootstrap.servers`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, cast

import pyarrow as pa
from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from conf.errors import KafkaUnavailableError
from conf.kafka import CONNECTION
from streaming.source import GENERATION, broker_time
from streaming.sources.kafka_topics import TopicQueries
from streaming.sources.log import (
    DataLossError,
    DenseLog,
    Limit,
    Offsets,
    Partition,
    Range,
    lost_offset,
)
from streaming.sources.options import Generation, ReadOptions, Subscription
from streaming.sources.read_ahead import ReadAhead
from streaming.sources.readers import LogSource
from streaming.sources.rows import Row, headers_of, message_bytes, to_arrow, to_batches

log = logging.getLogger(__name__)

METADATA_REFRESH_SECONDS = 30.0
CHUNK = 200
"""Messages that are taken from librdkafka at once: each may be megabytes large."""

TASK_CLIENT = {
    # What a task reads is there; a request that waits for more keeps the next partition waiting.
    "fetch.wait.max.ms": "10",
    # Of what is fetched beyond the end of a range nothing is used.
    "queued.min.messages": "5000",
}
"""Options of a task's consumer that differ from the planner's."""

_LOST = {
    KafkaError._AUTO_OFFSET_RESET,
    KafkaError.OFFSET_OUT_OF_RANGE,
}
_GONE = {
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
_CONNECTING = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TRANSPORT,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
}
"""librdkafka continues trying by itself; the clocks here decide when that is too long."""

_task_consumers: dict[tuple[tuple[str, str], ...], Consumer] = {}
"""Consumers of this Python worker, by their configuration; Spark reuses workers between batches."""


def _row(message: Message, base: int) -> Row:
    """A source row; unreadable metadata becomes null, or `UNREADABLE_HEADER`.

    Args:
        message: of Kafka.
        base: offset 0 of the generation of its topic.
    """
    kind, millis = message.timestamp()
    return (
        message.key(),
        message.value(),
        message.topic(),
        message.partition(),
        f"{base + cast(int, message.offset()):020d}",
        None if kind == TIMESTAMP_NOT_AVAILABLE else broker_time(millis),
        headers_of(cast("Any", message.headers)),
    )


def _size(message: Message) -> int:
    headers = headers_of(cast("Any", message.headers))
    return message_bytes(message.key(), message.value(), headers)


def _raise(error: KafkaError, where: str) -> None:
    """Raise librdkafka's event as an error of this project, unless librdkafka retries by itself."""
    if error.code() in _LOST:
        raise DataLossError(f"{where}: {error.str()}")
    if error.code() in _GONE:
        raise KafkaUnavailableError(f"{where} does not exist: {error.str()}")
    if error.code() not in _CONNECTING and (error.fatal() or not error.retriable()):
        raise KafkaUnavailableError(f"{where}: {error.str()}")


class KafkaLog(DenseLog):
    """`log_source.Log` over one Kafka cluster. Connections are made at first use.

    Args:
        topics: to read.
        client: options of librdkafka; at least `bootstrap.servers`.
        group_id: consumer group of `commit`.
        fetch_timeout: seconds without a message after which reading fails.
        generations: of the topics whose ids are checked.
    """

    def __init__(
        self,
        topics: Subscription,
        client: Mapping[str, str],
        group_id: str,
        fetch_timeout: float = 60.0,
        generations: Mapping[str, Generation] | None = None,
    ) -> None:
        self._topics = topics
        self._client = {
            **CONNECTION,
            "fetch.wait.max.ms": "500",
            "queued.max.messages.kbytes": "32768",
            # When the queue is full, librdkafka waits so long to fetch again; by itself a second.
            "fetch.queue.backoff.ms": "20",
            "message.max.bytes": "16777216",
            **client,
            "group.id": group_id,
            "enable.auto.commit": "false",
            "enable.auto.offset.store": "false",
            "enable.partition.eof": "true",
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
        }
        self._fetch_timeout = fetch_timeout
        self._generations = dict(generations or {})
        self._bases = {t: g.number * GENERATION for t, g in self._generations.items()}
        self._queries = TopicQueries(client)
        self._consumer: Consumer | None = None
        self._ahead = ReadAhead[Message]()
        self._reading: Thread | None = None
        self._checked_at = time.monotonic()
        self._waiting: Offsets = {}
        self._assigned_again: Offsets = {}
        self._known: list[Partition] = []
        self._known_at = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_consumer": None, "_ahead": ReadAhead(), "_reading": None}

    def _planner(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(self._client)
        return self._consumer

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Raise errors of librdkafka as `KafkaUnavailableError`, with the brokers."""
        try:
            yield
        except KafkaException as error:
            raise KafkaUnavailableError(
                f"Kafka at {self._client['bootstrap.servers']} does not give {what}: "
                f"{self._queries.explain(error)}"
            ) from error

    def _partitions(self) -> list[Partition]:
        """Partitions of the topics; queried every 30 s, so new partitions are found."""
        if self._known and time.monotonic() - self._known_at < METADATA_REFRESH_SECONDS:
            return self._known
        with self._asking("its topics"):
            topics = self._queries.all()
        try:
            names = self._topics.among(name for name, one in topics.items() if one.error is None)
        except LookupError as error:
            raise KafkaUnavailableError(str(error)) from None
        self._verify(names)
        found = [(name, number) for name in names for number in topics[name].partitions]
        self._known, self._known_at = sorted(found), time.monotonic()
        return self._known

    def topic_ids(self) -> dict[str, str]:
        """Ids of the topics; Kafka has them since 2.8."""
        with self._asking("the ids of its topics"):
            return self._queries.ids(sorted({topic for topic, _ in self._partitions()}))

    def _verify(self, topics: Sequence[str]) -> None:
        """Raise `TopicRemadeError` where a topic is not the one that is read."""
        known = {t: self._generations[t].topic_id for t in topics if t in self._generations}
        if known:
            with self._asking("the ids of its topics"):
                self._queries.compare_ids(known)

    def _base(self, topic: str) -> int:
        return self._bases.get(topic, 0)

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """First and next offset of each partition, queried from the broker."""
        partitions = self._partitions()
        with self._asking("the ends of its partitions"):
            found = self._queries.bounds(partitions)
        self._verify([*{topic for topic, _ in partitions}])
        return {
            (topic, number): (self._base(topic) + low, self._base(topic) + high)
            for (topic, number), (low, high) in found.items()
        }

    def poll(self, position: Offsets, limit: Limit) -> tuple[pa.RecordBatch | None, Offsets]:
        """Messages that librdkafka has fetched in the background; returns at once."""
        self._await_reading()
        position = {p: position.get(p, self._base(p[0])) for p in self._partitions()}
        # A new assignment needs one round trip before messages can arrive.
        found = self._fetch_more(limit.rows, 0.5 if self._stand(position) else 0.01)
        if found < limit.rows and self._is_stuck():
            self._ahead = ReadAhead()  # the next call assigns the consumer again
            return None, position
        messages, end = self._ahead.within(limit)
        if messages:
            self._verify([*{cast(str, m.topic()) for m in messages}])
        if len(messages) < limit.rows:  # else the caller plans tasks instead, from here
            self._ahead.drop(end)
        rows = [_row(m, self._base(cast(str, m.topic()))) for m in messages]
        # Offsets without a message are a batch without rows: the stream must not stand before them.
        return (to_arrow(rows) if rows or end != position else None), end

    def _within(self, start: Offsets, end: Offsets, most: int) -> Offsets:
        """Read ahead of the tasks, for the sizes; then read on, while the tasks work."""
        self._await_reading()
        self._stand(start)
        give_up = time.monotonic() + self._fetch_timeout
        while not self._ahead.holds(end, most):
            if self._fetch_more(CHUNK, 0.1):
                give_up = time.monotonic() + self._fetch_timeout
            elif time.monotonic() > give_up:
                raise KafkaUnavailableError(self._silence(f"{sorted({t for t, _ in end})}"))
        taken, reached = self._ahead.within(Limit(2**63, most), end)
        self._ahead.drop(reached)
        self._reading = Thread(target=self._read_on, args=(len(taken), most), daemon=True)
        self._reading.start()
        return reached

    def _read_on(self, rows: int, most: int) -> None:
        """Read as many messages as the batch before had, or bytes as it may have; not at the end.

        An error ends it: the next call meets it again, and raises it.
        """
        with suppress(KafkaException, KafkaUnavailableError, DataLossError):
            while self._ahead.rows < rows and self._ahead.bytes < most:
                if not self._fetch_more(CHUNK, 0.05):
                    return

    def _await_reading(self) -> None:
        """Wait for the thread: what it reads is what the caller wants."""
        if self._reading is not None:
            self._reading.join()
            self._reading = None

    def _stand(self, position: Offsets) -> bool:
        """Move the consumer to a position; returns whether it was elsewhere."""
        if self._ahead.start == position:
            return False
        self._ahead = ReadAhead(position)
        self._planner().assign(
            [TopicPartition(t, n, o - self._base(t)) for (t, n), o in position.items()]
        )
        return True

    def _is_stuck(self) -> bool:
        """Whether nothing came of a partition, where messages wait for `fetch_timeout` or longer.

        Raises:
            KafkaUnavailableError: so it was when the consumer was assigned for this reason before.
        """
        if time.monotonic() - self._checked_at < self._fetch_timeout:
            return False
        self._checked_at = time.monotonic()
        seen, before = self._ahead.seen, self._waiting
        ends = self.bounds()
        self._waiting = {p: at for p, at in seen.items() if ends.get(p, (0, 0))[1] > at}
        stuck = {p: at for p, at in self._waiting.items() if before.get(p) == at}
        again, self._assigned_again = self._assigned_again, stuck
        if not stuck:
            return False
        silence = self._silence(", ".join(f"{topic}[{number}]" for topic, number in stuck))
        if stuck.items() & again.items():
            raise KafkaUnavailableError(silence)
        log.warning("%s Messages wait there: assigning the consumer again.", silence)
        return True

    def _fetch_more(self, most: int, seconds: float) -> int:
        """Take messages from librdkafka; returns how many, without errors."""
        count = 0
        for message in self._planner().consume(most, timeout=seconds):
            topic, number = cast(str, message.topic()), cast(int, message.partition())
            error = message.error()
            if error is None:
                at = self._base(topic) + cast(int, message.offset())
                self._ahead.add((topic, number), at, _size(message), message)
            elif error.code() == KafkaError._PARTITION_EOF:
                # Compaction and transaction markers leave gaps: take the end of the log.
                at = self._base(topic) + cast(int, message.offset())
                self._ahead.ends((topic, number), at)
            else:
                self._failed(error, f"{topic}[{number}]")
                continue
            count += 1
        return count

    def _failed(self, error: KafkaError, where: str) -> None:
        try:
            _raise(error, where)
        except Exception:
            self._ahead = ReadAhead()  # the next read begins at its position again
            raise

    def _silence(self, where: str) -> str:
        return (
            f"{where}: Kafka at {self._client['bootstrap.servers']} has sent nothing for "
            f"{self._fetch_timeout:.0f} s; is the broker up?"
        )

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        """Read ranges with this worker's own consumer."""
        for piece in ranges:
            base = self._base(piece.topic)
            if piece.start < base:
                raise lost_offset((piece.topic, piece.partition), piece.start, base, base)
        config = {**self._client, **TASK_CLIENT}
        key = tuple(sorted(config.items()))
        if key not in _task_consumers:
            _task_consumers[key] = Consumer(config)
        consumer = _task_consumers[key]
        try:
            yield from to_batches(
                _row(message, self._base(piece.topic))
                for piece in ranges
                for message in self._read_range(consumer, piece)
            )
        finally:
            consumer.unassign()
        self._verify([*{piece.topic for piece in ranges}])

    def _read_range(self, consumer: Consumer, piece: Range) -> Iterator[Message]:
        where, base = f"{piece.topic}[{piece.partition}]", self._base(piece.topic)
        start, end = piece.start - base, piece.end - base
        consumer.assign([TopicPartition(piece.topic, piece.partition, start)])
        give_up = time.monotonic() + self._fetch_timeout
        while time.monotonic() < give_up:
            for message in consumer.consume(CHUNK, timeout=0.2):
                error = message.error()
                offset = cast(int, message.offset())
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    _raise(error, where)  # librdkafka retries an error that is not raised
                    continue
                if offset >= end:
                    return
                give_up = time.monotonic() + self._fetch_timeout
                if error is None:
                    yield message
                    if offset == end - 1:
                        return
        raise KafkaUnavailableError(self._silence(f"{where}, offsets [{start}, {end})"))

    def commit(self, offsets: Offsets) -> None:
        """Commit offsets for Kafka's tools; a failure is only logged."""
        done = [
            TopicPartition(t, n, o - self._base(t))
            for (t, n), o in offsets.items()
            if o >= self._base(t)
        ]
        try:
            self._planner().commit(offsets=done, asynchronous=True)
        except KafkaException as error:
            log.warning("group offsets not committed: %s", error)

    def close(self) -> None:
        """Leave the cluster."""
        self._await_reading()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


class KafkaSource(LogSource):
    """`format("storelake_kafka")`, batch and streaming; rows as `source.SOURCE_DDL`."""

    @classmethod
    def name(cls) -> str:
        """The name to use in `format(...)`."""
        return "storelake_kafka"

    def connect(self, options: ReadOptions) -> KafkaLog:
        """Options that begin with `kafka.` are librdkafka's."""
        options.required("kafka.bootstrap.servers")
        client = {
            name.removeprefix("kafka."): value
            for name, value in options.given.items()
            if name.startswith("kafka.")
        }
        return KafkaLog(
            options.topics, client, options.group_id, options.fetch_timeout, options.generations
        )

"""Interface of every partitioned log (Kafka, Pulsar, the memory log) as a Spark source.

A broker module implements `Log`; `readers.py` makes it a Python Data Source with Spark's
guarantees. Where offsets have no gaps, `DenseLog` implements a part of `Log`.

Delivery guarantee: offsets are in Spark's checkpoint, and a batch is a half-open range of offsets
per partition. A batch that is run again reads the same range, so the source is replayable and, with
an idempotent sink, the stream is exactly-once in effect. Nothing is skipped: an offset that the
broker has already deleted is an error (`onDataLoss=fail`) or a logged jump (`continue`).

Bounded: no batch holds more than `maxRowsPerBatch` rows, nor more than `maxBytesPerBatch` of keys,
values and headers unless it is a single row; also the first one after a restart, because Spark
passes the last offsets before it requests the latest ones. Sizes are only known once messages are
read, so the planner reads one batch ahead of the tasks.

Idle: with option `heartbeatSeconds`, the planner emits a row of topic `HEARTBEAT` when it has read
everything that the log holds and nothing has come for so long. So event time of a stream advances
without messages, and a backlog is never compared with the wall clock.

A topic that was deleted and created again under its name is another topic. Where a broker gives
topics ids, option `topicGenerations` numbers the topics of one name, and an offset contains that
number (`GENERATION`): positions of the new topic sort after those of the old one (docs/adr/0030).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
from pyspark.sql.datasource import InputPartition

from streaming.source import GENERATION, HEARTBEAT

Partition = tuple[str, int]
Offsets = dict[Partition, int]
"""Position of a stream: a whole number that rises along a partition. 0 is before all messages."""
Wire = dict[str, dict[str, int]]

ROWS_WORTH_A_TASK = 2_500


class DataLossError(Exception):
    """Offsets that the stream still needs are gone from the broker (expired, or a new topic)."""


class TopicRemadeError(DataLossError):
    """A topic was deleted and created again while it was read; the source must be restarted."""


@dataclass(frozen=True)
class Limit:
    """Limits of one read.

    Attributes:
        rows: at most.
        bytes: of keys, values and headers, at most; a single larger row is read alone.
    """

    rows: int
    bytes: int


@dataclass(frozen=True)
class Range(InputPartition):
    """Offsets [start, end) of one partition."""

    topic: str
    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class Task(InputPartition):
    """Ranges that one Spark task reads.

    Attributes:
        ranges: of the log.
        heartbeat: time of the heartbeat row that it emits, in microseconds since 1970 in UTC.
    """

    ranges: tuple[Range, ...]
    heartbeat: int | None = None


class Log(Protocol):
    """One broker, for the planner and the tasks."""

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """Every partition of the subscribed topics with its first and its next offset."""
        ...

    def check(self, position: Offsets) -> None:
        """Raise `DataLossError` where `position` is not in the log (any more)."""
        ...

    def poll(self, position: Offsets, limit: Limit) -> tuple[pa.RecordBatch | None, Offsets]:
        """Present rows from `position` on, within `limit`; and their end offsets.

        Never waits for data. Raises `DataLossError` where `position` is not in the log.
        """
        ...

    def advance(self, position: Offsets, limit: Limit) -> tuple[Offsets, int]:
        """End offsets of rows from `position` on in `limit`; and the rows waiting, or `limit.rows`.

        Raises `DataLossError` where `position` is not in the log.
        """
        ...

    def origin(self, offset: int) -> int:
        """Offset of the first message ever in the topic of this offset."""
        ...

    def topic_ids(self) -> dict[str, str]:
        """Topic -> its unique id; without topics that have none."""
        ...

    def behind(self, position: Offsets) -> int:
        """Number of messages after `position`; reads none, and raises no `DataLossError`."""
        ...

    def split(self, ranges: Sequence[Range], tasks: int) -> list[Task]:
        """Distribute the ranges, of whole partitions, over at most `tasks` tasks (`split`)."""
        ...

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        """All rows of the ranges, in order within a partition. Raises `DataLossError`."""
        ...

    def commit(self, offsets: Offsets) -> None:
        """Report finished offsets to the broker: for its tools, and so that it may expire them."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class DenseLog(Log):
    """The part of `Log` that is common where the difference of two offsets is a number of rows."""

    def check(self, position: Offsets) -> None:
        """Compare with the bounds."""
        self._compare(position, self.bounds())

    def _compare(self, position: Offsets, bounds: Mapping[Partition, tuple[int, int]]) -> None:
        for partition, offset in position.items():
            first = self.origin(offset)
            low, high = bounds.get(partition, (first, first))
            if not low <= offset <= high:
                raise lost_offset(partition, offset, low, high)

    def advance(self, position: Offsets, limit: Limit) -> tuple[Offsets, int]:
        """Distribute the rows by count, then read them to apply the limit of bytes."""
        bounds = self.bounds()
        self._compare(position, bounds)
        high = {p: bounds[p][1] for p in bounds}
        start = {p: position.get(p, self.origin(high[p])) for p in high}
        waiting = sum(high[p] - start[p] for p in high)
        if not waiting:
            return start, 0
        return self._within(start, share_out(start, high, limit.rows), limit.bytes), waiting

    def _within(self, start: Offsets, end: Offsets, most: int) -> Offsets:
        """Offsets where the rows from `start` on reach `most` bytes, or `end`; at least one row."""
        raise NotImplementedError

    def origin(self, offset: int) -> int:
        """Offset 0 of the generation."""
        return offset - offset % GENERATION

    def behind(self, position: Offsets) -> int:
        """By the difference of offsets."""
        return sum(
            max(0, high - max(low, position.get(partition, 0)))
            for partition, (low, high) in self.bounds().items()
        )

    def split(self, ranges: Sequence[Range], tasks: int) -> list[Task]:
        """By the difference of offsets."""
        return split({r: r.end - r.start for r in ranges}, tasks)


def lost(partition: Partition, stands: str, held: str) -> DataLossError:
    """The error of a stream whose position is not in the log (any more)."""
    topic, number = partition
    return DataLossError(
        f"{topic}[{number}]: the stream stands at {stands}, the broker holds {held}. Events were "
        "deleted before they were read. Set onDataLoss=continue to go on with what is there."
    )


def lost_offset(partition: Partition, offset: int, low: int, high: int) -> DataLossError:
    """The error of a stream at an offset outside of [low, high], all with their generations."""
    if offset // GENERATION == high // GENERATION:
        held = f"[{low % GENERATION}, {high % GENERATION})"
        return lost(partition, f"offset {offset % GENERATION}", held)
    topic, number = partition
    return DataLossError(
        f"{topic}[{number}]: the topic was deleted and made again; the stream stands at offset "
        f"{offset % GENERATION} of the old one, and events that it had not read there are gone. "
        "Set onDataLoss=continue to read the new one from its start."
    )


def to_wire(offsets: Offsets, heartbeat: int = 0) -> Wire:
    """{(topic, 0): 5} -> {"topic": {"0": 5}}, sorted: Spark compares offsets as text.

    Args:
        offsets: of the log.
        heartbeat: time of the newest heartbeat, which is a part of the wire offset: a new one makes
            a micro-batch, and a batch that is repeated has the same one. 0: none.
    """
    wire: Wire = {HEARTBEAT: {"0": heartbeat}} if heartbeat else {}
    for (topic, partition), offset in sorted(offsets.items()):
        wire.setdefault(topic, {})[str(partition)] = offset
    return wire


def from_wire(wire: Wire) -> Offsets:
    """The offsets of the log in a wire offset, without the heartbeat."""
    return {
        (topic, int(partition)): offset
        for topic, parts in wire.items()
        if topic != HEARTBEAT
        for partition, offset in parts.items()
    }


def heartbeat_of(wire: Wire) -> int:
    """Time of the newest heartbeat of a wire offset; 0 before the first."""
    return wire.get(HEARTBEAT, {}).get("0", 0)


def share_out(start: Offsets, high: Offsets, limit: int) -> Offsets:
    """The end of the next batch: at most `limit` offsets, in proportion to the rows waiting.

    Every partition with something waiting moves by at least one, unless `limit` is smaller than
    their number.
    """
    waiting = {p: max(0, high[p] - start.get(p, 0)) for p in high}
    total = sum(waiting.values())
    if total <= limit:
        return {p: max(high[p], start.get(p, 0)) for p in high}
    end, left = {p: start.get(p, 0) for p in high}, limit
    queue = sorted(((n, p) for p, n in waiting.items() if n), key=lambda item: item[0])
    for behind, (count, partition) in zip(reversed(range(len(queue))), queue, strict=True):
        # Leave one offset for each partition later in the queue, which has more rows waiting.
        room = max(min(left, 1), left - behind)
        step = min(count, room, -(-limit * count // total))
        end[partition] += step
        left -= step
    return end


def split(sizes: Mapping[Range, int], tasks: int) -> list[Task]:
    """At most `tasks` shares of whole partitions, the largest first; few rows are one task.

    A task that holds whole partitions may commit its rows with their positions by itself.

    Args:
        sizes: rows of each range, exact or estimated; one range a partition.
        tasks: at most.
    """
    shares = max(1, min(tasks, len(sizes), sum(sizes.values()) // ROWS_WORTH_A_TASK))
    buckets: list[list[Range]] = [[] for _ in range(shares)]
    for piece in sorted(sizes, key=lambda r: -sizes[r]):
        min(buckets, key=lambda b: sum(sizes[r] for r in b)).append(piece)
    return [Task(tuple(bucket)) for bucket in buckets if bucket]

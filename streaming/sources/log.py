"""What every partitioned log (Kafka, Pulsar, the memory log) has in common as a Spark source.

A broker module implements `Log`; this module turns it into a Python Data Source with Spark's
promises. Where offsets are counted without gaps, `DenseLog` has a part of `Log` already.

Delivery guarantee: offsets live in Spark's checkpoint, and a batch is a half-open range of offsets
per partition. A batch that is run again reads the same range, so the source is replayable and, with
an idempotent sink, the stream is exactly-once in effect. Nothing is skipped: an offset that the
broker has already deleted is an error (`onDataLoss=fail`) or a logged jump (`continue`).

Bounded: no batch holds more than `maxRowsPerBatch` rows, nor more than `maxBytesPerBatch` of keys,
values and headers unless it is a single row; also the first one after a restart, because Spark
tells the reader where it stopped before it asks for the latest offset. Sizes are known only once
messages are read, so the planner reads a batch ahead of the tasks and keeps no more than one.

A topic that was deleted and made again under its name is another topic. Where a broker gives topics
ids, option `topicGenerations` numbers the topics of one name, and an offset contains that number
(`GENERATION`): whatever sorts positions sorts the new topic behind the old one (docs/adr/0030).

Cheap at a trickle: up to `prefetchRows` waiting rows are read by the planner process on the
driver, through a consumer that stays open, and handed to Spark with the plan. Such a batch starts
no Python worker. Anything larger is split into at most `readTasks` tasks, evenly and whatever the
number of broker partitions in a dense log. The hand-over is what PySpark 4.1 does for its own
`SimpleDataSourceStreamReader`.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, Protocol, cast

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.datasource_internal import _SimpleStreamReaderWrapper
from pyspark.sql.types import StructType

from streaming.source import GENERATION, SOURCE_DDL, SOURCE_SCHEMA

log = logging.getLogger(__name__)

Partition = tuple[str, int]
Offsets = dict[Partition, int]
"""Where a stream stands: a whole number that rises along a partition. 0 is before everything."""
Wire = dict[str, dict[str, int]]


ROWS_WORTH_A_TASK = 2_500


class DataLossError(Exception):
    """Offsets that the stream still needs are gone from the broker (expired, or a new topic)."""


class TopicRemadeError(DataLossError):
    """A topic was deleted and made again while it was read; its source is to be started again."""


@dataclass(frozen=True)
class Limit:
    """How much may be read at once.

    Attributes:
        rows: at most.
        bytes: of keys, values and headers, at most; one row that is larger is read alone.
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
    """What one Spark task reads."""

    ranges: tuple[Range, ...]


@dataclass(frozen=True)
class Subscription:
    """Which topics: some by name, or all that fit a pattern, those made later included.

    Attributes:
        names: of the topics.
        pattern: a regular expression for the whole name; then there are no names.
    """

    names: tuple[str, ...] = ()
    pattern: str | None = None

    def among(self, present: Iterable[str]) -> list[str]:
        """The topics to read, sorted.

        Raises:
            LookupError: a named topic is not present, or none fits the pattern.
        """
        there = set(present)
        for name in self.names:
            if name not in there:
                raise LookupError(f"topic {name} does not exist; `storelake up` makes the topics")
        if self.pattern is None:
            return sorted(self.names)
        found = sorted(name for name in there if re.fullmatch(self.pattern, name))
        if not found:
            raise LookupError(f"no topic fits the pattern {self.pattern}")
        return found


class Log(Protocol):
    """One broker, as the planner and the tasks see it."""

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """Every partition of the subscribed topics with its first and its next offset."""
        ...

    def at_time(self, moment: datetime) -> Offsets:
        """Of every partition the first offset at or after a time, or its next one."""
        ...

    def check(self, position: Offsets) -> None:
        """Raise `DataLossError` where `position` is not in the log (any more)."""
        ...

    def poll(self, position: Offsets, limit: Limit) -> tuple[pa.RecordBatch | None, Offsets]:
        """Rows that are there now, from `position` on, within `limit`; and where they end.

        Never waits for data. Raises `DataLossError` where `position` is not in the log.
        """
        ...

    def advance(self, position: Offsets, limit: Limit) -> tuple[Offsets, int]:
        """Where rows within `limit` from `position` on end; and how many wait, or `limit.rows`.

        Raises `DataLossError` where `position` is not in the log.
        """
        ...

    def origin(self, offset: int) -> int:
        """The offset of the first message that the topic of this offset has ever had."""
        ...

    def topic_ids(self) -> dict[str, str]:
        """Topic -> its id, which no other topic has ever; without topics that have none."""
        ...

    def behind(self, position: Offsets) -> int:
        """How many messages lie behind `position`; nothing is read, and nothing raised for loss."""
        ...

    def split(self, ranges: Sequence[Range], tasks: int) -> list[Task]:
        """Cut ranges into at most `tasks` fair shares; a small batch stays one task."""
        ...

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        """All rows of the ranges, in order within a partition. Raises `DataLossError`."""
        ...

    def commit(self, offsets: Offsets) -> None:
        """Tell the broker what is done: for its own tools, and so that it may forget that."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


class DenseLog:
    """The part of `Log` that follows where the difference of two offsets is a number of rows."""

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """See `Log.bounds`."""
        raise NotImplementedError

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
        """Share out the rows by count, then read them to stay within the bytes."""
        bounds = self.bounds()
        self._compare(position, bounds)
        high = {p: bounds[p][1] for p in bounds}
        start = {p: position.get(p, self.origin(high[p])) for p in high}
        waiting = sum(high[p] - start[p] for p in high)
        if not waiting:
            return start, 0
        return self._within(start, share_out(start, high, limit.rows), limit.bytes), waiting

    def _within(self, start: Offsets, end: Offsets, most: int) -> Offsets:
        """Where the rows from `start` on reach `most` bytes; `end` where they do not.

        At least one row is taken where one is there.
        """
        raise NotImplementedError

    def origin(self, offset: int) -> int:
        """The offset 0 of the generation."""
        return offset - offset % GENERATION

    def behind(self, position: Offsets) -> int:
        """By the difference of offsets."""
        return sum(
            max(0, high - max(low, position.get(partition, 0)))
            for partition, (low, high) in self.bounds().items()
        )

    def split(self, ranges: Sequence[Range], tasks: int) -> list[Task]:
        """Evenly, to the row."""
        return split(ranges, tasks)


def lost(partition: Partition, stands: str, held: str) -> DataLossError:
    """The error of a stream that stands where the log does not reach (any more)."""
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


@dataclass(frozen=True)
class Generation:
    """Which of the topics of one name is read.

    Attributes:
        topic_id: as the broker has it.
        number: how many topics the name had before.
    """

    topic_id: str
    number: int


@dataclass(frozen=True)
class ReadOptions:
    """The options of a log source, parsed from Spark's (case-insensitive) option map."""

    topics: Subscription
    starting: str = "earliest"
    starting_time: datetime | None = None
    max_rows: int = 20_000
    max_bytes: int = 32 * 1024 * 1024
    prefetch_rows: int = 2_000
    tasks: int = 2
    on_data_loss: str = "fail"
    generations: Mapping[str, Generation] = field(default_factory=dict)

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> ReadOptions:
        """Check the options; `ValueError` names the one that does not fit."""
        given = {k.lower(): v for k, v in options.items()}
        names = tuple(t.strip() for t in given.get("subscribe", "").split(",") if t.strip())
        topics = Subscription(names, given.get("subscribepattern"))
        if bool(topics.names) == bool(topics.pattern):
            raise ValueError("option 'subscribe' or 'subscribePattern' must name topics, not both")
        starting = given.get("startingoffsets", "earliest")
        if starting not in ("earliest", "latest") and not _is_json_object(starting):
            raise ValueError("option 'startingOffsets' is earliest, latest, or JSON by topic")
        loss = given.get("ondataloss", "fail")
        if loss not in ("fail", "continue"):
            raise ValueError("option 'onDataLoss' is fail or continue")
        return cls(
            topics,
            starting,
            _moment(given.get("startingtimestamp")),
            max_rows=_whole_number(given, "maxRowsPerBatch", cls.max_rows, at_least=1),
            max_bytes=_whole_number(given, "maxBytesPerBatch", cls.max_bytes, at_least=1),
            prefetch_rows=_whole_number(given, "prefetchRows", cls.prefetch_rows, at_least=0),
            tasks=_whole_number(given, "readTasks", cls.tasks, at_least=1),
            on_data_loss=loss,
            generations={
                topic: Generation(*known)
                for topic, known in json.loads(given.get("topicgenerations", "{}")).items()
            },
        )


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _moment(millis: str | None) -> datetime | None:
    """Option `startingTimestamp`: milliseconds since 1970 in UTC, as in Spark's Kafka source."""
    if millis is None:
        return None
    if not (millis.isascii() and millis.isdigit()):
        raise ValueError("option 'startingTimestamp' is a number of milliseconds since 1970")
    return datetime.fromtimestamp(int(millis) / 1000, tz=timezone.utc)


def _whole_number(given: Mapping[str, str], option: str, default: int, at_least: int) -> int:
    text = given.get(option.lower(), str(default))
    if not text.isascii() or not text.isdigit() or int(text) < at_least:
        raise ValueError(f"option {option!r} is a whole number of at least {at_least}")
    return int(text)


def to_wire(offsets: Offsets) -> Wire:
    """{(topic, 0): 5} -> {"topic": {"0": 5}}, sorted: Spark compares offsets as text."""
    wire: Wire = {}
    for (topic, partition), offset in sorted(offsets.items()):
        wire.setdefault(topic, {})[str(partition)] = offset
    return wire


def from_wire(wire: Wire) -> Offsets:
    """The inverse of `to_wire`."""
    return {(t, int(p)): o for t, parts in wire.items() for p, o in parts.items()}


def share_out(start: Offsets, high: Offsets, limit: int) -> Offsets:
    """The end of the next batch: at most `limit` offsets, shared in proportion to what waits.

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
        # One offset stays for each of those behind in the queue, which wait for more.
        room = max(min(left, 1), left - behind)
        step = min(count, room, max(1, limit * count // total))
        end[partition] += step
        left -= step
    return end


def split(ranges: Sequence[Range], tasks: int) -> list[Task]:
    """Cut ranges into at most `tasks` even shares; a small batch stays one task."""
    total = sum(r.end - r.start for r in ranges)
    if not total:
        return []
    shares = max(1, min(tasks, total // ROWS_WORTH_A_TASK))
    size = -(-total // shares)
    buckets: list[list[Range]] = [[]]
    room = size
    for piece in ranges:
        start = piece.start
        while start < piece.end:
            if room == 0:
                buckets.append([])
                room = size
            step = min(room, piece.end - start)
            buckets[-1].append(Range(piece.topic, piece.partition, start, start + step))
            start += step
            room -= step
    return [Task(tuple(b)) for b in buckets]


def _ranges(broker: Log, start: Offsets, end: Offsets) -> list[Range]:
    """The non-empty ranges between two offsets; a partition new in `end` starts at its first."""
    spans = ((p, start.get(p, broker.origin(e)), e) for p, e in sorted(end.items()))
    return [Range(t, n, s, e) for (t, n), s, e in spans if e > s]


def _present(ranges: Sequence[Range], bounds: Mapping[Partition, tuple[int, int]]) -> list[Range]:
    """What of the ranges the broker still holds."""
    held = ((r, *bounds.get((r.topic, r.partition), (0, 0))) for r in ranges)
    cut = (replace(r, start=max(r.start, low), end=min(r.end, high)) for r, low, high in held)
    return [r for r in cut if r.end > r.start]


class LogBatchReader(DataSourceReader):
    """`spark.read.format(...)`: everything from startingOffsets to what is there now."""

    def __init__(self, broker: Log, options: ReadOptions) -> None:
        self._broker, self._options = broker, options

    def partitions(self) -> Sequence[InputPartition]:
        """Plan once, on the driver."""
        bounds = self._broker.bounds()
        ends = {p: bounds[p][1] for p in bounds}
        ranges = _ranges(self._broker, _start(self._broker, self._options), ends)
        return self._broker.split(ranges, 1_000) or [Task(())]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Read one task's ranges as Arrow batches."""
        return self._broker.fetch(cast(Task, partition).ranges)


def _start(broker: Log, options: ReadOptions) -> Offsets:
    """Where a read without a checkpoint starts; a time comes before `startingOffsets`."""
    if options.starting_time is not None:
        return broker.at_time(options.starting_time)
    return starting_offsets(broker.bounds(), options.starting, broker.origin)


def starting_offsets(
    bounds: Mapping[Partition, tuple[int, int]],
    starting: str,
    origin: Callable[[int], int] = lambda _: 0,
) -> Offsets:
    """Where a new stream starts: earliest, latest, or JSON such as {"topic": {"0": 5}}.

    Offsets in JSON are those of the broker; `origin` of `Log` places them in their generation.
    In JSON -2 is the earliest and -1 the latest offset, as in Spark's own Kafka source. A
    partition that the JSON does not name starts at its earliest offset.
    """
    if starting == "latest":
        return {p: high for p, (_, high) in bounds.items()}
    offsets = {p: low for p, (low, _) in bounds.items()}
    if starting != "earliest":
        for partition, offset in from_wire(json.loads(starting)).items():
            if partition not in bounds:
                raise ValueError(f"startingOffsets names {partition}, which does not exist")
            low, high = bounds[partition]
            first = origin(high)
            here = offset if offset >= first else first + offset
            offsets[partition] = {-2: low, -1: high}.get(offset, here)
    return offsets


class LogStreamReader(_SimpleStreamReaderWrapper):
    """`spark.readStream.format(...)`: see the module's docstring for what it guarantees.

    It inherits from PySpark's prefetching wrapper only to be recognised as one; every method that
    Spark calls is its own.
    """

    def __init__(self, broker: Log, options: ReadOptions) -> None:
        self._broker, self._options = broker, options
        self._position: Offsets | None = None
        self._behind = True
        self._prefetched: list[tuple[Wire, Wire, pa.RecordBatch]] = []

    def initialOffset(self) -> Wire:  # noqa: N802  (Spark's name)
        """Where a stream without a checkpoint starts."""
        return to_wire(_start(self._broker, self._options))

    def latestOffset(self) -> Wire:  # noqa: N802
        """The end of the next batch; equal to the last one when nothing waits."""
        if self._position is None:
            self._position = from_wire(self.initialOffset())
        try:
            self._position = self._advance(self._position)
        except DataLossError as loss:
            if self._options.on_data_loss == "fail":
                self._broker.check(self._position)
                raise
            log.warning("data loss, continuing by option: %s", loss)
            self._position = self._into_bounds(self._position)
        return to_wire(self._position)

    def _advance(self, position: Offsets) -> Offsets:
        options = self._options
        limit = min(options.prefetch_rows, options.max_rows)
        if not self._behind and limit:
            rows, end = self._broker.poll(position, Limit(limit, options.max_bytes))
            if rows is None or rows.num_rows < limit:
                if rows is not None:
                    self._prefetched.append((to_wire(position), to_wire(end), rows))
                return end
        end, waiting = self._broker.advance(position, Limit(options.max_rows, options.max_bytes))
        # Behind by a whole prefetch: plan tasks, and ask the broker first next time, too.
        self._behind = waiting >= max(limit, 1)
        return end

    def _into_bounds(self, position: Offsets) -> Offsets:
        return {
            p: (low if not low <= position.get(p, low) <= high else position.get(p, low))
            for p, (low, high) in self._broker.bounds().items()
        }

    def partitions(self, start: Wire, end: Wire) -> Sequence[InputPartition]:
        """Plan [start, end); start == end after a restart, which says where the stream stands."""
        if self._position is None:
            self._position = from_wire(end)
        if self.getCache(start, end) is not None:
            return [Task(())]
        ranges = _ranges(self._broker, from_wire(start), from_wire(end))
        if self._options.on_data_loss == "continue":
            ranges = _present(ranges, self._broker.bounds())
        return self._broker.split(ranges, self._options.tasks)

    def getCache(self, start: Wire, end: Wire) -> Iterator[Any] | None:  # type: ignore[override]  # noqa: N802
        """The prefetched rows of exactly [start, end), or None: then tasks read them."""
        found: list[pa.RecordBatch] = []
        at = start
        for from_, to, rows in self._prefetched:
            if from_ == at and at != end:
                found.append(rows)
                at = to
        return iter(found) if found and at == end else None

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Read one task's ranges as Arrow batches, in a Python worker."""
        return self._broker.fetch(cast(Task, partition).ranges)

    def commit(self, end: Wire) -> None:
        """Forget prefetched rows up to `end`, and tell the broker's tools how far we are."""
        done = from_wire(end)
        self._prefetched = [
            (s, e, rows)
            for s, e, rows in self._prefetched
            if any(o > done.get(p, 0) for p, o in from_wire(e).items())
        ]
        self._broker.commit(done)

    def stop(self) -> None:
        """Close the planner's consumer."""
        self._broker.close()


def to_arrow(rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows in the order of `SOURCE_SCHEMA` -> one Arrow batch."""
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(SOURCE_SCHEMA)
    arrays = [
        pa.array(column, type=field.type)
        for column, field in zip(columns, SOURCE_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SOURCE_SCHEMA)


class LogSource(DataSource):
    """What `format("storelake_<broker>")` is for every broker: batch and streaming."""

    def open_log(self) -> Log:
        """The broker that `self.options` name."""
        raise NotImplementedError

    def schema(self) -> str:
        """A source row, whatever the broker."""
        return SOURCE_DDL

    def reader(self, schema: StructType) -> LogBatchReader:  # noqa: ARG002
        """For `spark.read`."""
        return LogBatchReader(self.open_log(), ReadOptions.parse(self.options))

    def streamReader(self, schema: StructType) -> LogStreamReader:  # noqa: N802, ARG002
        """For `spark.readStream`."""
        return LogStreamReader(self.open_log(), ReadOptions.parse(self.options))

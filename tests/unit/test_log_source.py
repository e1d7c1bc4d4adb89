"""What every partitioned log guarantees as a Spark source, on a log in a list."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.source import HEARTBEAT, PACKED_SCHEMA, SOURCE_SCHEMA, unpacked
from streaming.sources.log import (
    ROWS_WORTH_A_TASK,
    DataLossError,
    DenseLog,
    Limit,
    Offsets,
    Partition,
    Range,
    Task,
    Wire,
    from_wire,
    heartbeat_of,
    share_out,
    split,
    to_wire,
)
from streaming.sources.options import ReadOptions
from streaming.sources.readers import LogBatchReader, LogStreamReader, starting_offsets
from streaming.sources.rows import to_arrow

A, B = ("orders", 0), ("orders", 1)
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)

quick = settings(max_examples=50, deadline=None)
partitions = st.tuples(st.sampled_from(["orders", "returns"]), st.integers(0, 9))
offsets = st.dictionaries(partitions, st.integers(0, 5_000), min_size=1, max_size=12)


class FakeLog(DenseLog):
    """A `Log` over the ends of partitions: the value of a row is its offset."""

    def __init__(self, **ends: int) -> None:
        self.low: Offsets = {("orders", int(n[1:])): 0 for n in ends}
        self.high: Offsets = {("orders", int(n[1:])): end for n, end in ends.items()}
        self.committed: list[Offsets] = []
        self.polled: list[int] = []
        self.closed = False

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        return {p: (self.low[p], self.high[p]) for p in self.high}

    def topic_ids(self) -> dict[str, str]:
        return {}

    def poll(self, position: Offsets, limit: Limit) -> tuple[pa.RecordBatch | None, Offsets]:
        self.polled.append(limit.rows)
        left, ranges, end = limit.rows, [], {}
        for partition, (low, high) in self.bounds().items():
            start = position.get(partition, 0)
            if start < low:
                raise DataLossError(f"{partition} has lost {start}")
            end[partition] = min(high, start + left)
            left -= end[partition] - start
            ranges.append(Range(*partition, start, end[partition]))
        rows = [row for piece in ranges for row in _rows(piece)]
        return (to_arrow(rows) if rows else None), end

    def _within(self, start: Offsets, end: Offsets, most: int) -> Offsets:
        return end

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        for piece in ranges:
            if piece.start < self.low[piece.topic, piece.partition]:
                raise DataLossError(f"{piece} is gone")
            yield to_arrow(list(_rows(piece)))

    def commit(self, offsets: Offsets) -> None:
        self.committed.append(offsets)

    def close(self) -> None:
        self.closed = True


def _rows(piece: Range) -> Iterator[tuple[Any, ...]]:
    for offset in range(piece.start, piece.end):
        value = str(offset).encode()
        yield None, value, piece.topic, piece.partition, f"{offset:020d}", NOON, None


def options(**overrides: str) -> ReadOptions:
    return ReadOptions.parse({"subscribe": "orders", **overrides})


def wire(p0: int, p1: int | None = None) -> Wire:
    return to_wire({A: p0} if p1 is None else {A: p0, B: p1})


def places(batches: Iterator[pa.RecordBatch] | None) -> list[tuple[int, int]]:
    """(partition, offset) of every row."""
    assert batches is not None
    tables = (unpacked(b) if b.schema == PACKED_SCHEMA else b for b in batches)
    return [(row["partition"], int(row["position"])) for rows in tables for row in rows.to_pylist()]


def consume(reader: LogStreamReader, start: Wire, end: Wire) -> list[tuple[int, int]]:
    """The rows of a batch as Spark gets them: handed over with the plan, or read by tasks."""
    tasks = reader.partitions(start, end)
    cached = reader.getCache(start, end)
    if cached is not None:
        return places(cached)
    return [place for task in tasks for place in places(reader.read(task))]


def drain(reader: LogStreamReader, start: Wire, calls: int = 10) -> list[list[tuple[int, int]]]:
    """Batches up to the end of the log, in the order in which Spark calls a reader."""
    batches = []
    for _ in range(calls):
        end = reader.latestOffset()
        if end != start:
            batches.append(consume(reader, start, end))
            reader.commit(end)
            start = end
    return batches


# Shares of a batch


@quick
@given(start=offsets, waiting=offsets, limit=st.integers(1, 20_000))
def test_a_batch_is_filled_to_its_limit(start: Offsets, waiting: Offsets, limit: int) -> None:
    high = {p: start.get(p, 0) + n for p, n in waiting.items()}
    end = share_out(start, high, limit)
    assert sum(end[p] - start.get(p, 0) for p in high) == min(limit, sum(waiting.values()))


@quick
@given(start=offsets, high=offsets, limit=st.integers(1, 20_000))
def test_a_batch_never_ends_behind_what_is_there_or_before_its_start(
    start: Offsets, high: Offsets, limit: int
) -> None:
    end = share_out(start, high, limit)
    assert all(start.get(p, 0) <= e <= max(high[p], start.get(p, 0)) for p, e in end.items())


@quick
@given(waiting=offsets, limit=st.integers(12, 20_000))
def test_every_partition_with_something_waiting_moves(waiting: Offsets, limit: int) -> None:
    end = share_out({}, waiting, limit)
    assert all(end[p] > 0 for p, n in waiting.items() if n)


def test_the_busiest_partition_moves_when_many_quiet_ones_come_first() -> None:
    waiting = {("orders", n): 1 for n in range(8)} | {("orders", 8): 1_000, ("orders", 9): 1_001}
    assert min(share_out({}, waiting, 10).values()) == 1


def test_a_quiet_partition_is_not_starved_by_a_busy_one() -> None:
    assert share_out({}, {A: 3, B: 1_000_000}, 100) == {A: 1, B: 99}


def test_equally_full_partitions_share_a_batch_equally() -> None:
    assert share_out({}, {A: 500, B: 500}, 100) == {A: 50, B: 50}


def test_what_fits_is_taken_whole() -> None:
    assert share_out({A: 5}, {A: 9, B: 6}, 10) == {A: 9, B: 6}


@quick
@given(
    waiting=st.dictionaries(partitions, st.integers(0, 40), min_size=1, max_size=6),
    limit=st.integers(1, 50),
)
def test_repeated_batches_reach_the_end_of_every_partition(waiting: Offsets, limit: int) -> None:
    position: Offsets = {}
    for _ in range(sum(waiting.values()) + 1):
        if position == waiting:
            break
        after = share_out(position, waiting, limit)
        assert after != position
        position = after
    assert position == waiting


# Tasks


def test_nothing_to_read_needs_no_task() -> None:
    assert split({}, 4) == []


def test_a_trickle_is_one_task_however_many_partitions_it_comes_from() -> None:
    sizes = {Range("orders", n, 0, 10): 10 for n in range(12)}
    assert split(sizes, 4) == [Task(tuple(sizes))]


@quick
@given(sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=8), tasks=st.integers(1, 6))
def test_each_partition_is_whole_in_one_task_and_tasks_differ_by_at_most_one(
    sizes: list[int], tasks: int
) -> None:
    ranges = {Range("orders", n, 7, 7 + size): size for n, size in enumerate(sizes)}
    shares = split(ranges, tasks)

    assert len(shares) <= max(1, min(tasks, sum(sizes) // ROWS_WORTH_A_TASK))
    assert sorted(r.partition for share in shares for r in share.ranges) == [*range(len(sizes))]
    amounts = [sum(ranges[r] for r in share.ranges) for share in shares]
    assert max(amounts) - min(amounts) <= max(sizes)


# Offsets on the wire


@quick
@given(offsets)
def test_offsets_come_back_from_the_checkpoint(known: Offsets) -> None:
    assert from_wire(json.loads(json.dumps(to_wire(known)))) == known


def test_equal_offsets_are_equal_text_whatever_the_order_they_were_met_in() -> None:
    # Partition 10 after 2: by number, not by text.
    met = [("b", 10), ("b", 2), ("a", 1)]
    texts = {json.dumps(to_wire(dict.fromkeys(order, 5))) for order in (met, met[::-1])}
    assert texts == {'{"a": {"1": 5}, "b": {"2": 5, "10": 5}}'}


# Options


def test_options_are_found_in_any_case() -> None:
    parsed = ReadOptions.parse({"SUBSCRIBE": "a, b,", "MaxRowsPerBatch": "7", "ONDATALOSS": "fail"})
    assert (parsed.topics.names, parsed.max_rows) == (("a", "b"), 7)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"subscribe": " , "}, "subscribe"),
        ({"startingOffsets": "yesterday"}, "startingOffsets"),
        ({"startingOffsets": "{broken"}, "startingOffsets"),
        ({"onDataLoss": "ignore"}, "onDataLoss"),
        ({"maxRowsPerBatch": "many"}, "maxRowsPerBatch"),
        ({"maxRowsPerBatch": "0"}, "maxRowsPerBatch"),
        ({"readTasks": "0"}, "readTasks"),
        ({"prefetchRows": "-1"}, "prefetchRows"),
        ({"prefetchRows": "2.5"}, "prefetchRows"),
    ],
)
def test_an_option_that_does_not_fit_is_named(given: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        options(**given)


# Where a new stream starts


@pytest.mark.parametrize(
    ("starting", "expected"),
    [
        ("earliest", {A: 3, B: 0}),
        ("latest", {A: 9, B: 4}),
        ('{"orders": {"0": 5}}', {A: 5, B: 0}),
        ('{"orders": {"0": -1, "1": -2}}', {A: 9, B: 0}),
    ],
)
def test_a_new_stream_starts_where_its_option_states(starting: str, expected: Offsets) -> None:
    assert starting_offsets({A: (3, 9), B: (0, 4)}, starting) == expected


def test_a_start_in_a_partition_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="returns"):
        starting_offsets({A: (3, 9)}, '{"returns": {"0": 5}}')


def test_a_stream_that_starts_at_latest_reads_only_what_comes_then() -> None:
    broker = FakeLog(p0=5)
    reader = LogStreamReader(broker, options(startingOffsets="latest"))
    start = reader.initialOffset()
    assert drain(reader, start) == []
    broker.high[A] = 7
    assert drain(reader, start) == [[(0, 5), (0, 6)]]


# A stream


def test_the_first_batch_after_a_restart_is_bounded_and_starts_where_the_last_one_ended() -> None:
    reader = LogStreamReader(FakeLog(p0=100), options(maxRowsPerBatch="10"))
    stood = wire(40)
    assert reader.partitions(stood, stood) == []  # Spark states where the stream stands
    end = reader.latestOffset()
    assert end == wire(50)
    assert consume(reader, stood, end) == [(0, n) for n in range(40, 50)]


@pytest.mark.parametrize("waiting", [35, 40, 10, 1])
def test_everything_that_waits_is_read_once_in_batches_of_at_most_the_limit(waiting: int) -> None:
    reader = LogStreamReader(FakeLog(p0=waiting), options(maxRowsPerBatch="10"))
    batches = drain(reader, wire(0))
    assert [place for batch in batches for place in batch] == [(0, n) for n in range(waiting)]
    assert max(len(batch) for batch in batches) <= 10


@pytest.mark.parametrize("packed", ["true", "false"])
@pytest.mark.parametrize("prefetch", ["0", "1", "3", "2000"])
def test_backlog_and_trickle_read_the_same_rows(prefetch: str, packed: str) -> None:
    broker = FakeLog(p0=0, p1=0)
    reader = LogStreamReader(broker, options(prefetchRows=prefetch, packed=packed))
    start, seen = wire(0, 0), []
    for _ in range(6):
        broker.high = {p: high + 3 for p, high in broker.high.items()}
        for batch in drain(reader, start):
            seen += batch
        start = to_wire(broker.high)
    assert sorted(seen) == [(p, n) for p in (0, 1) for n in range(18)]


def test_what_waits_at_the_start_is_in_the_first_batch() -> None:
    reader = LogStreamReader(FakeLog(p0=2), options())
    assert reader.latestOffset() == wire(2)
    assert consume(reader, wire(0), wire(2)) == [(0, 0), (0, 1)]


def awake(**ends: int) -> tuple[FakeLog, LogStreamReader]:
    """A stream at the end of an empty log, which then gets rows up to these ends."""
    broker = FakeLog(**dict.fromkeys(ends, 0))
    reader = LogStreamReader(broker, options())
    reader.latestOffset()
    broker.high = FakeLog(**ends).high
    return broker, reader


def test_a_few_rows_that_arrive_are_handed_over_with_the_plan() -> None:
    _, reader = awake(p0=2, p1=1)
    end = reader.latestOffset()

    assert end == wire(2, 1)
    assert reader.partitions(wire(0, 0), end) == [Task(())]
    assert places(reader.getCache(wire(0, 0), end)) == [(0, 0), (0, 1), (1, 0)]


def test_a_hand_over_may_be_asked_for_twice() -> None:
    _, reader = awake(p0=2)
    end = reader.latestOffset()
    assert places(reader.getCache(wire(0), end)) == places(reader.getCache(wire(0), end))


def test_two_polls_for_one_batch_are_handed_over_together() -> None:
    broker, reader = awake(p0=2)
    reader.latestOffset()
    broker.high[A] = 5
    end = reader.latestOffset()
    assert places(reader.getCache(wire(0), end)) == [(0, n) for n in range(5)]


@pytest.mark.parametrize(
    ("start", "end"), [(wire(0), wire(1)), (wire(1), wire(2)), (wire(0), wire(3)), (wire(2),) * 2]
)
def test_other_ranges_than_the_polled_one_are_not_handed_over(start: Wire, end: Wire) -> None:
    _, reader = awake(p0=2)
    assert reader.latestOffset() == wire(2)
    assert reader.getCache(start, end) is None


def test_a_backlog_is_planned_as_tasks_of_whole_partitions() -> None:
    reader = LogStreamReader(FakeLog(p0=9_000, p1=6_000), options(readTasks="3"))
    end = reader.latestOffset()
    assert end == wire(9_000, 6_000)
    assert reader.getCache(wire(0, 0), end) is None
    assert [t.ranges for t in reader.partitions(wire(0, 0), end)] == [
        (Range("orders", 0, 0, 9_000),),
        (Range("orders", 1, 0, 6_000),),
    ]


def test_a_backlog_is_not_polled_for() -> None:
    broker = FakeLog(p0=9_000)
    reader = LogStreamReader(broker, options(maxRowsPerBatch="3000"))
    drain(reader, wire(0), calls=3)
    assert broker.polled == []


def test_a_committed_batch_is_dropped_and_published() -> None:
    broker, reader = awake(p0=2)
    first = reader.latestOffset()
    broker.high[A] = 3
    second = reader.latestOffset()
    reader.commit(first)

    assert reader.getCache(wire(0), first) is None
    assert places(reader.getCache(first, second)) == [(0, 2)]
    assert broker.committed == [{A: 2}]


def test_a_batch_in_doubt_is_read_again_from_the_log() -> None:
    reader = LogStreamReader(FakeLog(p0=9), options())
    assert consume(reader, wire(2), wire(6)) == [(0, n) for n in range(2, 6)]
    assert drain(reader, wire(6)) == [[(0, 6), (0, 7), (0, 8)]]


def test_a_partition_added_later_is_read_from_its_beginning() -> None:
    broker = FakeLog(p0=2)
    reader = LogStreamReader(broker, options())
    assert drain(reader, wire(0)) == [[(0, 0), (0, 1)]]
    broker.low[B], broker.high[B] = 0, 2
    assert drain(reader, wire(2)) == [[(1, 0), (1, 1)]]


def test_stopping_closes_the_connection() -> None:
    broker = FakeLog(p0=1)
    LogStreamReader(broker, options()).stop()
    assert broker.closed


# Heartbeats


def idle(seconds: float, broker: FakeLog) -> LogStreamReader:
    """A reader with heartbeats, whose clock is `seconds` after its last message."""
    reader = LogStreamReader(broker, options(heartbeatSeconds="60"))
    reader.latestOffset()
    reader._active_at -= seconds
    return reader


def test_an_idle_log_emits_a_heartbeat_with_the_time() -> None:
    start, before = wire(2), time.time_ns() // 1_000
    reader = idle(61, FakeLog(p0=2))

    end = reader.latestOffset()
    assert reader.getCache(start, end) is None
    (task,) = reader.partitions(start, end)
    (row,) = pa.Table.from_batches(reader.read(task)).to_pylist()

    assert (row["topic"], row["value"]) == (HEARTBEAT, None)
    assert before <= int(row["position"]) <= time.time_ns() // 1_000
    assert reader.latestOffset() == end


@pytest.mark.parametrize(("seconds", "arrives"), [(59, 0), (61, 1), (61, 9_000)])
def test_a_log_that_is_not_idle_emits_no_heartbeat(seconds: float, arrives: int) -> None:
    broker = FakeLog(p0=2)
    reader = idle(seconds, broker)
    broker.high[A] += arrives
    assert reader.latestOffset() == wire(2 + arrives)


def test_a_repeated_batch_has_the_same_heartbeat_and_the_rows_before_it() -> None:
    first = idle(61, FakeLog(p0=2))
    end = first.latestOffset()

    again = LogStreamReader(FakeLog(p0=2), options(heartbeatSeconds="60"))
    again.partitions(end, end)
    rows = [row for task in again.partitions(wire(1), end) for row in again.read(task)]

    table = pa.Table.from_batches(rows)
    assert table["position"].to_pylist() == [f"{1:020d}", f"{heartbeat_of(end):020d}"]
    assert again.latestOffset() == end


# Data loss


@pytest.mark.parametrize("waiting", [12, 9_000], ids=["trickle", "backlog"])
def test_events_deleted_before_they_were_read_stop_the_stream_with_the_offsets(
    waiting: int,
) -> None:
    broker = FakeLog(p0=waiting)
    reader = LogStreamReader(broker, options())
    reader.partitions(wire(4), wire(4))
    broker.low[A] = 10
    with pytest.raises(DataLossError, match=r"orders\[0\].* offset 4.*\[10, .*onDataLoss"):
        drain(reader, wire(4))


def test_a_log_that_is_shorter_than_what_was_read_is_data_loss() -> None:
    reader = LogStreamReader(FakeLog(p0=3), options())
    reader.partitions(wire(8), wire(8))
    with pytest.raises(DataLossError, match="offset 8"):
        reader.latestOffset()


@pytest.mark.parametrize("waiting", [12, 9_000], ids=["trickle", "backlog"])
def test_by_option_the_stream_reads_what_is_left(waiting: int) -> None:
    broker = FakeLog(p0=waiting)
    reader = LogStreamReader(broker, options(onDataLoss="continue"))
    reader.partitions(wire(4), wire(4))
    broker.low[A] = 10
    seen = [place for batch in drain(reader, wire(4)) for place in batch]
    assert seen == [(0, n) for n in range(10, waiting)]


def test_by_option_a_planned_batch_reads_what_is_left_of_it() -> None:
    broker = FakeLog(p0=9)
    broker.low[A] = 5
    reader = LogStreamReader(broker, options(onDataLoss="continue"))
    assert consume(reader, wire(2), wire(8)) == [(0, 5), (0, 6), (0, 7)]


# A batch read


def test_a_batch_read_takes_everything_that_is_there_now() -> None:
    reader = LogBatchReader(FakeLog(p0=2, p1=3), options())
    tasks = reader.partitions()
    assert sorted(p for t in tasks for p in places(reader.read(t))) == [
        (0, 0), (0, 1), (1, 0), (1, 1), (1, 2),
    ]  # fmt: skip


def test_a_batch_read_of_an_empty_topic_has_no_rows() -> None:
    reader = LogBatchReader(FakeLog(p0=0), options())
    assert [p for t in reader.partitions() for p in places(reader.read(t))] == []


def test_no_rows_are_a_batch_with_the_columns_of_the_source() -> None:
    assert to_arrow([]).schema == SOURCE_SCHEMA
    assert to_arrow([]).num_rows == 0

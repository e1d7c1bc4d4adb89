"""Batches that are cut from what a planner has read ahead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.sources.log import Limit, Offsets
from streaming.sources.read_ahead import ReadAhead

A, B = ("orders", 0), ("orders", 1)
MANY = 10**6

sizes = st.lists(st.integers(1, 100), max_size=20)


def ahead(a: list[int], b: list[int] | None = None) -> ReadAhead[tuple[int, int]]:
    """Partitions with messages of these sizes; a message is (partition, offset)."""
    made = ReadAhead[tuple[int, int]]({A: 0, B: 0})
    for partition, of_one in ((A, a), (B, b or [])):
        for offset, size in enumerate(of_one):
            made.add(partition, offset, size, (partition[1], offset))
    return made


@given(a=sizes, b=sizes, rows=st.integers(1, 10), most=st.integers(1, 300))
def test_batches_hold_every_message_once_in_order_within_rows_and_bytes(
    a: list[int], b: list[int], rows: int, most: int
) -> None:
    queue, seen = ahead(a, b), list[tuple[int, int]]()
    bytes_of = {0: a, 1: b}
    for _ in range(len(a) + len(b) + 1):
        batch, end = queue.within(Limit(rows, most))
        assert len(batch) <= rows
        assert sum(bytes_of[p][offset] for p, offset in batch) <= most or len(batch) == 1
        queue.drop(end)
        seen += batch
    for number, of_one in bytes_of.items():
        assert [o for p, o in seen if p == number] == list(range(len(of_one)))


def test_a_full_batch_takes_from_all_partitions_in_turn() -> None:
    batch, end = ahead([10] * 50, [10] * 50).within(Limit(MANY, 100))
    assert len(batch) == 10
    assert end == {A: 5, B: 5}


def test_a_batch_ends_where_planned_also_over_offsets_without_a_message() -> None:
    queue = ReadAhead[int]({A: 0, B: 0})
    queue.add(A, 0, 1, 0)
    queue.add(A, 5, 1, 5)
    queue.ends(A, 8)
    end: Offsets = {A: 8, B: 0}
    assert queue.holds(end, MANY)
    assert queue.within(Limit(MANY, MANY), end) == ([0, 5], end)


def test_more_is_to_be_read_until_the_end_or_the_bytes_are_there() -> None:
    queue = ahead([10, 10], [])
    assert not queue.holds({A: 3, B: 0}, MANY)
    assert queue.holds({A: 2, B: 0}, MANY)
    assert queue.holds({A: 3, B: 0}, 20)
    # What lies behind the share of its partition makes no batch.
    assert not queue.holds({A: 0, B: 1}, 20)


def test_all_that_was_added_ends_behind_the_marker_of_its_transaction() -> None:
    queue = ReadAhead[int]({A: 0, B: 4})
    queue.add(A, 0, 1, 0)
    queue.ends(A, 2)
    queue.ends(B, 9)
    assert queue.within(Limit(MANY, MANY)) == ([0], {A: 2, B: 9})


def test_a_batch_that_is_full_by_bytes_does_not_promise_messages_that_nobody_has_measured() -> None:
    queue = ahead([10], [100] * 5)
    end: Offsets = {A: 1_000, B: 1}
    assert queue.holds(end, 200)
    assert queue.within(Limit(MANY, 200), end) == ([(0, 0), (1, 0)], {A: 1, B: 1})

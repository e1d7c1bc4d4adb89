"""Pulsar's message ids as offsets, and how its ranges become tasks; no broker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulsar import InitialPosition

from streaming.sources.log import ROWS_WORTH_A_TASK, Limit, Range, Task
from streaming.sources.options import Subscription
from streaming.sources.pulsar import (
    PulsarConnection,
    PulsarLog,
    PulsarSource,
    UnreachableError,
    pack,
    position,
    unpack,
)

pytestmark = pytest.mark.requirement("V6")

TOPIC = "persistent://retail/metadata/events"
# Ledger, entry, batch index: far beyond those of a broker.
ids = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 5_000))


@given(ids)
def test_an_offset_is_converted_back_to_its_message_id(one: tuple[int, int, int]) -> None:
    assert unpack(pack(*one)) == one


@given(ids, ids)
def test_offsets_and_positions_are_in_the_order_of_the_ids(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    assert (pack(*one) < pack(*other)) == (one < other)
    assert (position(pack(*one), 3) < position(pack(*other), 3)) == (one < other)


@given(ids)
def test_the_offset_behind_a_message_is_before_the_next_entry(one: tuple[int, int, int]) -> None:
    ledger, entry, _ = one
    assert pack(*one) < pack(*one) + 1 < pack(ledger, entry + 1, 0) < pack(ledger + 1, 0, 0)


def test_a_message_outside_of_a_batch_counts_as_its_first() -> None:
    assert pack(12, 5, -1) == pack(12, 5, 0) == 12_000_000_000_005_000_000
    assert position(pack(12, 5, -1), 2) == f"{12:020d}:{5:020d}:00002:{0:010d}"


def planned(**counts: int) -> tuple[PulsarLog, list[Range]]:
    """A log that has counted ranges, by partition."""
    log = PulsarLog(
        Subscription((TOPIC,)), PulsarConnection("pulsar://nobody", "http://nobody"), "g"
    )
    sizes = {Range(TOPIC, int(name[1:]), 0, 10**18): count for name, count in counts.items()}
    log._sizes = sizes
    return log, [*sizes]


def test_a_trickle_is_one_task_however_many_partitions_it_comes_from() -> None:
    log, ranges = planned(p0=10, p1=20, p2=30)
    assert log.split(ranges, 4) == [Task((ranges[2], ranges[1], ranges[0]))]


def test_partitions_are_shared_out_by_what_they_hold() -> None:
    log, (small, large, middle) = planned(p0=2_000, p1=9_000, p2=6_000)
    assert log.split([small, large, middle], 2) == [Task((large,)), Task((middle, small))]


def test_ranges_in_doubt_of_which_nothing_is_known_are_read_side_by_side() -> None:
    log, _ = planned()
    ranges = [Range(TOPIC, n, 0, 10**18) for n in range(3)]
    assert len(log.split(ranges, 2)) == 2
    assert ROWS_WORTH_A_TASK > 1
    assert log.split([], 2) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"subscribe": TOPIC}, "pulsar.service.url"),
        ({"subscribe": "events"}, "persistent://tenant/namespace/topic"),
    ],
)
def test_an_option_that_does_not_fit_is_named(options: dict[str, str], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        PulsarSource(options).open_log()


class Cluster:
    """The subscriptions of one partition; those of `connected` have a consumer."""

    def __init__(self, *subscriptions: str, connected: str = "") -> None:
        self.held, self.connected = [*subscriptions], connected

    def subscribe(self, _: str, subscription: str, **options: Any) -> None:
        assert options["initial_position"] == InitialPosition.Earliest
        self.held.append(subscription)

    def subscriptions(self, _: str) -> list[str]:
        return [*self.held]

    def unsubscribe(self, _: str, subscription: str) -> bool:
        if subscription == self.connected:
            return False
        self.held.remove(subscription)
        return True


def test_a_query_that_joins_others_leaves_none_of_their_subscriptions_behind() -> None:
    others = ["storelake-bronze", "storelake-orders", "till", "bronze"]
    cluster = Cluster("storelake-footfall", *others, connected="storelake-bronze")
    connection = PulsarConnection("pulsar://nobody", "http://nobody")
    log = PulsarLog(Subscription((TOPIC,)), connection, "storelake-bronze+footfall")
    log._connected, log._asked = cast("Any", cluster), cast("Any", cluster)
    log._hold((TOPIC, 0), TOPIC)
    assert cluster.held == [*others, "storelake-bronze+footfall"]


class Message:
    """One without a key, headers and a time."""

    def has_null_value(self) -> bool:
        return False

    def data(self) -> bytes:
        return b"frame"

    def partition_key(self) -> str:
        return ""

    def properties(self) -> dict[str, str]:
        return {}

    def event_timestamp(self) -> int:
        return 0

    publish_timestamp = event_timestamp


class Ledgers(Cluster):
    """One partition with a message in each of two ledgers, and its administration."""

    def __init__(self) -> None:
        super().__init__()
        self.away, self.open = False, 0

    def partitions(self, topic: str) -> list[str]:
        return [topic]

    def ledgers(self, _: str) -> list[tuple[int, int]]:
        if self.away:
            raise UnreachableError("it does not answer")
        return [(7, 1), (8, 1)]

    def reader(self, _: Any, __: Any, name: str, ___: Any, at: int) -> Reader:
        self.open += 1
        return Reader(self, at)


class Reader:
    """Consumes the first message of a ledger, then looks that none between is missing."""

    def __init__(self, cluster: Ledgers, at: int) -> None:
        self.cluster, self.at = cluster, at
        self.messages = iter([one for one in (pack(7, 0, 0), pack(8, 0, 0)) if one >= at])

    def waiting(self) -> Iterator[tuple[int, Any]]:
        for offset in self.messages:
            if offset == pack(8, 0, 0):
                self.cluster.ledgers("")
            self.at = offset + 1
            yield offset, Message()

    def close(self) -> None:
        self.cluster.open -= 1


def test_an_administration_that_does_not_answer_at_a_change_of_ledgers_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster, connection = Ledgers(), PulsarConnection("pulsar://nobody", "http://nobody")
    log = PulsarLog(Subscription((TOPIC,)), connection, "storelake-footfall")
    log._connected, log._asked = cast("Any", cluster), cast("Any", cluster)
    monkeypatch.setattr("streaming.sources.pulsar._Reader", cluster.reader)
    start = log.poll({}, Limit(10, 10**6))[1]
    assert start == {(TOPIC, 0): pack(8, 0, 1)}

    at = {(TOPIC, 0): pack(7, 0, 1)}
    cluster.away = True
    for _ in range(3):
        assert log.poll(at, Limit(10, 10**6)) == (None, at)
        assert log.advance(at, Limit(10, 10**6)) == (at, 0)
        assert cluster.open == 0, "a reader that consumed a message is closed"
    cluster.away = False
    rows, end = log.poll(at, Limit(10, 10**6))
    assert rows is not None
    assert rows["position"].to_pylist() == [position(pack(8, 0, 0), 0)]
    assert end == start

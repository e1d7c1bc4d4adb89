"""Pulsar's message ids as offsets, and how its ranges become tasks; no broker."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulsar import InitialPosition

from streaming.sources.log import ROWS_WORTH_A_TASK, Range, Task
from streaming.sources.options import Subscription
from streaming.sources.pulsar import (
    PulsarConnection,
    PulsarLog,
    PulsarSource,
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

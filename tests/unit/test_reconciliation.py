"""Sent and stored messages compared: a run that balances, and every way to differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from quality.order_reconciliation import (
    ObservedOrders,
    OrderRow,
    StoredMessage,
    reconcile_orders,
)
from quality.order_sums import sums_of
from quality.reconciliation import (
    NO_IDS,
    Place,
    PlaceIds,
    position_ids,
    positions_of,
    reconcile,
    split,
)
from simulator.ledger import Entry
from tests.support.ledgers import NOON, TOPIC, entry

Change = Callable[[ObservedOrders], ObservedOrders]


def at(offset: int) -> str:
    """The id of the message with an offset."""
    return f"{TOPIC}/0/{offset}"


@dataclass(frozen=True)
class Run:
    """Sent entries, and what a deployment without faults stores of them."""

    entries: tuple[Entry, ...]
    observed: ObservedOrders


def a_run(*more: Entry) -> Run:
    """Three orders on time, one late, one broken message; and what a test adds."""
    late = entry(4, late=True, event_time=NOON - timedelta(hours=5))
    entries = (entry(1), entry(2), entry(3), late, entry(5, outcome="poisoned"), *more)
    return Run(entries, perfect(entries))


def perfect(entries: Sequence[Entry]) -> ObservedOrders:
    taken = {at(e.position[2]): e for e in entries if e.position is not None}
    accepted = {where: e for where, e in taken.items() if e.outcome == "accepted"}
    newest = {e.order_id: e for e in sorted(accepted.values(), key=lambda e: e.event_time)}
    messages = [StoredMessage(where, e.digest) for where, e in taken.items()]
    return ObservedOrders(
        kafka=messages,
        bronze=messages,
        silver=list(accepted),
        quarantined=[where for where, e in taken.items() if e.outcome == "poisoned"],
        late=[where for where, e in accepted.items() if e.late],
        raw=sorted({e.event_id for e in accepted.values()}),
        orders=[OrderRow(o, e.status, e.total_price) for o, e in newest.items()],
        counted=sorted({e.order_id for e in accepted.values() if not e.late}),
        sums=sums_of(entries),
    )


def without_first(field: str) -> Change:
    return lambda found: replace(found, **{field: getattr(found, field)[1:]})


def first_twice(field: str) -> Change:
    def change(found: ObservedOrders) -> ObservedOrders:
        rows = getattr(found, field)
        return replace(found, **{field: [rows[0], *rows]})

    return change


def test_a_run_whose_rows_are_all_where_they_belong_balances() -> None:
    run = a_run()
    found = reconcile_orders(run.entries, run.observed)

    assert found.ok
    assert found.faults == []
    assert found.numbers == {
        "sent": 5,
        "accepted": 4,
        "rejected": 0,
        "poisoned": 1,
        "failed": 0,
        "duplicates": 0,
        "in_kafka": 5,
        "bronze": 5,
        "silver": 4,
        "orders_raw": 4,
        "orders_processed": 4,
        "orders_counted": 3,
        "quarantined": 1,
        "late": 1,
        "missing": 0,
        "duplicated": 0,
        "hours": 1,
    }


def test_a_result_names_the_ids_of_each_kind() -> None:
    place = Place("orders", "orders_raw", "orders", "cancelled, yet there")
    ids = PlaceIds(place, ["a", "b", "c"], ["b", "c", "c", "x", "y"], ["x", "z"], altered=["b"])
    found = reconcile([ids])
    assert found.ids("missing") == {"a", "b"}
    assert found.ids("doubled") == {"c"}
    assert found.ids("unexpected") == {"x"}
    assert found.numbers == {"orders": 1}
    assert found.faults == [
        "missing: orders in orders_raw: 2 (such as a, b)",
        "more than once in orders_raw: 1 (such as c)",
        "cancelled, yet there: 1 (such as x)",
    ]


def test_a_flow_is_split_into_good_and_quarantined_messages() -> None:
    received, good, quarantined, late = (
        pa.array(list(ids), pa.string()) for ids in ("abcda", "bbx", "bc", "bc")
    )
    parts = split(received, good, quarantined, late)
    assert parts.unaccounted.to_pylist() == ["a", "d"]
    assert parts.unreceived.to_pylist() == ["x"]
    assert parts.both.to_pylist() == ["b"]
    assert parts.late_rejected.to_pylist() == ["c"]
    assert all(part.to_pylist() == [] for part in split(NO_IDS, NO_IDS, NO_IDS))


@pytest.mark.parametrize("topics", [[], ["persistent://retail/metadata/events", "order-created"]])
def test_a_position_is_found_again_in_its_id(topics: list[str]) -> None:
    columns = {
        "topic": pa.array(topics, pa.string()),
        "partition": pa.array(range(len(topics)), pa.int32()),
        "position": pa.array(["7"] * len(topics), pa.string()),
    }
    rows = pa.table(columns)
    assert positions_of(position_ids(rows)).equals(rows)
    large = rows.set_column(0, "topic", rows["topic"].cast(pa.large_string()))  # as PyIceberg reads
    assert position_ids(large).equals(position_ids(rows))


def test_nothing_sent_and_nothing_found_balances() -> None:
    assert reconcile_orders([], perfect([])).ok


@pytest.mark.parametrize(
    ("field", "where"),
    [
        ("kafka", "Kafka"),
        ("bronze", "bronze.order_events"),
        ("silver", "silver.orders"),
        ("quarantined", "quarantine.order_events"),
        ("late", "quarantine.late_events"),
        ("raw", "orders_raw"),
        ("orders", "orders_processed"),
        ("counted", "order_metrics"),
    ],
)
def test_a_row_that_is_not_there_is_a_missing_message(field: str, where: str) -> None:
    run = a_run()
    found = reconcile_orders(run.entries, without_first(field)(run.observed))

    assert not found.ok
    assert found.numbers["missing"] == 1
    assert found.numbers["duplicated"] == 0
    assert any(fault.startswith("missing") and where in fault for fault in found.faults)


@pytest.mark.parametrize(
    "field", ["bronze", "silver", "quarantined", "late", "raw", "orders", "counted"]
)
def test_a_row_that_is_there_twice_is_a_duplicated_one(field: str) -> None:
    run = a_run()
    found = reconcile_orders(run.entries, first_twice(field)(run.observed))

    assert not found.ok
    assert found.numbers["missing"] == 0
    assert found.numbers["duplicated"] == 1


def test_a_message_that_is_both_good_and_quarantined_is_there_twice() -> None:
    run = a_run()
    both = replace(run.observed, quarantined=[*run.observed.quarantined, at(1)])
    found = reconcile_orders(run.entries, both)

    assert found.numbers["duplicated"] == 1
    assert any("accepted, yet quarantined" in fault for fault in found.faults)


@pytest.mark.parametrize("place", ["kafka", "bronze"])
def test_a_message_with_other_bytes_is_not_the_one_that_was_sent(place: str) -> None:
    run = a_run()
    first, *rest = run.observed.bronze
    changed = replace(run.observed, **{place: [first._replace(digest="others"), *rest]})

    assert reconcile_orders(run.entries, changed).numbers["missing"] == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda e: replace(e, silver=[*e.silver, at(5)], quarantined=[]), "yet in silver"),
        (lambda e: replace(e, raw=[*e.raw, "E-5"]), "broken, yet in orders_raw"),
        (lambda e: replace(e, late=[*e.late, at(1)]), "on time, yet set aside"),
        (lambda e: replace(e, counted=[*e.counted, "O-4"]), "late, yet counted"),
        (lambda e: replace(e, silver=[*e.silver, at(9)]), "not in bronze"),
        (
            lambda e: replace(e, bronze=[*e.bronze, StoredMessage(at(9), "foreign")]),
            "neither good nor quarantined",
        ),
    ],
    ids=["broken in silver", "broken in raw", "early", "counted", "from nowhere", "unjudged"],
)
def test_a_row_where_it_does_not_belong_is_a_fault(change: Change, fault: str) -> None:
    run = a_run()
    found = reconcile_orders(run.entries, change(run.observed))

    assert not found.ok
    assert any(fault in sentence for sentence in found.faults)


def test_messages_of_other_senders_are_ignored() -> None:
    run = a_run()
    foreign = at(9)
    found = replace(
        run.observed,
        kafka=[*run.observed.kafka, StoredMessage(foreign, "foreign")],
        bronze=[*run.observed.bronze, StoredMessage(foreign, "foreign")],
        silver=[*run.observed.silver, foreign],
    )
    assert reconcile_orders(run.entries, found).ok


def test_an_order_row_must_equal_the_newest_version_of_the_order() -> None:
    update = entry(6, event_id="E-6", order_id="O-1", total_price=Decimal("9.99"))
    run = a_run(update)
    assert reconcile_orders(run.entries, run.observed).ok

    stale = [
        row._replace(total_price=Decimal("2.50")) if row.order_id == "O-1" else row
        for row in run.observed.orders
    ]
    found = reconcile_orders(run.entries, replace(run.observed, orders=stale))
    assert not found.ok
    assert any("newest version" in fault and "O-1" in fault for fault in found.faults)


def test_a_status_change_keeps_the_total_of_the_order() -> None:
    change = entry(6, order_id="O-1", status="completed", total_price=None)
    run = a_run(change)
    rows = [
        OrderRow("O-1", "completed", Decimal("2.50")) if row.order_id == "O-1" else row
        for row in run.observed.orders
    ]
    assert reconcile_orders(run.entries, replace(run.observed, orders=rows)).ok


def test_a_repeat_is_a_message_of_its_own_and_no_second_event() -> None:
    repeat = entry(1, duplicate_of="E-1", offset=6)
    run = a_run(repeat)
    found = reconcile_orders(run.entries, run.observed)

    assert found.ok
    assert (found.numbers["duplicates"], found.numbers["in_kafka"]) == (1, 6)
    assert found.numbers["silver"] == 5
    assert found.numbers["orders_raw"] == 4


def test_a_repeat_that_the_gateway_recognised_is_no_new_message() -> None:
    repeat = entry(1, duplicate_of="E-1")
    run = a_run(repeat)
    found = reconcile_orders(run.entries, run.observed)

    assert found.ok
    assert (found.numbers["sent"], found.numbers["in_kafka"]) == (6, 5)


@pytest.mark.parametrize("outcome", ["rejected", "failed"])
def test_what_could_not_be_delivered_is_a_fault(outcome: str) -> None:
    lost = entry(6, outcome=outcome, partition=None, offset=None)
    run = a_run(lost)
    found = reconcile_orders(run.entries, run.observed)

    assert not found.ok
    assert any("not delivered: 1" in fault and "E-6" in fault for fault in found.faults)

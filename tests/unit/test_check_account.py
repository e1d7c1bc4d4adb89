"""The account of a check: a run that balances, and every way in which one does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from quality.account import Evidence, Message, OrderRow, settle
from quality.smoke_test import latency
from simulator.ledger import Entry

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
TOPIC = "order-created"
Change = Callable[[Evidence], Evidence]


def entry(number: int, **overrides: Any) -> Entry:
    """The accepted `order.created` of order O-<number>, at offset <number> of partition 0."""
    values = {
        "event_id": f"E-{number}",
        "order_id": f"O-{number}",
        "event_type": "order.created",
        "event_time": NOON + timedelta(seconds=number),
        "status": "pending",
        "total_price": Decimal("2.50"),
        "made_at": NOON + timedelta(seconds=number),
        "outcome": "accepted",
        "late": False,
        "duplicate_of": None,
        "position": (TOPIC, 0, number),
        "digest": f"bytes of E-{number}",
    }
    return Entry(**{**values, **overrides})


@dataclass(frozen=True)
class Run:
    """What was sent, and what a perfect house holds of it."""

    entries: tuple[Entry, ...]
    evidence: Evidence


def a_run(*more: Entry) -> Run:
    """Three orders on time, one late, one broken message; and what a test adds."""
    late = entry(4, late=True, event_time=NOON - timedelta(hours=5))
    entries = (entry(1), entry(2), entry(3), late, entry(5, outcome="poisoned"), *more)
    return Run(entries, perfect(entries))


def perfect(entries: Sequence[Entry]) -> Evidence:
    taken = {e.position: e for e in entries if e.position is not None}
    accepted = [e for e in taken.values() if e.outcome == "accepted"]
    newest = {e.order_id: e for e in sorted(accepted, key=lambda e: e.event_time)}
    messages = [Message(at, e.digest) for at, e in taken.items()]
    return Evidence(
        kafka=messages,
        bronze=messages,
        silver=[e.position for e in accepted if e.position],
        quarantined=[at for at, e in taken.items() if e.outcome == "poisoned"],
        late=[e.position for e in accepted if e.late and e.position],
        raw=sorted({e.event_id for e in accepted}),
        orders=[OrderRow(o, e.status, e.total_price) for o, e in newest.items()],
        counted=sorted({e.order_id for e in accepted if not e.late}),
    )


def without_first(field: str) -> Change:
    return lambda found: replace(found, **{field: getattr(found, field)[1:]})


def first_twice(field: str) -> Change:
    def change(found: Evidence) -> Evidence:
        rows = getattr(found, field)
        return replace(found, **{field: [rows[0], *rows]})

    return change


def test_a_run_whose_rows_are_all_where_they_belong_balances() -> None:
    run = a_run()
    account = settle(run.entries, run.evidence)

    assert account.ok
    assert (account.missing, account.duplicated, account.faults) == (0, 0, ())
    assert account.numbers == {
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
    }


def test_nothing_sent_and_nothing_found_balances() -> None:
    assert settle([], perfect([])).ok


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
    account = settle(run.entries, without_first(field)(run.evidence))

    assert not account.ok
    assert account.missing == 1
    assert account.duplicated == 0
    assert any(fault.startswith("missing") and where in fault for fault in account.faults)


@pytest.mark.parametrize(
    "field", ["bronze", "silver", "quarantined", "late", "raw", "orders", "counted"]
)
def test_a_row_that_is_there_twice_is_a_duplicated_one(field: str) -> None:
    run = a_run()
    account = settle(run.entries, first_twice(field)(run.evidence))

    assert not account.ok
    assert account.missing == 0
    assert account.duplicated == 1


def test_a_message_that_is_both_good_and_quarantined_is_there_twice() -> None:
    run = a_run()
    both = replace(run.evidence, quarantined=[*run.evidence.quarantined, (TOPIC, 0, 1)])
    account = settle(run.entries, both)

    assert account.duplicated == 1
    assert any("accepted, yet quarantined" in fault for fault in account.faults)


@pytest.mark.parametrize("place", ["kafka", "bronze"])
def test_a_message_with_other_bytes_is_not_the_one_that_was_sent(place: str) -> None:
    run = a_run()
    first, *rest = run.evidence.bronze
    changed = replace(run.evidence, **{place: [replace(first, digest="others"), *rest]})

    assert settle(run.entries, changed).missing == 1


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda e: replace(e, silver=[*e.silver, (TOPIC, 0, 5)], quarantined=[]), "yet in silver"),
        (lambda e: replace(e, raw=[*e.raw, "E-5"]), "broken, yet in orders_raw"),
        (lambda e: replace(e, late=[*e.late, (TOPIC, 0, 1)]), "on time, yet set aside"),
        (lambda e: replace(e, counted=[*e.counted, "O-4"]), "late, yet counted"),
        (lambda e: replace(e, silver=[*e.silver, (TOPIC, 0, 9)]), "not in bronze"),
        (
            lambda e: replace(e, bronze=[*e.bronze, Message((TOPIC, 0, 9), "foreign")]),
            "neither good nor quarantined",
        ),
    ],
    ids=["broken in silver", "broken in raw", "early", "counted", "from nowhere", "unjudged"],
)
def test_a_row_where_it_does_not_belong_is_a_fault(change: Change, fault: str) -> None:
    run = a_run()
    account = settle(run.entries, change(run.evidence))

    assert not account.ok
    assert any(fault in told for told in account.faults)


def test_messages_of_somebody_else_do_no_harm() -> None:
    run = a_run()
    at = (TOPIC, 0, 9)
    found = replace(
        run.evidence,
        kafka=[*run.evidence.kafka, Message(at, "foreign")],
        bronze=[*run.evidence.bronze, Message(at, "foreign")],
        silver=[*run.evidence.silver, at],
    )
    assert settle(run.entries, found).ok


def test_an_order_row_must_say_what_the_newest_event_said() -> None:
    update = entry(6, event_id="E-6", order_id="O-1", total_price=Decimal("9.99"))
    run = a_run(update)
    assert settle(run.entries, run.evidence).ok

    stale = [
        replace(row, total_price=Decimal("2.50")) if row.order_id == "O-1" else row
        for row in run.evidence.orders
    ]
    account = settle(run.entries, replace(run.evidence, orders=stale))
    assert not account.ok
    assert any("newest version" in fault and "O-1" in fault for fault in account.faults)


def test_a_status_change_keeps_the_total_of_the_order() -> None:
    change = entry(6, order_id="O-1", status="completed", total_price=None)
    run = a_run(change)
    rows = [
        OrderRow("O-1", "completed", Decimal("2.50")) if row.order_id == "O-1" else row
        for row in run.evidence.orders
    ]
    assert settle(run.entries, replace(run.evidence, orders=rows)).ok


def test_a_repeat_is_a_message_of_its_own_and_no_second_event() -> None:
    repeat = replace(entry(1), duplicate_of="E-1", position=(TOPIC, 0, 6))
    run = a_run(repeat)
    account = settle(run.entries, run.evidence)

    assert account.ok
    assert (account.numbers["duplicates"], account.numbers["in_kafka"]) == (1, 6)
    assert account.numbers["silver"] == 5
    assert account.numbers["orders_raw"] == 4


def test_a_repeat_that_the_gateway_knew_already_is_no_new_message() -> None:
    repeat = replace(entry(1), duplicate_of="E-1")
    run = a_run(repeat)
    account = settle(run.entries, run.evidence)

    assert account.ok
    assert (account.numbers["sent"], account.numbers["in_kafka"]) == (6, 5)


@pytest.mark.parametrize("outcome", ["rejected", "failed"])
def test_what_could_not_be_delivered_is_a_fault(outcome: str) -> None:
    lost = entry(6, outcome=outcome, position=None)
    run = a_run(lost)
    account = settle(run.entries, run.evidence)

    assert not account.ok
    assert any("not delivered: 1" in fault and "E-6" in fault for fault in account.faults)


def test_latency_is_from_the_till_to_the_first_sight_and_leaves_repeats_out() -> None:
    repeat = replace(entry(1), duplicate_of="E-1", made_at=NOON - timedelta(hours=1))
    seen = {
        "E-1": NOON + timedelta(seconds=2),
        "E-2": NOON + timedelta(seconds=5),
        "E-of-others": NOON + timedelta(days=1),
    }

    found = latency([entry(1), entry(2), entry(3), repeat], seen)
    assert found == {"p50": 2.0, "p95": 2.9}
    assert latency([entry(3)], seen) == {"p50": None, "p95": None}

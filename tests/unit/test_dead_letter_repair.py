"""Edits of a rejected event: paths, exact numbers, faults that the contract still finds."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from streaming.dlq_ids import DlqError, dead_letter_id, origin_of, read_id
from streaming.transforms.repair import (
    order_id_of,
    read_assignment,
    read_event,
    set_path,
    to_bytes,
    to_lines,
)
from streaming.validation.annotated import annotate, excerpt
from streaming.validation.contracts import ContractViolation, find_faults
from tests.support.builders import MISSING, as_json, order_event, order_item, status_event


def event(**overrides: Any) -> Any:
    """An event as read from the bytes of a message."""
    return read_event(as_json(order_event(**overrides)))


# Paths


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("order.total_price=12.50", "order.total_price", Decimal("12.50")),
        ("order.items[0].quantity=2", "order.items[0].quantity", 2),
        ("source=pos-B01", "source", "pos-B01"),
        ('source="7"', "source", "7"),
        ("order.note=a=b", "order.note", "a=b"),
        ("order.items=[]", "order.items", []),
        ("order.total_price=NaN", "order.total_price", "NaN"),
        ("source=", "source", ""),
    ],
)
def test_a_value_is_json_or_else_the_text_itself(text: str, path: str, value: Any) -> None:
    assert read_assignment(text) == (path, value)


@pytest.mark.parametrize("text", ["", "order", "=1", ".order=1", "a..b=1", "a[x]=1", "[0]=1"])
def test_what_is_no_path_and_value_is_refused(text: str) -> None:
    with pytest.raises(DlqError, match="is no path=value"):
        read_assignment(text)


def test_a_field_is_set_and_nothing_else_changes() -> None:
    before = event(items=[order_item(), order_item(quantity=0)], extra={"till": 7})
    after = set_path(before, "order.items[1].quantity", 3)

    assert after["order"]["items"][1]["quantity"] == 3
    assert before["order"]["items"][1]["quantity"] == 0
    assert set_path(after, "order.items[1].quantity", 0) == before


def test_a_missing_field_can_be_added() -> None:
    assert set_path(event(customer_id=MISSING), "order.customer_id", "C-1")["order"][
        "customer_id"
    ] == ("C-1")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("ordr.total_price", "The event has no ordr: it has event_id, event_type"),
        ("order.items[1].quantity", r"order.items has no \[1\]: its length is 1"),
        ("order.items[1]", r"order.items has no \[1\]: its length is 1"),
        ("order[0]", r"order is no list, so it has no \[0\]"),
        ("order.items.quantity", "order.items is no object, so it has no quantity"),
        ("source.name", "source is no object, so it has no name"),
    ],
)
def test_a_path_that_leads_nowhere_is_named_up_to_its_end(path: str, sentence: str) -> None:
    with pytest.raises(DlqError, match=sentence):
        set_path(event(), path, 1)


# Bytes


def test_money_keeps_every_digit() -> None:
    text = b'{"total":12.50,"small":0.1,"large":9007199254740993.01,"whole":123456789012345678901}'
    assert to_bytes(read_event(text)) == text


def test_text_of_any_script_is_unchanged() -> None:
    text = '{"name":"Käse 🧀 \\u0001"}'.encode()
    assert to_bytes(read_event(text)) == text


def test_half_a_surrogate_pair_is_still_an_escape_afterwards() -> None:
    assert to_bytes(read_event(b'{"name":"\\ud800"}')) == b'{"name":"\\ud800"}'


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "line 1, column 1"),
        (b"", "line 1, column 1"),
        (b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        (b'{"a": NaN}', "line 1, column 7"),
        (b'{"a": "\xff"}', "byte 7 is no UTF-8"),
        (b"[" * 200_000, "too deep"),
        (b"1" * 5_000, "too long"),
    ],
)
def test_what_is_no_json_is_rejected_with_the_place(value: bytes | None, sentence: str) -> None:
    with pytest.raises(DlqError, match=sentence):
        read_event(value)


# The contract


@pytest.mark.parametrize(
    "good", [order_event(), status_event(), order_event(items=[order_item(quantity=2.0)])]
)
def test_an_event_of_the_contract_has_no_faults(good: Any) -> None:
    assert find_faults(read_event(as_json(good))) == []


def test_a_sum_of_floats_is_no_money() -> None:
    (fault,) = find_faults(event(total_price=0.1 + 0.2))
    wrong = ("order.total_price", "a multiple of 0.01", "0.30000000000000004")
    assert fault == ContractViolation(*wrong)


@pytest.mark.parametrize("cents", ["0.01", "0.07", "1.10", "19.99", "9999999.99", "1234567.89"])
def test_cents_are_not_taken_for_fractions_of_cents(cents: str) -> None:
    assert find_faults(set_path(event(), "order.total_price", Decimal(cents))) == []


def test_every_wrong_spot_is_named_with_its_path() -> None:
    broken = event(
        items=[order_item(), order_item(quantity=0)], total_price=12.505, customer_id=MISSING
    )
    assert find_faults(broken) == [
        ContractViolation("order.customer_id", "a value", "nothing"),
        ContractViolation("order.items[1].quantity", "at least 1", "0"),
        ContractViolation("order.total_price", "a multiple of 0.01", "12.505"),
    ]


def test_each_violation_is_at_the_line_of_its_field() -> None:
    broken = event(items=[order_item(name=5)], status="x", customer_id=MISSING)
    broken = set_path(broken, "source", "half a surrogate pair: \ud800")
    marked = {
        violation.path: line.text.strip()
        for line in annotate(broken, find_faults(broken))
        for violation in line.violations
    }
    assert marked == {
        "order.customer_id": '"order": {',
        "order.items[0].name": '"name": 5,',
        "order.status": '"status": "x",',
    }


@pytest.mark.parametrize("value", [5, "x", [], None, [1, [2, {}]], {"": {"a.b": [{}]}}])
def test_lines_are_those_of_the_event_whatever_it_is(value: Any) -> None:
    lines = annotate(value, find_faults(value))
    assert "\n".join(line.text for line in lines) == to_lines(value)
    assert lines[0].violations


def test_of_a_long_event_the_lines_around_violations_are_shown() -> None:
    items = [order_item(quantity=0 if n == 3_000 else 1) for n in range(7_000)]
    long = event(items=items)
    before, *shown, after = excerpt(annotate(long, find_faults(long)))
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert before + len(shown) + after == len(to_lines(long).split("\n"))
    assert [line.violations != () for line in shown if not isinstance(line, int)].count(True) == 1


@pytest.mark.parametrize("value", [b"[1]", b"3", b"null", b'"text"'])
def test_what_is_no_object_is_a_fault_of_the_whole_event(value: bytes) -> None:
    assert [fault.path for fault in find_faults(read_event(value))] == [""]


def test_a_number_beyond_all_bounds_is_a_fault_and_no_crash() -> None:
    assert find_faults(set_path(event(), "order.total_price", Decimal("1e999999"))) != []


def test_a_fault_does_not_repeat_a_megabyte_of_the_event() -> None:
    (fault,) = find_faults(event(currency="E" * 1_000_000))
    assert len(fault.message) < 300


def test_the_order_of_a_message_is_known_only_as_text() -> None:
    assert order_id_of(event(order_id="O-7")) == "O-7"
    for other in (event(order_id=7), event(order=None), [1], None, event(order_id="")):
        assert order_id_of(other) is None


# Ids


def test_an_id_reads_as_people_write_it_and_as_a_header_has_it() -> None:
    written = dead_letter_id("order-created", 3, "00000000000000000042")
    assert written == "order-created/3/42"
    assert read_id("order-created/3/00000000000000000042") == read_id(" order-created/3/42 ")
    assert read_id(written) == written
    assert dead_letter_id("t", 0, "0" * 20) == "t/0/0"


@pytest.mark.parametrize("text", ["", "order-created", "a/b/c", "t/0", "t/0/1/2", "t/0/1'; --"])
def test_what_is_no_id_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(DlqError, match="order-created/0/42"):
        read_id(text)


def test_the_last_origin_counts() -> None:
    headers = [("storelake-origin", b"t/0/1"), ("trace", b"x"), ("storelake-origin", b"t/0/2")]
    assert origin_of(headers) == "t/0/2"


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"nonsense", b"t/0/1/2"])
def test_a_foreign_header_is_no_origin(value: bytes | None) -> None:
    assert origin_of([("storelake-origin", value)]) is None
    assert origin_of([]) is None


def test_the_bytes_are_json_for_other_readers() -> None:
    mended = to_bytes(set_path(event(), "order.total_price", Decimal("1E+2")))
    assert json.loads(mended)["order"]["total_price"] == 100

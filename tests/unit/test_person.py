"""A customer is found and redacted in every form that a value can have (S2)."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.privacy.person import Person
from tests.support.builders import as_json, order_event, order_item

pytestmark = pytest.mark.requirement("S2")
ANNA, NUMBER = Person("anna@example.org"), Person("17")


def body(**order: Any) -> bytes:
    return as_json(order_event(**{"customer_id": ANNA.id, **order}))


def erased(name: str, value: Any, person: Person = ANNA) -> Any:
    return person.redacted_row({name: value}, rejected=False)[name]


def test_a_body_keeps_the_contract_without_free_text() -> None:
    event = order_event(customer_id=ANNA.id, items=[{**order_item(), "for": "Anna"}])
    event["order"]["discounts"] = [{"amount": 1, "reason": "Anna's birthday"}]
    sent = as_json({**event, "email": ANNA.id})
    kept = erased("value", sent)
    assert b'"customer_id":"erased"' in kept
    assert b'"total_price":2.5' in kept
    assert not any(gone in kept for gone in (b"Anna", b"anna", b"email"))
    assert erased("value", kept) == kept


@pytest.mark.parametrize(
    "sent",
    [
        body().replace(b"anna", b"\\u0061nna"),
        body().replace(b"anna@", b"anna\\u0040"),
        body().replace(b'":', b'" : ').replace(b",", b" ,\n"),
    ],
)
def test_other_spellings_of_the_same_json(sent: bytes) -> None:
    assert ANNA.owns({"value": sent})
    assert b'"customer_id":"erased"' in erased("value", sent)


@pytest.mark.parametrize("sent", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 9999, b'{"order":7}'])
def test_what_is_no_order_is_left_alone_unless_it_has_the_id(sent: bytes) -> None:
    assert erased("value", sent) == sent
    assert erased("value", sent + b" anna@example.org") is None


def test_ids_that_only_begin_alike_are_others() -> None:
    for other in (
        "hanna@example.org",
        "anna@example.org.uk",
        "anna@example.organic",
        "x-anna@example.org",
    ):
        assert erased("error", f"refused {other}.") == f"refused {other}."
        sent = body(customer_id=other)
        assert erased("value", sent) == sent


def test_an_event_of_another_customer_keeps_its_body() -> None:
    sent = as_json({**order_event(customer_id="C-2"), "referred_by": ANNA.id})
    assert erased("value", sent) == sent.replace(ANNA.id.encode(), b"erased")


def test_a_number_counts_only_where_it_is_a_customer() -> None:
    sent = as_json(order_event(customer_id="C-2", order_id="17", items=[order_item(quantity=17)]))
    assert erased("value", sent, NUMBER) == sent
    assert erased("observed", "17", NUMBER) == "17"
    assert erased("error", "customer_id 17 and 17 rows", NUMBER) == "customer_id erased and 17 rows"
    assert b'"customer_id":"erased"' in erased("value", body(customer_id=17), NUMBER)


def test_identifiers_of_other_things_may_look_the_same() -> None:
    row = {"order_id": ANNA.id, "customer_id": ANNA.id}
    assert ANNA.redacted_row(row, rejected=False) == {"order_id": ANNA.id, "customer_id": "erased"}


@pytest.mark.parametrize(
    ("mine", "other"),
    [("c-7", "c-7/2"), ("c-7", "c-7:2"), ("c-7", "shop:c-7"), ("anna", "anna maria")],
)
def test_an_id_that_has_this_one_as_a_part_is_somebody_else(mine: str, other: str) -> None:
    person = Person(mine)
    sent = as_json({**order_event(customer_id=other), "customers": [other]})
    header = {"key": "customer-id", "value": other.encode()}
    row = {"customer_id": other, "key": other.encode(), "headers": [header], "value": sent}
    for one in (
        row,
        {"customer_id": other, "payload": sent.decode()},
        {"customers": f'["{other}"]'},
    ):
        assert person.redacted_row(one, rejected=True) == one
    assert erased("customers", [mine, other], person) == ["erased", other]
    assert erased("error", f"refused {mine}", person) == "refused erased"


@pytest.mark.parametrize(
    "key", [b"anna@example.org", b'"anna@example.org"', b"O-1/anna@example.org"]
)
def test_a_key_with_the_id_goes_with_its_row(key: bytes) -> None:
    assert ANNA.redacted_row({"key": key, "value": body()}, rejected=False)["key"] is None


@pytest.mark.parametrize(
    ("mine", "sent"), [('A"12', '"A\\"12"'), ("A\\12", '"A\\\\12"'), ("A/12", '"A\\/12"')]
)
def test_an_id_that_json_escapes(mine: str, sent: str) -> None:
    person, text = Person(mine), as_json(order_event(customer_id="MINE")).decode()
    text = text.replace('"MINE"', sent)
    assert b'"customer_id":"erased"' in erased("value", text.encode(), person)
    assert '"customer_id":"erased"' in erased("payload", text, person)
    assert erased("words", f"[{sent}]", person) == '["erased"]'
    assert erased("words", sent, person) == '"erased"'


def test_parsed_columns_of_the_customer_lose_their_free_text() -> None:
    said = "birthday of Anna Schmidt"
    lines = [{"name": "Cake", "unit_price": 2.50, "discount_reason": said}]
    row = {"customer_id": ANNA.id, "items": lines, "discounts": [{"amount": 1, "reason": said}],
           "items_json": as_json(lines).decode(), "rules": ["late"], "reason": "kept"}  # fmt: skip
    clean = ANNA.redacted_row(row, rejected=False)
    assert clean["items"] == [{**lines[0], "discount_reason": None}]
    assert clean["discounts"] == [{"amount": 1, "reason": None}]
    assert clean["items_json"] == '[{"name":"Cake","unit_price":2.5,"discount_reason":null}]'
    assert (clean["rules"], clean["reason"]) == (["late"], "kept")
    assert ANNA.redacted_row(clean, rejected=False) == clean
    other = {**row, "customer_id": "C-2"}
    assert ANNA.redacted_row(other, rejected=False) == other


@pytest.mark.parametrize(("person", "sent"), [(ANNA, ANNA.id), (NUMBER, "17"), (NUMBER, 17)])
def test_an_id_inside_of_a_customer_is_the_customer(person: Person, sent: str | int) -> None:
    event = order_event(customer_id=None)
    event["order"]["customer"] = {"id": sent, "name": "Anna", "address": {"id": 17}}
    kept = erased("value", as_json(event), person)
    assert person.owns({"value": as_json(event)})
    assert b"Anna" not in kept
    assert b'"total_price":2.5' in kept
    words = {"id": sent, "customers": [{"id": sent, "points": 17}], "branch": {"id": sent}}
    clean = {**words, "customers": [{"id": "erased", "points": 17}]}
    assert erased("words", words, person) == clean
    assert erased("words", as_json(words).decode(), person) == as_json(clean).decode()


def test_an_id_inside_of_a_customer_is_compared_as_a_whole() -> None:
    person = Person("c-7")
    words = {"customer": {"id": "c-7/2", "orders": [{"order_id": "c-7:1", "id": "c-7:2"}]}}
    assert erased("words", words, person) == words
    assert erased("words", {"customer": {"profile": {"id": "c-7"}}}, person) == {
        "customer": {"profile": {"id": "erased"}}
    }


@pytest.mark.parametrize("escape", ["", "\\", "\\\\\\"])
def test_a_number_in_json_that_is_a_text_of_json(escape: str) -> None:
    quote = f'{escape}"'
    log = f"{quote}customer_id{quote}: {quote}17{quote}, {quote}rows{quote}: {quote}17{quote}"
    (place,) = NUMBER.places(log.encode())
    assert log[slice(*place)] == "17"
    assert NUMBER.masked(log) == log.replace("17", "erased", 1)

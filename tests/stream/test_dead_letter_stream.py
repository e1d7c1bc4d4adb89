"""Rejected orders: open, fixed and sent back, then resolved, or rejected once more.

One story, told once; each test looks at what one chapter left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from streaming.letters import letter_id
from streaming.sinks.dead_letter_store import Selection, open_letters
from streaming.sinks.redrive import to_return
from streaming.sources.memory import MemoryLog
from streaming.sources.options import Subscription
from streaming.transforms.repair import read_event, set_path, to_bytes
from tests.stream.house import NOW, House, Rows
from tests.support.builders import as_json, event_id, order_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("Q2")]

STREAM = "order_event_processor"
PRICE, CURRENCY, TEXT = (f"order-created/0/{n}" for n in (1, 2, 3))


def poison(house: House) -> None:
    """A good order, a negative price, a wrong currency with a header, and a broken text."""
    house.send_order(order_event(order_id="O-1"))
    house.send_order(order_event(order_id="O-2", event_id=event_id("O-2"), total_price=-1))
    wrong = as_json(order_event(order_id="O-3", currency="dollars"))
    house.broker.produce(
        "order-created", wrong, b"O-3", timestamp=NOW, headers=[("trace", b"\x00\xff")]
    )
    house.send_raw("order-created", b"{not json \x00\xff", b"O-4")


def send_back(house: House, letter: str, fixes: dict[str, Any]) -> str:
    """What `storelake dlq fix` and `redrive` do, with the memory log as the broker."""
    with open_letters(house.settings) as store:
        (found,) = store.get([letter])
        if fixes:
            event = read_event(found.value)
            for path, value in fixes.items():
                event = set_path(event, path, value)
            store.store_fix(found, to_bytes(event))
        (found,) = store.get([letter])
        back = to_return(found)
        _, position = MemoryLog(house.broker.path, Subscription((back.topic,))).bounds()[
            back.topic, 0
        ]
        headers = [(name, value or b"") for name, value in back.headers]
        house.broker.produce(back.topic, back.value, back.key, timestamp=NOW, headers=headers)
        back_as = letter_id(back.topic, 0, str(position))
        store.mark_redriven(letter, back_as)
    return back_as


@dataclass
class Story:
    """What was in every table after each chapter."""

    house: House
    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    again: str = ""

    def remember(self, chapter: str) -> None:
        self.tables[chapter] = self.house.look()

    def letters(self, chapter: str) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.tables[chapter]["dead_letters"]}

    def status(self, chapter: str) -> dict[str, str]:
        return {name: row["status"] for name, row in self.letters(chapter).items()}


@pytest.fixture(scope="module")
def story(house: House) -> Story:
    told = Story(house)
    poison(house)
    house.run(STREAM)
    told.remember("poison")

    send_back(house, PRICE, {"order.total_price": 2.5})
    told.again = send_back(house, CURRENCY, {"order.customer_id": "C-9"})  # not what was wrong
    told.remember("sent back")
    house.run(STREAM)
    told.remember("judged")

    house.forget_newest_commit(STREAM)
    house.run(STREAM)
    told.remember("commit lost")

    house.forget_checkpoint(STREAM)
    house.run(STREAM)
    told.remember("checkpoint lost")

    send_back(house, told.again, {"order.currency": "USD"})
    house.run(STREAM)
    told.remember("mended at last")
    return told


def test_every_rejected_message_is_an_open_dead_letter_whole(story: Story) -> None:
    letters = story.letters("poison")

    assert {k: (r["status"], r["rules"][0]) for k, r in letters.items()} == {
        PRICE: ("open", "total_price_money"),
        CURRENCY: ("open", "currency_code"),
        TEXT: ("open", "valid_utf8"),
    }
    assert (letters[TEXT]["key"], letters[TEXT]["value"]) == (b"O-4", b"{not json \x00\xff")
    assert letters[CURRENCY]["headers"] == [["trace", "AP8="]]
    assert {r["received_at"] for r in letters.values()} == {NOW}


def test_dead_letters_are_what_quarantine_holds(story: Story) -> None:
    columns = ("topic", "partition", "position", "key", "value")
    for chapter in story.tables:
        served, lake = (
            sorted(tuple(row[c] for c in columns) for row in story.tables[chapter][name])
            for name in ("dead_letters", "quarantine.order_events")
        )
        assert served == lake, chapter


def test_a_letter_knows_its_event_and_order_when_they_can_be_read(story: Story) -> None:
    letters = story.letters("poison")

    assert letters[PRICE]["event_id"] == event_id("O-2")
    assert {k: r["order_id"] for k, r in letters.items()} == {
        PRICE: "O-2",
        CURRENCY: "O-3",
        TEXT: None,
    }


def test_what_was_sent_back_and_is_good_resolves_its_letter(story: Story) -> None:
    assert story.status("sent back")[PRICE] == "redriven"
    letter = story.letters("judged")[PRICE]

    assert letter["status"] == "resolved"
    assert isinstance(letter["resolved_at"], datetime)
    assert letter["redriven_as"] == "order-created/0/4"


def test_the_event_keeps_its_identity(story: Story) -> None:
    raw = {r["event_id"]: r for r in story.tables["judged"]["orders_raw"]}
    orders = {r["order_id"] for r in story.tables["judged"]["orders_processed"]}

    assert raw[event_id("O-2")]["position"] == f"{4:020d}"
    assert orders == {"O-1", "O-2"}


def test_what_is_rejected_again_is_a_letter_of_its_own_with_its_origin(story: Story) -> None:
    letters = story.letters("judged")

    assert letters[CURRENCY]["status"] == "superseded"
    assert (letters[story.again]["status"], letters[story.again]["origin"]) == ("open", CURRENCY)
    assert story.again == "order-created/0/5"


def test_the_original_is_never_overwritten(story: Story) -> None:
    def originals(chapter: str) -> dict[str, tuple[Any, ...]]:
        letters = story.letters(chapter)
        return {k: (letters[k]["value"], letters[k]["key"]) for k in (PRICE, CURRENCY, TEXT)}

    assert originals("mended at last") == originals("poison")


@pytest.mark.parametrize(
    ("chapter", "before"),
    [("commit lost", "judged"), ("checkpoint lost", "commit lost")],
    ids=["a commit is lost", "the checkpoint is lost"],
)
def test_no_row_of_any_table_changes_when(story: Story, chapter: str, before: str) -> None:
    assert story.tables[chapter] == story.tables[before]


def test_a_chain_of_letters_ends_in_a_good_order(story: Story) -> None:
    assert story.status("mended at last") == {
        PRICE: "resolved",
        CURRENCY: "superseded",
        story.again: "resolved",
        TEXT: "open",
    }
    orders = {r["order_id"]: r for r in story.tables["mended at last"]["orders_processed"]}
    assert (orders["O-3"]["currency"], orders["O-3"]["customer_id"]) == ("USD", "C-9")


def test_only_what_is_left_to_do_is_listed(story: Story) -> None:
    with open_letters(story.house.settings) as store:
        assert [head.id for head in store.heads(Selection(status="open"), 10)] == [TEXT]

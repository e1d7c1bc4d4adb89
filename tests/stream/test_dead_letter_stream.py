"""Rejected orders: open, fixed and sent back, then resolved, or rejected once more.

All tests share one sequence of runs; each test checks what one run left in the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from streaming.dlq_ids import dead_letter_id
from streaming.sinks.dlq_entries import Selection
from streaming.sinks.dlq_store import open_dead_letters
from streaming.sinks.redrive import redrive_message
from streaming.sources.memory import MemoryLog
from streaming.sources.options import Subscription
from streaming.transforms.repair import read_event, set_path, to_bytes
from tests.stream.sandbox import NOW, Rows, Sandbox
from tests.support.builders import as_json, event_id, order_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("Q2")]

STREAM = "order_event_processor"
PRICE, CURRENCY, TEXT = (f"order-created/0/{n}" for n in (1, 2, 3))


def poison(sandbox: Sandbox) -> None:
    """A good order, a negative price, a wrong currency with a header, and a broken text."""
    sandbox.send_order(order_event(order_id="O-1"))
    sandbox.send_order(order_event(order_id="O-2", event_id=event_id("O-2"), total_price=-1))
    wrong = as_json(order_event(order_id="O-3", currency="dollars"))
    sandbox.broker.produce(
        "order-created", wrong, b"O-3", timestamp=NOW, headers=[("trace", b"\x00\xff")]
    )
    sandbox.send_raw("order-created", b"{not json \x00\xff", b"O-4")


def send_back(sandbox: Sandbox, entry: str, fixes: dict[str, Any]) -> str:
    """What `storelake dlq fix` and `redrive` do, with the memory log as the broker."""
    with open_dead_letters(sandbox.settings, "test") as store:
        (found,) = store.get([entry])
        if fixes:
            event = read_event(found.value)
            for path, value in fixes.items():
                event = set_path(event, path, value)
            store.store_fix(found, to_bytes(event))
        (found,) = store.get([entry])
        back = redrive_message(found)
        _, position = MemoryLog(sandbox.broker.path, Subscription((back.topic,))).bounds()[
            back.topic, 0
        ]
        headers = [(name, value or b"") for name, value in back.headers]
        sandbox.broker.produce(back.topic, back.value, back.key, timestamp=NOW, headers=headers)
        back_as = dead_letter_id(back.topic, 0, str(position))
        store.mark_redriven({entry: back_as})
    return back_as


@dataclass
class Story:
    """The contents of every table after each chapter."""

    sandbox: Sandbox
    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    again: str = ""

    def remember(self, chapter: str) -> None:
        self.tables[chapter] = self.sandbox.look()

    def dead_letters(self, chapter: str) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.tables[chapter]["dead_letters"]}

    def status(self, chapter: str) -> dict[str, str]:
        return {name: row["status"] for name, row in self.dead_letters(chapter).items()}


@pytest.fixture(scope="module")
def story(sandbox: Sandbox) -> Story:
    recorded = Story(sandbox)
    poison(sandbox)
    sandbox.run(STREAM)
    recorded.remember("poison")

    send_back(sandbox, PRICE, {"order.total_price": 2.5})
    recorded.again = send_back(
        sandbox, CURRENCY, {"order.customer_id": "C-9"}
    )  # not what was wrong
    recorded.remember("sent back")
    sandbox.run(STREAM)
    recorded.remember("validated")

    sandbox.lose_newest_commit(STREAM)
    sandbox.run(STREAM)
    recorded.remember("commit lost")

    sandbox.lose_checkpoint(STREAM)
    sandbox.run(STREAM)
    recorded.remember("checkpoint lost")

    send_back(sandbox, recorded.again, {"order.currency": "USD"})
    sandbox.run(STREAM)
    recorded.remember("fixed at last")
    return recorded


def test_every_rejected_message_is_an_open_rejected_message_whole(story: Story) -> None:
    dead_letters = story.dead_letters("poison")

    assert {k: (r["status"], r["rules"][0]) for k, r in dead_letters.items()} == {
        PRICE: ("open", "total_price_money"),
        CURRENCY: ("open", "currency_code"),
        TEXT: ("open", "valid_utf8"),
    }
    assert (dead_letters[TEXT]["key"], dead_letters[TEXT]["value"]) == (
        b"O-4",
        b"{not json \x00\xff",
    )
    assert dead_letters[CURRENCY]["headers"] == [["trace", "AP8="]]
    assert {r["received_at"] for r in dead_letters.values()} == {NOW}


def test_rejected_messages_are_what_quarantine_holds(story: Story) -> None:
    columns = ("topic", "partition", "position", "key", "value")
    for chapter in story.tables:
        served, lake = (
            sorted(tuple(row[c] for c in columns) for row in story.tables[chapter][name])
            for name in ("dead_letters", "quarantine.order_events")
        )
        assert served == lake, chapter


def test_a_rejected_message_has_its_event_and_order_when_they_can_be_read(story: Story) -> None:
    dead_letters = story.dead_letters("poison")

    assert dead_letters[PRICE]["event_id"] == event_id("O-2")
    assert {k: r["order_id"] for k, r in dead_letters.items()} == {
        PRICE: "O-2",
        CURRENCY: "O-3",
        TEXT: None,
    }


def test_what_was_sent_back_and_is_good_resolves_its_rejected_message(story: Story) -> None:
    assert story.status("sent back")[PRICE] == "redriven"
    entry = story.dead_letters("validated")[PRICE]

    assert entry["status"] == "resolved"
    assert isinstance(entry["resolved_at"], datetime)
    assert entry["redriven_as"] == "order-created/0/4"


def test_the_event_keeps_its_identity(story: Story) -> None:
    raw = {r["event_id"]: r for r in story.tables["validated"]["orders_raw"]}
    orders = {r["order_id"] for r in story.tables["validated"]["orders_processed"]}

    assert raw[event_id("O-2")]["position"] == f"{4:020d}"
    assert orders == {"O-1", "O-2"}


def test_what_is_rejected_again_is_a_message_of_its_own_with_its_origin(
    story: Story,
) -> None:
    dead_letters = story.dead_letters("validated")

    assert dead_letters[CURRENCY]["status"] == "superseded"
    assert (dead_letters[story.again]["status"], dead_letters[story.again]["origin"]) == (
        "open",
        CURRENCY,
    )
    assert story.again == "order-created/0/5"


def test_the_original_is_never_overwritten(story: Story) -> None:
    def originals(chapter: str) -> dict[str, tuple[Any, ...]]:
        dead_letters = story.dead_letters(chapter)
        return {
            k: (dead_letters[k]["value"], dead_letters[k]["key"]) for k in (PRICE, CURRENCY, TEXT)
        }

    assert originals("fixed at last") == originals("poison")


@pytest.mark.parametrize(
    ("chapter", "before"),
    [("commit lost", "validated"), ("checkpoint lost", "commit lost")],
    ids=["a commit is lost", "the checkpoint is lost"],
)
def test_no_row_of_any_table_changes_when(story: Story, chapter: str, before: str) -> None:
    assert story.tables[chapter] == story.tables[before]


def test_a_chain_of_rejected_messages_ends_in_a_good_order(story: Story) -> None:
    assert story.status("fixed at last") == {
        PRICE: "resolved",
        CURRENCY: "superseded",
        story.again: "resolved",
        TEXT: "open",
    }
    orders = {r["order_id"]: r for r in story.tables["fixed at last"]["orders_processed"]}
    assert (orders["O-3"]["currency"], orders["O-3"]["customer_id"]) == ("USD", "C-9")


def test_only_what_is_left_to_do_is_listed(story: Story) -> None:
    with open_dead_letters(story.sandbox.settings, "test") as store:
        assert [head.id for head in store.heads(Selection(status="open"), 10)] == [TEXT]

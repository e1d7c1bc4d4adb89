"""Order events, validated: a message is a good row or has the rules it failed; none is lost."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import ItemV3
from conf.stores import Stores
from streaming.lake.tables import SILVER_ORDERS
from streaming.transforms.order_event_processor import silver_orders
from streaming.transforms.quarantine import split_validated
from streaming.validation.envelope import envelope_rules
from streaming.validation.order_rules import IDENTITY_MEANINGS, MEANINGS, order_rules
from streaming.validation.rules import REFUSED
from tests.support.builders import as_json, order_event, order_item, status_event
from tests.support.messages import Sent, cases, read_case, to_rows

pytestmark = pytest.mark.requirement("O3")

JOB = "order_event_processor"
SKEW = timedelta(minutes=10)


def process(stores: Stores, messages: list[Sent]) -> pa.Table:
    """Validated rows of a batch, in the order of the messages."""
    return silver_orders(stores, SKEW)(to_rows("order-created", messages))


def rules_of(stores: Stores, *messages: Sent) -> list[list[str]]:
    found: list[list[str]] = process(stores, list(messages))["rules"].to_pylist()
    return found


def outcome(rows: pa.Table, expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows in the form of `then.json`: of a good row, the columns named there."""
    found = []
    for number, then in enumerate(expected):
        rules = rows["rules"][number].as_py()
        asked = then.get("silver", {})
        silver = {name: _plain(rows[name][number].as_py()) for name in asked}
        found.append({"rules": rules} if rules else {"silver": silver})
    return found


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, (Decimal, date)) else value


@pytest.mark.parametrize("case", cases(JOB), ids=lambda p: p.name)
def test_messages_become_what_the_scenario_expects(stores: Stores, case: Path) -> None:
    about, messages, then = read_case(case)
    rows = process(stores, messages)
    found = outcome(rows, then)
    assert dict(zip(about, found, strict=True)) == dict(zip(about, then, strict=True))


def test_every_rule_has_a_sentence_with_its_meaning(stores: Stores) -> None:
    content = [rule.id for rule in order_rules([b.branch_id for b in stores.branches], SKEW)]
    envelope = ["broker_metadata_readable", *envelope_rules(pa.array([b"{}"])), "json_object"]
    assert [*envelope, *content, *IDENTITY_MEANINGS, REFUSED] == list(MEANINGS)
    assert [s for s in MEANINGS.values() if not s.endswith(".")] == []


def test_a_good_row_has_the_columns_of_its_table(stores: Stores) -> None:
    newest = order_event(
        schema_version=3,
        channel="in_store",
        payments=[{"method": "card", "amount": 2.5}],
        discounts=[{"amount": 0.5, "reason": "10 for 8"}],
        **dict.fromkeys(("tax_total", "tip", "rounding"), 0),
        tax_included=True,
        shipping=0.5,
        fulfilment_branch_id="B02",
        original_order_id="O-0",
    )
    good, _ = split_validated(process(stores, [Sent(as_json(newest))]))
    names = [column.name for column in SILVER_ORDERS.fields]
    assert [n for n in names if n not in good.schema.names] == []
    (row,) = good.select(names).to_pylist()
    assert [n for n in names if row[n] is None] == []


def test_a_line_of_an_order_is_kept_to_the_cent(stores: Stores) -> None:
    rows = process(stores, [Sent(as_json(order_event()))])
    line = {
        "product_id": "P-1",
        "name": "WHOLE MILK",
        "category": "GROCERY",
        "quantity": 2,
        "unit_price": Decimal("1.25"),
    }
    of_later_versions = {f.name: None for f in contract_fields(ItemV3) if f.since > 1}
    assert rows["items"].to_pylist() == [[line | of_later_versions]]
    assert json.loads(rows["items_json"][0].as_py()) == [{**line, "unit_price": 1.25}]


@pytest.mark.parametrize(("two", "good"), [("2.0", True), ("20e-1", True), ("2.5", False)])
def test_a_whole_number_may_be_written_with_a_fraction(
    stores: Stores, two: str, good: bool
) -> None:
    event = as_json(
        order_event(schema_version=1.0, items=[order_item(quantity=77)], total_price=2.5)
    )
    event = event.replace(b'"quantity":77', b'"quantity":' + two.encode())
    (row,) = process(stores, [Sent(event)]).to_pylist()
    assert (row["rules"] == []) == good
    assert [line["quantity"] for line in row["items"] or []] == [2] * good


def test_the_json_of_the_lines_has_any_text_and_leaves_out_unknown_fields(stores: Stores) -> None:
    names = ["MILK", '"1/2" \\ litre', "\u00e9 \U0001f600", "tab\tline\n", "\x01\x1f\x7f\u2028"]
    lines = [order_item(name=name, extra={"aisle": 7}) for name in names]
    events = [status_event(), order_event(items=lines), order_event(), order_event(items=[])]
    rows = process(stores, [Sent(as_json(event)) for event in events])
    change, order, simple, rejected = rows["items_json"].to_pylist()
    assert [line["name"] for line in json.loads(order)] == names
    assert json.loads(order)[0].keys() == json.loads(simple)[0].keys()
    assert "aisle" not in json.loads(order)[0]
    assert (change, rejected) == (None, None)


def test_a_later_version_sorts_behind_an_earlier_one(stores: Stores) -> None:
    events = [
        order_event(event_time="2024-05-01T10:00:00Z"),
        order_event(event_time="2024-05-01T10:00:00Z"),
        order_event(event_time="2024-05-01T10:00:00.000001Z"),
        order_event(event_time="2024-05-01T10:00:00.1Z"),
        order_event(event_time="2024-05-01T10:00:01Z"),
    ]
    versions = process(stores, [Sent(as_json(e)) for e in events])["version"].to_pylist()
    assert versions == sorted(versions)
    assert len(set(versions)) == len(events)


def test_the_message_itself_is_kept_byte_for_byte_good_or_bad(stores: Stores) -> None:
    values = [b"\x00\xff", b"", None, as_json(order_event()) + b"\n", as_json(order_event())]
    rows = process(stores, [Sent(value) for value in values])
    assert rows["value"].to_pylist() == values


def test_ten_thousand_lines_are_an_order_and_one_more_is_not(stores: Stores) -> None:
    line = order_item(product_id="P", name="N", category="C", quantity=1, unit_price=0.01)
    most, more = (Sent(as_json(order_event(items=[line] * n))) for n in (10_000, 10_001))
    assert rules_of(stores, most, more) == [[], ["items_present"]]


def test_a_mebibyte_is_a_message_and_one_byte_more_is_not(stores: Stores) -> None:
    base = as_json(order_event())
    most = base + b" " * (1024 * 1024 - len(base))
    messages = [Sent(most), Sent(most + b" "), Sent(base + b" " * 5_000_000)]
    assert rules_of(stores, *messages) == [[], *[["value_not_too_large"]] * 2]


def test_deep_brackets_are_refused_and_stop_nothing(stores: Stores) -> None:
    deep = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    hidden = as_json(order_event())[:-1] + b',"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    messages = [Sent(deep), Sent(hidden), Sent(as_json(order_event()))]
    assert rules_of(stores, *messages) == [["json_object"], ["json_object"], []]


# Whatever comes

GOOD = [order_event(), order_event(event_type="order.updated"), status_event()]
LITERALS = ["NaN", "1e999999999", "-0", "null", "[]", "{}", '"\\ud800"', "1" * 50, "01", "'x'", ""]
texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def broken(chance: random.Random, values: list[Any]) -> bytes:
    """A good event with a few things broken: a field, a byte, a literal, the end."""
    event = json.loads(as_json(chance.choice(GOOD)))
    if chance.random() < 0.5:
        home = chance.choice([event, event["order"]])
        home[chance.choice(sorted(home))] = chance.choice(values)
    value = json.dumps(event).encode()
    at = chance.randrange(len(value))
    return chance.choice(
        [
            value,
            value[:at],
            value[:at] + chance.randbytes(1) + value[at + 1 :],
            value[:at] + chance.choice(LITERALS).encode() + value[at:],
            value + value,
            json.dumps(chance.choice(values)).encode(),
            chance.randbytes(at),
        ]
    )


# Each example is a whole batch: shrinking it costs more than it shows.
@settings(
    max_examples=20,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(chance=st.randoms(use_true_random=False), values=st.lists(json_values, min_size=10))
def test_any_message_is_good_or_rejected_and_nothing_raises(
    stores: Stores, chance: random.Random, values: list[Any]
) -> None:
    chance = random.Random(chance.random())  # one draw, so that a batch may be long
    keys = [b"O-1", b"O-1", None, b"\xff"]
    messages = [Sent(broken(chance, values), chance.choice(keys)) for _ in range(300)]
    messages += [Sent(as_json(event)) for event in GOOD]

    rows = process(stores, messages)
    good, rejected = split_validated(rows)

    assert good.num_rows + rejected.num_rows == len(messages)
    assert good.num_rows >= len(GOOD)
    assert rejected.num_rows > 0
    for column in ("event_id", "event_time", "order_id", "branch_id", "region", "status"):
        assert good[column].null_count == 0, column
    for value in good["value"].to_pylist():
        assert isinstance(json.loads(value), dict)

"""Orders of the past in files: the same events from every format, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from imports.files import OrderImportError, read_orders
from tests.support.builders import as_json, order_event, order_item

pytestmark = pytest.mark.requirement("O11")

ORDER = "order_id,customer_id,branch_id,payment_method,currency,total_price,created_at"
LINE = "item_product_id,item_name,item_category,item_quantity,item_unit_price"
MILK, RYE = "P-1,WHOLE MILK,GROCERY,2,1.25", 'P-2,"RYE, dark",BAKERY,1,0.10'
FIRST = "O-1,C-1,B01,cash,USD,2.60,2024-05-01T10:00:00Z"
OTHER = "O-2,C-1,B01,cash,USD,2.50,2023-05-01T10:00:00Z"


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Two orders; the lines of the first one are not together."""
    lines = [f"{ORDER},{LINE}", f"{FIRST},{MILK}", f"{OTHER},{MILK}", f"{FIRST},{RYE}"]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(message.value) for message in read_orders(path)]


def test_the_rows_of_a_csv_are_lines_of_orders(csv: Path) -> None:
    messages = list(read_orders(csv))
    assert [(m.key, m.event_type) for m in messages] == [
        ("O-2", "order.created"),
        ("O-1", "order.created"),
    ]
    order = json.loads(messages[1].value)["order"]
    lines = [(i["product_id"], i["name"], i["quantity"], i["unit_price"]) for i in order["items"]]
    assert lines == [("P-1", "WHOLE MILK", 2, 1.25), ("P-2", "RYE, dark", 1, 0.1)]
    assert b'"total_price":2.60' in messages[1].value  # as written
    assert (order["status"], order["created_at"]) == ("completed", "2024-05-01T10:00:00Z")


def test_a_file_that_is_read_again_has_the_same_events(csv: Path) -> None:
    assert list(read_orders(csv)) == list(read_orders(csv))


def test_parquet_is_read_as_csv_and_with_items_as_the_silver_table(csv: Path) -> None:
    flat, nested = csv.with_suffix(".parquet"), csv.with_name("silver.parquet")
    typed = "SELECT * REPLACE (created_at::timestamptz AS created_at) FROM"
    duckdb.sql(f"COPY ({typed} read_csv('{csv}')) TO '{flat}'")
    items = f"""SELECT {ORDER}, 'order.created' AS event_type, list(struct_pack(
        product_id := item_product_id, name := item_name, category := item_category,
        quantity := item_quantity, unit_price := item_unit_price::decimal(12, 2))) AS items"""
    duckdb.sql(f"COPY ({items} FROM read_csv('{csv}') GROUP BY ALL) TO '{nested}'")
    (_, first), (_, same), (_, expected) = events(flat), events(nested), events(csv)
    assert first["order"] | {"created_at": "2024-05-01T10:00:00Z"} == expected["order"]
    assert [i["unit_price"] for i in same["order"]["items"]] == [1.25, 0.1]


def test_no_row_of_a_csv_is_lost(csv: Path) -> None:
    """An id like a comment, a row that ends early, a name with a newline."""
    rows = [f"{ORDER},{LINE}", f"#1{FIRST},{MILK}", f"#2{FIRST},{MILK}", f"{OTHER},{MILK}", "O-3"]
    csv.write_text("\n".join([*rows, f'{OTHER},P-3,"A\nB",X,1,1']), encoding="utf-8")
    assert {m.key for m in read_orders(csv)} == {"#1O-1", "#2O-1", "O-2", "O-3"}


def test_rows_of_one_order_that_differ_in_a_column_of_the_order_are_refused(csv: Path) -> None:
    own_total = FIRST.replace("2.60", "0.10")
    csv.write_text("\n".join([f"{ORDER},{LINE}", f"{FIRST},{MILK}", f"{own_total},{RYE}"]))
    with pytest.raises(OrderImportError, match="order O-1 differ in total_price"):
        events(csv)


@pytest.mark.parametrize("odd", ["1e9999999999999999999", "NaN", "[" * 100_000])
def test_a_number_that_is_none_stops_no_file(csv: Path, odd: str) -> None:
    lines = [f"{ORDER},{LINE}", f"{FIRST},{MILK}", OTHER.replace("2.50", odd) + f",{MILK}"]
    csv.write_text("\n".join(lines), encoding="utf-8")
    assert sorted(event["order"]["order_id"] for event in events(csv)) == ["O-1", "O-2"]


def test_a_line_that_is_no_message_is_sent_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "orders.ndjson"
    surrogate, huge = (
        rb'{"order_id": "a\ud800"}',
        b'{"order_id": "b", "tip": 1e9999999999999999999}',
    )
    nan, event = b'{"order_id": "c", "tip": NaN}', as_json(order_event())
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join([event, surrogate, huge, nan]))
    assert [message.value for message in read_orders(path)] == [event, surrogate, huge, nan]


def test_states_of_one_order_are_events_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "orders.ndjson"
    order = order_event()["order"] | {"status": "pending"}
    path.write_text("\n".join(json.dumps(order | {"status": s}) for s in ("pending", "completed")))
    assert len({event["event_id"] for event in events(path)}) == 2


def test_items_may_be_json_in_a_cell(csv: Path) -> None:
    cell = json.dumps([order_item()]).replace('"', '""')
    csv.write_text(f'{ORDER},items\n{FIRST},"{cell}"\n{OTHER},bread', encoding="utf-8")
    other, first = events(csv)
    assert (first["order"]["items"], other["order"]["items"]) == ([order_item()], "bread")


def test_each_update_of_an_order_is_an_event_of_its_own(csv: Path) -> None:
    head, day = f"{ORDER},event_type,event_time,{LINE}", "2024-05-02T1"
    rows = [f"{FIRST},order.updated,{day}{hour}:00:00Z,{MILK}" for hour in (1, 2)]
    csv.write_text("\n".join([head, *rows]), encoding="utf-8")
    assert len({event["event_id"] for event in events(csv)}) == 2


def test_a_line_of_ndjson_is_an_event_an_order_or_what_validation_rejects(tmp_path: Path) -> None:
    event, order = order_event(order_id="O-1"), order_event(order_id="O-2", items=[order_item()])
    path = tmp_path / "orders.ndjson"
    path.write_bytes(b"\n".join([as_json(event), as_json(order["order"]), b"{broken", b""]))
    first, second, third = read_orders(path)
    assert (first.key, first.value) == ("O-1", as_json(event))
    assert (second.key, json.loads(second.value)["order"]["items"]) == ("O-2", [order_item()])
    assert (third.key, third.event_type, third.value) == (None, None, b"{broken")


def test_a_file_that_holds_no_orders_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("order_id,total\n1,2\n", encoding="utf-8")
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    for name, reason in {
        "a.csv": "has no column branch_id, created_at.",
        "a.parquet": "cannot be read: ",
        "a.xlsx": "orders come as .csv, .ndjson, .jsonl or .parquet.",
        "none.csv": "cannot be read: ",
    }.items():
        with pytest.raises(OrderImportError, match=reason):
            list(read_orders(tmp_path / name))

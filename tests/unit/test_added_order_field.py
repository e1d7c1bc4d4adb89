"""An optional field that is added to the contract of orders reaches all that derives from it.

The contract is edited in one line and loaded in a fresh interpreter in place of the real one, so
nothing else can have been changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conf.contracts import order_event as contract
from conf.contracts.compare import compare_schemas

ROOT = Path(__file__).resolve().parents[2]
ADDED = (
    "    till: Annotated[Identifier | None, Meta(description='Where it was paid.'),"
    " field_option(since=4)] = None\n"
)
PROGRAM = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("conf.contracts.order_event", sys.argv[1])
contract = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = contract
spec.loader.exec_module(contract)

from datetime import timedelta
from conf.settings import CONF_DIR
from conf.stores import load_stores
from gateway.events import check
from gateway.rejections import NotAnEventError
from tools.docs.event_fields import event_fields
from streaming.sinks import orders
from streaming.lake.tables import SILVER_ORDERS
from streaming.transforms.order_event_processor import SILVER_SCHEMA, silver_orders
from streaming.validation.order_rules import MEANINGS
from streaming.lake.views import views
from tests.support.builders import as_json, order_event
from tests.support.messages import Sent, to_rows

def faults(event):
    try:
        check(as_json(event), frozenset({"order.created"}))
    except NotAnEventError as error:
        return [[f.path, f.code] for f in error.faults]
    return []

def event(version, till):
    made = order_event(schema_version=version)
    return {**made, "order": {**made["order"], "till": till}}

stores = load_stores(CONF_DIR / "stores" / "demo.toml")
events = [event(4, "T-1"), event(4, None), event(4, ""), event(3, ""), event(4, ["T-1"])]
rows = silver_orders(stores, timedelta(minutes=10))(
    to_rows("order-created", [Sent(as_json(e)) for e in events])
)
json.dump({
    "versions": contract.VERSIONS,
    "schemas": contract.schema_files(),
    "gateway": [faults(e) for e in events],
    "silver_type": str(SILVER_SCHEMA.field("till").type),
    "tills": rows["till"].to_pylist(),
    "rules": rows["rules"].to_pylist(),
    "meaning": MEANINGS["till_length"],
    "ddl": SILVER_ORDERS.columns,
    "nullable": SILVER_ORDERS.nullable,
    "stage": orders.ORDERS["till"],
    "described": [p.name for f in event_fields(contract.order_schema(4), ["order.created"])
                  if f.name == "order" for p in f.properties],
    "upsert": orders._PROCESSED_SQL,
    "view": next(v.sql for v in views(stores) if v.name == "orders"),
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the product derives from a contract with one line more."""
    source = Path(contract.__file__).read_text(encoding="utf-8")
    before = "    items: Annotated[list[ItemV3]"
    assert source.count(before) == 1
    edited = tmp_path_factory.mktemp("contract") / "order_event.py"
    edited.write_text(source.replace(before, ADDED + before), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(edited)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_it_makes_a_new_version_that_only_adds(grown: dict[str, Any]) -> None:
    assert grown["versions"] == [1, 2, 3, 4]
    schemas = grown["schemas"]
    assert {name: schemas[name] for name in contract.schema_files()} == contract.schema_files()
    newest = json.loads(schemas["order_event.v4.json"])
    changes = compare_schemas(
        contract.order_schema(3), newest, ignored=["schema_version", "$comment"]
    )
    assert [(c.path, c.breaking) for c in changes] == [
        ("(where event_type is not order.status_changed) order.till", False)
    ]


def test_the_gateway_checks_it_from_its_version_on(grown: dict[str, Any]) -> None:
    empty, wrong = [["order.till", "string_too_short"]], [["order.till", "string_type"]]
    assert grown["gateway"] == [[], [], empty, [], wrong]


def test_the_stream_parses_and_checks_it_from_its_version_on(grown: dict[str, Any]) -> None:
    assert grown["rules"] == [[], [], ["till_length"], [], ["types_match"]]
    assert grown["tills"][:4] == ["T-1", None, "", None]
    assert grown["meaning"] == (
        "order.till, a field of version 4, is empty or longer than 64 characters."
    )


def test_lake_postgres_and_pages_have_it(grown: dict[str, Any]) -> None:
    assert grown["silver_type"] == "string"
    assert "till string" in grown["ddl"].split(",\n")
    assert "till" in grown["nullable"]
    assert grown["stage"] == "text"
    assert "till = CASE WHEN EXCLUDED.body_version" in grown["upsert"]
    assert "till" in grown["described"]
    assert "body.till" in grown["view"]

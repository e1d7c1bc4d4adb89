"""Contracts: breaking changes, the command that reports them, and contracts equal to the code."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from jsonschema.validators import validator_for
from open_data_contract_standard.model import OpenDataContractStandard
from typer.testing import CliRunner

from cli import contracts as command
from cli.main import app
from conf.contracts import FOLDER, event_schemas, order_event, read_event_schema
from conf.contracts.compare import compare_schemas, expand
from conf.contracts.files import file_changes, parse, read_folder, read_git
from conf.contracts.odcs import compare_odcs, read_odcs
from conf.errors import ContractError
from infra.postgres.migrate import MIGRATIONS
from streaming.lake.ddl import parse_columns, split_top_level
from streaming.lake.tables import SERVING_WRITERS, SILVER_DETECTIONS, SILVER_ORDERS
from streaming.transforms.order_columns import ORDER_COLUMNS
from streaming.transforms.order_message import OrderEvent
from streaming.transforms.silver_detections import DetectionEvent
from tools.docs.odcs import table_contract, versioned
from tools.docs.relations import read_relations

pytestmark = pytest.mark.requirement("Q1")

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture
def contract() -> dict[str, Any]:
    """A small event: a required id, a few values, a branch by kind, and lines."""
    return {
        "$id": "urn:storelake:test:1",
        "type": "object",
        "required": ["id", "kind"],
        "properties": {
            "id": {"$ref": "#/$defs/id"},
            "kind": {"enum": ["sale", "return"]},
            "note": {"type": "string", "pattern": "^[a-z]*$"},
            "lines": {
                "type": "array",
                "items": {"type": "object", "properties": {"quantity": {"type": "integer"}}},
            },
        },
        "if": {"properties": {"kind": {"const": "sale"}}},
        "then": {"properties": {"price": {"type": "number", "minimum": 0}}},
        "$defs": {"id": {"type": "string", "maxLength": 64}},
    }


def changed(old: dict[str, Any], edit: Edit) -> list[tuple[str, bool]]:
    """The paths of the changes that an edit makes, and whether each breaks."""
    new = copy.deepcopy(old)
    edit(new)
    return [(c.path, c.breaking) for c in compare_schemas(old, new)]


ADDITIVE: dict[str, tuple[str, Edit]] = {
    "a new optional field": ("till", lambda s: s["properties"].update(till={"type": "string"})),
    "another value": ("kind", lambda s: s["properties"]["kind"]["enum"].append("exchange")),
    "a higher maximum, behind a reference": ("id", lambda s: s["$defs"]["id"].update(maxLength=99)),
    "a lower minimum, under a condition": (
        "(where kind is sale) price",
        lambda s: s["then"]["properties"]["price"].update(minimum=-1),
    ),
}
BREAKING: dict[str, tuple[str, Edit]] = {
    "a removed field": ("note", lambda s: s["properties"].pop("note")),
    "another type": ("note", lambda s: s["properties"]["note"].update(type="integer")),
    "a type that widens": (
        "note",
        lambda s: s["properties"]["note"].update(type=["string", "null"]),
    ),
    "a new required field": (
        "till",
        lambda s: (s["properties"].update(till={}), s["required"].append("till")),
    ),
    "an optional field that is required now": ("note", lambda s: s["required"].append("note")),
    "a required field that is optional now": ("kind", lambda s: s["required"].remove("kind")),
    "a removed value": ("kind", lambda s: s["properties"]["kind"]["enum"].remove("return")),
    "a value that is null": ("kind", lambda s: s["properties"]["kind"]["enum"].append(None)),
    "values where all were allowed": ("note", lambda s: s["properties"]["note"].update(enum=["a"])),
    "a lower maximum": ("id", lambda s: s["$defs"]["id"].update(maxLength=32)),
    "a bound where there was none": ("note", lambda s: s["properties"]["note"].update(minLength=1)),
    "another pattern": ("note", lambda s: s["properties"]["note"].update(pattern="^[A-Z]*$")),
    "a type within a list": (
        "lines[].quantity",
        lambda s: s["properties"]["lines"]["items"]["properties"]["quantity"].update(type="number"),
    ),
    "another condition": ("the event", lambda s: s["if"]["properties"]["kind"].update(const="x")),
    "a closed event": ("the event", lambda s: s.update(additionalProperties=False)),
    "a removed branch": ("the event", lambda s: s.pop("then")),
}


@pytest.mark.parametrize(("path", "edit"), ADDITIVE.values(), ids=ADDITIVE.keys())
def test_an_additive_change_of_an_event(contract: dict[str, Any], path: str, edit: Edit) -> None:
    assert changed(contract, edit) == [(path, False)]


@pytest.mark.parametrize(("path", "edit"), BREAKING.values(), ids=BREAKING.keys())
def test_a_breaking_change_of_an_event(contract: dict[str, Any], path: str, edit: Edit) -> None:
    assert changed(contract, edit) == [(path, True)]


def test_a_renamed_field_is_one_removed_and_one_added(contract: dict[str, Any]) -> None:
    def rename(schema: dict[str, Any]) -> None:
        schema["properties"]["remark"] = schema["properties"].pop("note")

    assert changed(contract, rename) == [("note", True), ("remark", False)]


def test_descriptions_and_the_names_of_definitions_are_no_change(contract: dict[str, Any]) -> None:
    def rewrite(schema: dict[str, Any]) -> None:
        schema["title"] = "Another title"
        schema["$defs"]["identifier"] = schema["$defs"].pop("id")
        schema["properties"]["id"] = {"$ref": "#/$defs/identifier", "description": "Of the event."}

    assert changed(contract, rewrite) == []


@pytest.mark.parametrize(
    ("definition", "problem"),
    [({"$ref": "#/$defs/id"}, "leads into itself"), ({"$ref": "#/$defs/x"}, "leads nowhere")],
)
def test_a_reference_that_cannot_be_followed_is_named(
    contract: dict[str, Any], definition: dict[str, str], problem: str
) -> None:
    contract["$defs"]["id"] = definition
    with pytest.raises(ContractError, match=problem):
        expand(contract)


# Tables


def with_columns(ddl: str, key: tuple[str, ...] = ("id",)) -> OpenDataContractStandard:
    return table_contract(replace(SILVER_ORDERS, columns=ddl, key=key))


OLD = "id string, n int, price decimal(12,2), lines array<struct<sku: string, n: int>>"


@pytest.mark.parametrize(
    ("ddl", "path", "breaking"),
    [
        (f"{OLD}, added string", "added", False),
        (OLD.replace("n int,", "n bigint,"), "n", False),
        (OLD.replace("(12,2)", "(14,2)"), "price", False),
        (OLD.replace("n: int>", "n: int, unit: string>"), "lines[].unit", False),
        (OLD.replace("n int, ", ""), "n", True),
        (OLD.replace("n int,", "n string,"), "n", True),
        (OLD.replace("(12,2)", "(12,3)"), "price", True),
        (OLD.replace("sku: string, ", ""), "lines[].sku", True),
        (OLD.replace("n: int>", "n: date>"), "lines[].n", True),
    ],
)
def test_columns_may_be_added_and_widened_and_nothing_else(
    ddl: str, path: str, breaking: bool
) -> None:
    changes = compare_odcs(with_columns(OLD), with_columns(ddl))
    assert [(c.path, c.breaking) for c in changes] == [(path, breaking)]


def test_another_key_breaks_a_table() -> None:
    changes = compare_odcs(with_columns(OLD), with_columns(OLD, key=("id", "n")))
    (key,) = (c for c in changes if c.breaking)
    assert "has the key (id, n) now and had (id)" in key.sentence


def test_the_change_decides_the_next_version_of_a_contract(tmp_path: Path) -> None:
    file = tmp_path / "silver.orders.odcs.yaml"

    def version_after(columns: str, version: str = "1.0.0") -> str | None:
        old = with_columns(columns).model_copy(update={"version": version})
        file.write_text(old.to_yaml(), encoding="utf-8")
        return versioned(with_columns(OLD), file).version

    assert versioned(with_columns(OLD), file).version == "1.0.0"
    assert version_after(OLD, "1.2.3") == "1.2.3"
    assert version_after(OLD.replace("n int,", "n int COMMENT 'pieces',"), "1.2.3") == "1.2.4"
    assert version_after(OLD.replace("n int, ", ""), "1.2.3") == "1.3.0"
    assert version_after(f"{OLD}, gone string", "1.2.3") == "2.0.0"
    with pytest.raises(ContractError, match="has no version like 1"):
        version_after(f"{OLD}, gone string", "one")


# The command


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The event contracts and one table's, in a folder that a test may change."""
    for name in ("order_event.v1.json", "order_event.v2.json", "silver.orders.odcs.yaml"):
        (tmp_path / name).write_text((FOLDER / name).read_text("utf-8"), "utf-8")
    return tmp_path


def edit_event(file: Path, edit: Edit) -> None:
    schema = json.loads(file.read_text("utf-8"))
    edit(schema)
    file.write_text(json.dumps(schema), "utf-8")


def test_our_own_versions_only_add() -> None:
    result = CliRunner().invoke(app, ["contracts", "check"])
    assert result.exit_code == 0, result.output
    assert "order_event.v2.json: (where event_type is not order.status_changed) order.channel" in (
        result.output
    )


def test_a_breaking_change_is_named_with_its_file_and_path(copies: Path) -> None:
    edit_event(
        copies / "order_event.v2.json", lambda s: s["$defs"]["order"]["required"].append("x")
    )
    with pytest.raises(ContractError, match=r"v2\.json: .* order\.x is new and required"):
        command.check(against=None, folder=copies)


def test_contracts_are_compared_with_an_older_folder(copies: Path) -> None:
    old, new = parse(read_folder(FOLDER)), parse(read_folder(copies))
    removed = [file for file, change in file_changes(old, new) if change.breaking]
    assert sorted(removed) == sorted(old.keys() - new.keys())
    assert list(file_changes(new, old)) == []


def test_contracts_are_compared_with_a_commit(copies: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@invalid")
        subprocess.run(["git", "-C", str(copies), *identity, *arguments], check=True)

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "As released")
    git("tag", "released")
    edit_event(
        copies / "order_event.v1.json",
        lambda s: (s["properties"].pop("source"), s["required"].remove("source")),
    )

    changes = file_changes(parse(read_git(copies, "released")), parse(read_folder(copies)))
    assert [(f, c.path, c.breaking) for f, c in changes] == [
        ("order_event.v1.json", "source", True)
    ]
    with pytest.raises(ContractError, match="nothing is neither a folder nor a commit"):
        read_git(copies, "nothing")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("order_event.v3.json", "{", "order_event.v3.json is no JSON"),
        ("order_event.v3.json", "[]", "it is not the JSON Schema of an object"),
        ("order_event.v3.json", '{"type": "object", "required": 1}', "no JSON Schema: .* required"),
        ("order_event.json", "{}", "is no contract by its name"),
        ("silver.orders.odcs.yaml", "a: [", "silver.orders.odcs.yaml is no YAML"),
        ("silver.orders.odcs.yaml", "[1]", "is no Open Data Contract"),
        ("silver.orders.odcs.yaml", "kind: DataContract", "no Open Data Contract with a schema"),
        ("silver.orders.odcs.yaml", "colour: red", "no Open Data Contract: colour: Extra inputs"),
    ],
)
def test_a_file_that_is_no_contract_is_one_clear_sentence(
    copies: Path, name: str, text: str, problem: str
) -> None:
    (copies / name).write_text(text, "utf-8")
    with pytest.raises(ContractError, match=problem):
        command.check(against=None, folder=copies)


def test_a_folder_without_contracts_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="holds no contract"):
        command.check(against=str(tmp_path), folder=None)
    with pytest.raises(ContractError, match="is no folder"):
        command.check(against=None, folder=tmp_path / "gone")


# Contracts and code


def names_in(ddl: str) -> Any:
    """A DDL list as nested names: a structure, or an array of structures, has its own."""
    found = {}
    for column in parse_columns(ddl):
        inner = column.type.removeprefix("array<").removeprefix("struct<")
        closing = len(column.type) - len(column.type.rstrip(">"))
        if "struct<" in column.type:
            parts = split_top_level(inner[: -closing or None])
            found[column.name] = names_in(", ".join(p.replace(":", "", 1) for p in parts))
        else:
            found[column.name] = None
    return found


def names_parsed(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields that a struct reads, in the same form."""
    return {
        field.encode_name: names_parsed(inner) if (inner := struct_in(field.type)) else None
        for field in msgspec.structs.fields(struct)
    }


def struct_in(kind: Any) -> type[msgspec.Struct] | None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(struct_in, get_args(kind))), None)


def fields_of(schema: Any) -> Any:
    """The same of an expanded JSON Schema, over all its branches."""
    found: dict[str, Any] = {}
    for part in (schema, schema.get("then", {}), schema.get("else", {}), schema.get("items", {})):
        for name, field in part.get("properties", {}).items():
            inner = fields_of(field)
            found[name] = {**(found.get(name) or {}), **inner} if inner else found.get(name)
    return found or None


def test_the_streams_parse_every_field_that_some_version_of_the_order_event_has() -> None:
    contracted: dict[str, Any] = {}
    for schema in event_schemas("order_event").values():
        fields = fields_of(expand(schema))
        order = {**contracted.get("order", {}), **fields["order"]}
        contracted |= {**fields, "order": order}
    # What a later version adds may be anything to an earlier one: it is decoded as such.
    contracted["order"] |= dict.fromkeys(("payments", "discounts"))
    assert names_parsed(OrderEvent) == contracted


def test_gateway_and_streams_take_the_versions_that_have_a_contract() -> None:
    versions = event_schemas("order_event")
    assert tuple(versions) == order_event.VERSIONS
    for number, schema in versions.items():
        assert schema["properties"]["schema_version"] == {"const": number}


def test_silver_orders_has_every_field_of_an_order() -> None:
    order = fields_of(expand(event_schemas("order_event")[order_event.VERSIONS[-1]]))["order"]
    silver = names_in(SILVER_ORDERS.columns)
    # Silver keeps the new status of a change.
    assert order.keys() - {"old_status", "new_status"} <= silver.keys()
    assert silver["items"] == order["items"]


def test_silver_detections_are_parsed_from_the_fields_of_the_contract() -> None:
    (schema,) = event_schemas("detection_event").values()
    assert names_parsed(DetectionEvent) == fields_of(expand(schema))
    renamed = {"bbox", "schema_version", "image", "detections", "runtime", "device", "inference_ms"}
    fields = fields_of(expand(schema))
    flat = fields.keys() | fields["detections"].keys() | fields["runtime"].keys()
    assert flat - renamed <= names_in(SILVER_DETECTIONS.columns).keys()


@pytest.mark.parametrize(
    "file",
    [
        "topic.order-events.odcs.yaml",
        "topic.detections.odcs.yaml",
        "silver.orders.odcs.yaml",
        "postgres.order_metrics.odcs.yaml",
    ],
)
def test_our_contracts_follow_the_standard(file: str) -> None:
    standard = json.loads((files("open_data_contract_standard") / "schema.json").read_text("utf-8"))
    tree = read_odcs((FOLDER / file).read_text("utf-8"), file).model_dump(
        by_alias=True, exclude_none=True
    )
    validator_for(standard)(standard).validate(tree)


def test_every_table_of_the_serving_database_that_is_promised_has_columns_and_a_key() -> None:
    relations = {r.name: r for r in read_relations(MIGRATIONS)}
    for name in SERVING_WRITERS:
        columns = {c.name: c for c in relations[name].columns}
        assert set(relations[name].key) <= columns.keys()
        assert all(columns[k].required for k in relations[name].key)
    metrics = {c.name: (c.type, c.required) for c in relations["order_metrics"].columns}
    assert metrics["online_count"] == ("bigint", True)
    assert metrics["average_order_value"] == ("numeric(18, 4)", False)
    subtotal = {c.name: c.type for c in relations["orders_processed"].columns}["subtotal"]
    assert subtotal == "numeric(18, 4)"


def test_a_migration_has_a_column_for_every_field_of_an_order_that_postgres_serves() -> None:
    relations = {r.name: {c.name for c in r.columns} for r in read_relations(MIGRATIONS)}
    served = {c.name for c in ORDER_COLUMNS if c.staged and c.body}
    assert served <= relations["orders_processed"]


def test_a_float_is_never_read_from_a_contract() -> None:
    schema = read_event_schema('{"type": "object", "multipleOf": 0.01}', "x.v1.json")
    assert str(schema["multipleOf"]) == "0.01"

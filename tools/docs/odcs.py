"""The contracts of topics and public tables in the Open Data Contract Standard.

Sources: the fields of a topic come from the JSON Schema of its event, its event types from the
routes of the gateway, a table of the lake from `streaming/lake/tables.py`, a table of the serving
database from its migrations. The version of a contract rises when one of these changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from open_data_contract_standard.model import (
    AuthoritativeDefinition,
    CustomProperty,
    Description,
    EnumValue,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)

from conf.contracts import Schema, event_schemas, read_event_schema
from conf.contracts.odcs import MESSAGE_KEY, SUFFIX, compare_odcs, read_odcs
from conf.contracts.order_event import schema_files
from conf.errors import ContractError
from conf.settings import KafkaSettings
from gateway.routes import event_routes
from infra.postgres.migrate import MIGRATIONS
from streaming.lake.ddl import split_top_level
from streaming.lake.tables import SERVING_WRITERS, TABLES, Table
from tools.docs.event_fields import event_fields
from tools.docs.relations import Relation, read_relations

STANDARD = "v3.2.0"
FIRST_VERSION = "1.0.0"
PUBLIC_LAYERS = ("silver", "gold")
LOGICAL_TYPES = {
    **dict.fromkeys(("string", "text", "char", "binary", "bytea"), "string"),
    **dict.fromkeys(("int", "integer", "bigint", "smallint"), "integer"),
    **dict.fromkeys(("decimal", "numeric", "double", "double precision", "number"), "number"),
    **dict.fromkeys(("timestamp", "timestamp_ntz", "timestamptz"), "timestamp"),
    **dict.fromkeys(("json", "jsonb", "object"), "object"),
    **{name: name for name in ("date", "boolean", "array")},
}


def build_contracts(folder: Path) -> dict[str, OpenDataContractStandard]:
    """Every contract by its file name, with a version that follows from the old file.

    Raises:
        ContractError: a file in the folder is not a contract.
    """
    relations = [r for r in read_relations(MIGRATIONS) if r.name in SERVING_WRITERS]
    contracts = [
        *topic_contracts(),
        *(table_contract(t) for t in TABLES if t.name.partition(".")[0] in PUBLIC_LAYERS),
        *(relation_contract(r, SERVING_WRITERS[r.name]) for r in relations),
    ]
    return {f"{c.name}{SUFFIX}": versioned(c, folder / f"{c.name}{SUFFIX}") for c in contracts}


def topic_contracts() -> Iterator[OpenDataContractStandard]:
    """The contracts of the topics, with default settings.

    The values of an order topic are events of the types that the gateway sends there. The schemas
    of orders are defined in code, since their files may not be written yet.
    """
    kafka = KafkaSettings()
    texts = enumerate(schema_files().items(), 1)
    defined = {version: read_event_schema(text, name) for version, (name, text) in texts}
    orders = {**event_schemas("order_event"), **defined}
    for topic in kafka.order_topics:
        types = {e for r in event_routes(kafka) if r.topic == topic for e in r.event_types}
        yield _topic(topic, "order_event", orders, "order.order_id", types)
    detections = event_schemas("detection_event")
    yield _topic(kafka.detections, "detection_event", detections, "branch_id/camera_id", set())


def _topic(
    name: str, event: str, versions: Mapping[int, Schema], key: str, event_types: set[str]
) -> OpenDataContractStandard:
    """Fields of the newest schema version, links to all versions."""
    newest = versions[max(versions)]
    fields = event_fields(newest, event_types)
    for field in fields:
        if field.name == "schema_version":
            field.enum = [EnumValue(value=v) for v in versions]
    thing = SchemaObject(
        name=name,
        physicalName=name,
        physicalType="topic",
        logicalType="object",
        description=newest.get("description"),
        dataGranularityDescription=f"one {newest['title'].partition(',')[0].lower()}",
        properties=fields,
        customProperties=[CustomProperty(property=MESSAGE_KEY, value=key)],
        authoritativeDefinitions=[
            AuthoritativeDefinition(url=f"{event}.v{v}.json", type="implementation")
            for v in versions
        ],
    )
    return _contract(f"topic.{name}", thing)


def table_contract(table: Table) -> OpenDataContractStandard:
    """The contract of a table of the lake."""
    fields = [_field(c.name, c.type, c.comment, c.name in table.key) for c in table.fields]
    own = {"writer": table.writer, "writeStrategy": table.strategy, "partition": [*table.partition]}
    return _contract(table.name, _table(table.name, table.grain, fields, table.key, own))


def relation_contract(relation: Relation, writer: str) -> OpenDataContractStandard:
    """The contract of a table of the serving database."""
    fields = [_field(c.name, c.type, c.comment, c.required) for c in relation.columns]
    thing = _table(relation.name, relation.grain, fields, relation.key, {"writer": writer})
    return _contract(f"postgres.{relation.name}", thing)


def _contract(name: str, thing: SchemaObject) -> OpenDataContractStandard:
    return OpenDataContractStandard(
        apiVersion=STANDARD,
        kind="DataContract",
        id=f"urn:storelake:{name}",
        name=name,
        version=FIRST_VERSION,
        status="active",
        description=Description(purpose=thing.dataGranularityDescription),
        schema=[thing],
    )


def _table(
    name: str,
    grain: str,
    fields: list[SchemaProperty],
    key: tuple[str, ...],
    own: Mapping[str, Any],
) -> SchemaObject:
    for field in fields:
        if field.name in key:
            field.primaryKey, field.primaryKeyPosition = True, key.index(field.name) + 1
    return SchemaObject(
        name=name,
        physicalName=name,
        physicalType="table",
        logicalType="object",
        dataGranularityDescription=grain,
        properties=fields,
        customProperties=[CustomProperty(property=p, value=v) for p, v in own.items() if v],
    )


def _field(name: str | None, type_: str, comment: str, required: bool) -> SchemaProperty:
    """A column, or a nested field; `array<struct<a: int>>` and `text[]` get inner fields."""
    field = SchemaProperty(
        name=name,
        physicalType=type_,
        logicalType=LOGICAL_TYPES.get(type_.partition("(")[0]),
        description=comment or None,
        required=required or None,
    )
    if type_.endswith("[]"):
        field.logicalType, field.items = "array", _field(None, type_[:-2], "", required=False)
    elif type_.startswith("array<"):
        field.logicalType, field.items = "array", _field(None, type_[6:-1], "", required=False)
    elif type_.startswith("struct<"):
        inner = (part.partition(":") for part in split_top_level(type_[7:-1]))
        field.logicalType = "object"
        field.properties = [_field(n.strip(), t.strip(), "", required=False) for n, _, t in inner]
    return field


def versioned(new: OpenDataContractStandard, file: Path) -> OpenDataContractStandard:
    """Set the version by comparison with the old file: breaking, additive or text change.

    Raises:
        ContractError: the file is not a contract, or its version is not MAJOR.MINOR.PATCH.
    """
    if not file.is_file():
        return new
    text = file.read_text(encoding="utf-8")
    old = read_odcs(text, file.name)
    same = new.model_copy(update={"version": old.version})
    if same.to_yaml() == text:
        return same
    try:
        major, minor, patch = map(int, (old.version or "").split("."))
    except ValueError:
        raise ContractError(f"{file.name} has no version like {FIRST_VERSION}.") from None
    changes = compare_odcs(old, same)
    if any(c.breaking for c in changes):
        version = f"{major + 1}.0.0"
    elif changes:
        version = f"{major}.{minor + 1}.0"
    else:
        version = f"{major}.{minor}.{patch + 1}"
    return new.model_copy(update={"version": version})

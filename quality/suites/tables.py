"""Declarations of `streaming/lake/tables.py` for every table of the lake, as expectations.

Three suites a table: `schema` (columns and types), `columns` (nulls and values of the new rows) and
`keys` (unique, among the new rows and the older ones of their time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from conf.settings import Settings
from conf.stores import Stores
from quality.context import AuditContext
from quality.facts import (
    UTC_TIME,
    declared_types,
    hours_of,
    named,
    rows_of,
    type_name,
    within,
)
from quality.suite import PERSONAL, FactSuite, RowSuite, Shape, Suite, equal, null
from streaming.lake.domains import Domain, Values
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    QUARANTINE_DETECTIONS,
    QUARANTINE_LATE_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
    TABLES,
    Table,
)
from streaming.transforms.real_time_metrics import LATE
from streaming.validation.detection_rules import DETECTION_MEANINGS
from streaming.validation.order_rules import MEANINGS

VALIDATED = tuple(t for t in TABLES if not t.name.startswith("quality."))
"""The tables of the lake, without those of quality results."""
ABSENT = "-"
Mask: TypeAlias = Any
"""An Arrow array of booleans, chunked or not."""


def table_suites(settings: Settings, stores: Stores) -> list[Suite]:
    """All suites of this module."""
    suites: list[Suite] = []
    for table in VALIDATED:
        suites += [schema_suite(table), column_suite(table, settings, stores), key_suite(table)]
    return suites


def schema_suite(table: Table) -> FactSuite:
    """One row per column, declared or found."""

    def load(context: AuditContext) -> Iterator[dict[str, str]]:
        schema = context.schema(table.name)
        declared = {} if schema is None else declared_types(table)
        found = {field.name: type_name(field.type) for field in schema or ()}
        for c in declared | found:
            yield {"column": c, "declared": declared.get(c, ABSENT), "found": found.get(c, ABSENT)}

    as_declared = equal(
        "as_declared",
        "A column is missing, undeclared in streaming/lake/tables.py, or of another type.",
        "declared",
        "found",
    )
    columns = dict.fromkeys(("column", "declared", "found"), pa.string())
    return FactSuite(table.name, "schema", columns, load, (as_declared,))


def column_suite(table: Table, settings: Settings, stores: Stores) -> RowSuite:
    """Nulls, values, and of quarantine the ids of rules; one row is one row of the table."""
    sample = tuple(c for c in table.key if c not in PERSONAL)
    validated_by_rules = table in (SILVER_ORDERS, SILVER_DETECTIONS)
    domains = {} if validated_by_rules else _domains(table, stores)
    expectations = [null("not_null", "A column is null that never is.", "null_in")]
    tests: dict[str, Callable[[pa.Table], dict[str, Mask]]] = {
        "null_in": lambda rows: _nulls(table, rows)
    }
    topics = _topics(table, settings)
    if domains or topics:
        expectations.append(
            null(
                "in_domain",
                "A column has a value that it must not have: a negative count, an unknown status, "
                "branch, camera or topic.",
                "strange_in",
            )
        )
        tests["strange_in"] = lambda rows: _strange(domains, topics, rows)
    if "rules" in declared_types(table):
        meaning = "A quarantined message names no rule, or an unknown one."
        expectations.append(null("rules_known", meaning, "unknown_rules"))
        known = pa.array(sorted(_rules(table)))
        tests["unknown_rules"] = lambda rows: _unknown_rules(known, rows)
    return RowSuite(
        table.name,
        tuple(expectations),
        sample=(*sample, *tests),
        name="columns",
        shape=_validated(sample, tests),
    )


def _validated(
    sample: Sequence[str], tests: Mapping[str, Callable[[pa.Table], Mapping[str, Mask]]]
) -> Shape:
    """Rows -> what names them, and for each test the names of the columns that fail it."""

    def shape(rows: pa.Table) -> pa.Table:
        kept = {c: rows[c] if c in rows.column_names else _nothing(rows) for c in sample}
        validated = {
            name: named(masks) if (masks := test(rows)) else _nothing(rows)
            for name, test in tests.items()
        }
        return pa.table({**kept, **validated})

    return shape


def _nothing(rows: pa.Table) -> pa.Array:
    return pa.nulls(rows.num_rows, pa.string())


def _nulls(table: Table, rows: pa.Table) -> dict[str, Mask]:
    names = [c for c in declared_types(table) if c not in table.nullable]
    return {c: pc.is_null(rows[c]) for c in names if c in rows.column_names}


def _strange(
    domains: Mapping[tuple[str, ...], Domain], topics: Sequence[str], rows: pa.Table
) -> dict[str, Mask]:
    masks: dict[str, Mask] = {}
    for columns, domain in domains.items():
        if set(columns) <= set(rows.column_names):
            masks["/".join(columns)] = _outside(domain, [rows[c] for c in columns])
    if topics and "topic" in rows.column_names:
        masks["topic"] = _outside(Values(tuple(topics)), [rows["topic"]])
    return masks


def _outside(domain: Domain, columns: Sequence[pa.ChunkedArray]) -> Mask:
    """True for a value that is not in the domain; null is in every one."""
    if isinstance(domain, Values):
        texts = [c.cast(pa.string()) for c in columns]
        value = pc.binary_join_element_wise(*texts, "/") if len(texts) > 1 else texts[0]
        known = pc.is_in(value, pa.array(domain.known, pa.string()))
        return pc.and_(pc.is_valid(value), pc.invert(known))
    value = columns[0].cast(pa.float64())
    inside = pc.greater_equal(value, domain.low)
    if domain.high is not None:
        inside = pc.and_(inside, pc.less_equal(value, domain.high))
    return pc.invert(inside)  # NaN is inside of nothing


def _unknown_rules(known: pa.Array, rows: pa.Table) -> dict[str, Mask]:
    if "rules" not in rows.column_names:
        return {}
    if not rows.num_rows:
        return {"unknown": pa.array([], pa.bool_())}
    given = rows["rules"].combine_chunks()
    strange = pc.list_parent_indices(given).filter(
        pc.invert(pc.is_in(pc.list_flatten(given).cast(pa.string()), known))
    )
    row = pa.array(range(len(given)), pa.int64())
    return {
        "none": pc.equal(pc.list_value_length(given), 0),
        "unknown": pc.is_in(row, strange.cast(pa.int64())),
    }


def _domains(table: Table, stores: Stores) -> dict[tuple[str, ...], Domain]:
    """Columns -> the values that they, joined by a slash, may have: declared, and of the stores."""
    columns = declared_types(table)
    domains: dict[tuple[str, ...], Domain] = {(c,): d for c, d in table.domains.items()}
    if {"branch_id", "camera_id"} <= columns.keys():
        cameras = (f"{b.branch_id}/{c.camera_id}" for b in stores.branches for c in b.cameras)
        domains["branch_id", "camera_id"] = Values(tuple(cameras))
    elif "branch_id" in columns:
        domains["branch_id",] = Values(tuple(b.branch_id for b in stores.branches))
    return domains


def _topics(table: Table, settings: Settings) -> tuple[str, ...]:
    """The topics that the table has messages of; of the other tables none."""
    if "topic" not in declared_types(table):
        return ()
    if table in (BRONZE_DETECTIONS, SILVER_DETECTIONS, QUARANTINE_DETECTIONS):
        return (settings.kafka.detections, settings.pulsar.detections)
    return settings.kafka.order_topics


def _rules(table: Table) -> frozenset[str]:
    if table is QUARANTINE_LATE_EVENTS:
        return frozenset({LATE})
    return frozenset(DETECTION_MEANINGS if table is QUARANTINE_DETECTIONS else MEANINGS)


def key_suite(table: Table) -> FactSuite:
    """One row per UTC hour that has new rows: how many rows, how many keys, and one key twice."""

    def load(context: AuditContext) -> Iterator[dict[str, Any]]:
        span = context.touched(table.name)
        if span is None:
            return
        columns = list(dict.fromkeys((*table.key, table.time_column)))
        rows = rows_of(context, table, columns, within(table, *span))
        time = table.time_column
        by_key = rows.group_by(list(table.key)).aggregate([([], "count_all"), (time, "min")])
        at = pa.table({"at": hours_of(by_key[f"{time}_min"]), "copies": by_key["count_all"]})
        hours = at.group_by("at").aggregate([("copies", "sum"), ([], "count_all")])
        twice = pc.greater(at["copies"], 1)
        repeated = zip(at.filter(twice)["at"], by_key.filter(twice).to_pylist(), strict=True)
        examples = {hour.as_py(): _example(table, key) for hour, key in repeated}
        for row in hours.sort_by("at").to_pylist():
            counts = {"rows": row["copies_sum"], "keys": row["count_all"]}
            yield {"hour": row["at"], **counts, "example": examples.get(row["at"])}

    columns = {"hour": UTC_TIME, "rows": pa.int64(), "keys": pa.int64(), "example": pa.string()}
    meaning = f"Rows have the same key ({', '.join(table.key)})."
    return FactSuite(table.name, "keys", columns, load, (equal("unique", meaning, "rows", "keys"),))


def _example(table: Table, row: Mapping[str, object]) -> str:
    return "/".join(str(row[c]) for c in table.key if c not in PERSONAL)

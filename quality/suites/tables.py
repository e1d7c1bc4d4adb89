"""Declarations of `streaming/lake/tables.py` for every table of the lake, as expectations.

Three suites a table: `schema` (columns and types), `columns` (nulls and values of the new rows) and
`keys` (unique, among the new rows and the older ones of their time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from conf.settings import Settings
from conf.stores import Stores
from quality.context import AuditContext
from quality.facts import (
    UTC_TIME,
    Mask,
    declared_types,
    hours_of,
    named,
    rows_of,
    type_name,
    within,
)
from quality.suite import PERSONAL, FactSuite, RowSuite, Shape, Suite, equal, null
from quality.suites.column_domains import domain_texts, domains_of, outside_domains, topics_of
from streaming.lake.tables import (
    QUARANTINE_DETECTIONS,
    QUARANTINE_LATE_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
    TABLES,
    Table,
)
from streaming.transforms.watermark import LATE
from streaming.validation.detection_rules import DETECTION_MEANINGS
from streaming.validation.order_rules import MEANINGS

VALIDATED = tuple(t for t in TABLES if not t.name.startswith("quality."))
"""The tables of the lake, without those of quality results."""
ABSENT = "-"


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
        "each column is there with its declared type, and no other one",
    )
    columns = dict.fromkeys(("column", "declared", "found"), pa.string())
    return FactSuite(table.name, "schema", columns, load, (as_declared,), "columns")


def column_suite(table: Table, settings: Settings, stores: Stores) -> RowSuite:
    """Nulls, values, and of quarantine the ids of rules; one row is one row of the table."""
    sample = tuple(c for c in table.key if c not in PERSONAL)
    validated_by_rules = table in (SILVER_ORDERS, SILVER_DETECTIONS)
    domains = {} if validated_by_rules else domains_of(table, stores)
    filled = ", ".join(c for c in declared_types(table) if c not in table.nullable)
    meaning = "A column is null that never is."
    expectations = [null("not_null", meaning, "null_in", f"each of these has a value: {filled}")]
    tests: dict[str, Callable[[pa.Table], pa.Array]] = {
        "null_in": lambda rows: _named(rows, _nulls(table, rows))
    }
    topics = topics_of(table, settings)
    if domains or topics:
        expectations.append(
            null(
                "in_domain",
                "A column has a value that it must not have: a negative count, an unknown status, "
                "branch, camera or topic.",
                "strange_in",
                "; ".join(domain_texts(domains, topics)),
            )
        )
        tests["strange_in"] = lambda rows: _named(
            rows, outside_domains(domains, topics, rows), partial(_with_value, rows)
        )
    if "rules" in declared_types(table):
        meaning = "A quarantined message names no rule, or an unknown one."
        expected = "rules names known rules, and at least one"
        expectations.append(null("rules_known", meaning, "unknown_rules", expected))
        known = pa.array(sorted(_rules(table)))
        tests["unknown_rules"] = lambda rows: _named(rows, _unknown_rules(known, rows))
    return RowSuite(
        table.name,
        tuple(expectations),
        sample=(*sample, *tests),
        name="columns",
        shape=_validated(sample, tests),
    )


def _validated(sample: Sequence[str], tests: Mapping[str, Callable[[pa.Table], pa.Array]]) -> Shape:
    """Rows -> what names them, and for each test the names of the columns that fail it."""

    def shape(rows: pa.Table) -> pa.Table:
        kept = {c: rows[c] if c in rows.column_names else _nothing(rows) for c in sample}
        validated = {name: test(rows) for name, test in tests.items()}
        return pa.table({**kept, **validated})

    return shape


def _named(
    rows: pa.Table,
    masks: Mapping[str, Mask],
    shown: Callable[[str, int], str] = lambda name, _: name,
) -> pa.Array:
    return named(masks, shown) if masks else _nothing(rows)


def _with_value(rows: pa.Table, columns: str, row: int) -> str:
    """Columns that are joined by a slash, with their values."""
    return f"{columns}={'/'.join(str(rows[name][row]) for name in columns.split('/'))}"


def _nothing(rows: pa.Table) -> pa.Array:
    return pa.nulls(rows.num_rows, pa.string())


def _nulls(table: Table, rows: pa.Table) -> dict[str, Mask]:
    names = [c for c in declared_types(table) if c not in table.nullable]
    return {c: pc.is_null(rows[c]) for c in names if c in rows.column_names}


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
    key = ", ".join(table.key)
    unique = equal(
        "unique",
        f"Rows have the same key ({key}).",
        "rows",
        "keys",
        f"{key}: in one row only" if len(table.key) == 1 else f"{key}: together in one row only",
        unit="rows",
    )
    return FactSuite(table.name, "keys", columns, load, (unique,), "hours")


def _example(table: Table, row: Mapping[str, object]) -> str:
    return "/".join(str(row[c]) for c in table.key if c not in PERSONAL)

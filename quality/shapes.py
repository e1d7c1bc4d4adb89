"""Rows of a table -> what its rules validate.

Imports no Great Expectations: Spark's Python workers load this, and that one takes seconds.

It passes over nulls, in pandas over NaN, too; to our rules both are broken. So a
value stands in their place that no check accepts: an empty text, -1, the least decimal, or the
start of 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from streaming.validation.rules import Rule


def rule_rows(rows: pa.Table, rules: Sequence[Rule], keys: Sequence[str]) -> pa.Table:
    """Rows of a table -> the same rows with `keys` and what the rules validate, nulls replaced.

    A missing column is not added: the expectation on it reports that. Other columns are left out.
    """
    checks = [check for rule in rules for check in rule.checks]
    for check in checks:
        try:
            made = check.derived(rows)
        except KeyError:
            continue
        if made is not None:
            rows = rows.append_column(check.label, made)
    validated = {name for check in checks for name in check.columns()}
    validated |= {c.field for rule in rules if rule.when for c in rule.when.conditions}
    kept = [name for name in rows.column_names if name in validated.union(keys)]
    full = validated - {check.field for check in checks if check.allows_null}
    columns = {n: _without_null(rows[n]) if n in full else rows[n] for n in kept}
    return pa.table(columns)


def line_rows(orders: pa.Table, rules: Sequence[Rule], keys: Sequence[str]) -> pa.Table:
    """Rows of `silver.orders` -> one row per line, as `rule_rows`; no list is a line of nulls."""
    items = orders["items"].combine_chunks()
    lines, unlisted = pc.list_flatten(items), pc.indices_nonzero(pc.is_null(items))
    of_order = pa.concat_arrays([pc.list_parent_indices(items), unlisted.cast(pa.int64())])
    result = orders.select([*keys, "event_type", "schema_version"]).take(of_order)
    for name, values in zip(lines.type.names, lines.flatten(), strict=True):
        padded = pa.concat_arrays([values, pa.nulls(len(unlisted), values.type)])
        result = result.append_column(name, padded)
    return rule_rows(result, rules, keys)


def _without_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_timestamp(kind):
        absent = pa.scalar(0, pa.int64()).cast(kind)
    elif pa.types.is_decimal(kind):
        absent = pa.scalar(Decimal(1 - 10 ** (kind.precision - kind.scale)), kind)
    else:
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        absent = pa.scalar("" if is_text else -1, kind)
    return pc.if_else(pc.is_null(column, nan_is_null=True), absent, column)

"""Comparison of two sides that must be equal: from when on, and in what they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pyarrow as pa

from quality.context import AuditContext
from quality.facts import DAY, HOUR, UTC_TIME, floor
from streaming.lake.tables import Table

HOURLY = {"branch_id": pa.string(), "hour": UTC_TIME, "differs": pa.string()}
"""Facts about one branch and UTC hour; `differs` is null where both sides are equal."""


def look_from(context: AuditContext, table: Table) -> datetime:
    """From which UTC hour on: where a table has new rows, and at least the last while."""
    few_rows = table.time_column in ("hour", "day")  # an hour or a day is one row
    start = context.now - (DAY if few_rows else context.settings.quality.lookback)
    new = context.touched(table.name)
    return floor(min(start, new[0]) if new else start, HOUR)


def differing(
    left: Mapping[str, Any], right: Mapping[str, Any], columns: Iterable[str]
) -> str | None:
    """The columns in which two rows differ, with both values; None where they do not."""
    pairs = ((name, left.get(name), right.get(name)) for name in columns)
    return "; ".join(f"{n}: {a} and {b}" for n, a, b in pairs if not _same(a, b)) or None


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) <= 1e-6 * max(1.0, abs(left), abs(right))  # the order of a sum
    return bool(left == right)


def sides(row: Mapping[str, Any], columns: Iterable[str]) -> str | None:
    """`differing` of a row of `stored_COLUMN` and `computed_COLUMN`."""
    names = list(columns)
    stored, computed = ({n: row[f"{side}_{n}"] for n in names} for side in ("stored", "computed"))
    return differing(stored, computed, names)


def both_sides(stored: str, computed: str, columns: Iterable[str]) -> str:
    """SQL of the columns that `sides` reads, of two relations; a missing value is zero."""
    return ", ".join(
        f"coalesce({stored}.{n}, 0) AS stored_{n}, coalesce({computed}.{n}, 0) AS computed_{n}"
        for n in columns
    )

"""How suites read the lake: declared columns, a span of time, and nothing that is not as declared.

A column that is missing or has another type is the finding of the suite `schema`, once: whatever
else would need it has no rows, and so no finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThanOrEqual
from pyspark.errors import PySparkException
from pyspark.sql.pandas.types import from_arrow_type

from quality.context import AuditContext
from streaming.lake.protocol import EVERYTHING, Where
from streaming.lake.tables import Table

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_ARROW = {
    "string": pa.string(),
    "binary": pa.binary(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
    "array<string>": pa.list_(pa.string()),
}
UTC_TIME = _ARROW["timestamp"]
Mask: TypeAlias = pa.Array | pa.ChunkedArray
"""An Arrow array of booleans, chunked or not."""


def type_name(kind: pa.DataType) -> str:
    """An Arrow type as Spark's DDL has it, without spaces."""
    try:
        return from_arrow_type(kind, prefer_timestamp_ntz=True).simpleString()
    except PySparkException:  # a type that Spark has not
        return str(kind)


def arrow_type(name: str) -> pa.DataType:
    """The Arrow type of a column of plain values, of its type in DDL."""
    if decimal := re.fullmatch(r"decimal\((\d+), ?(\d+)\)", name):
        return pa.decimal128(int(decimal[1]), int(decimal[2]))
    return _ARROW[name]


def declared_types(table: Table) -> dict[str, str]:
    """Column -> its type in DDL, without spaces."""
    return {column.name: column.type.replace(" ", "") for column in table.fields}


def rows_of(
    context: AuditContext, table: Table, columns: Sequence[str], where: Where = EVERYTHING
) -> pa.Table:
    """Columns of a table with their declared types; no rows where it is not as declared."""
    types = declared_types(table)
    wanted = pa.schema([(name, arrow_type(types[name])) for name in columns])
    found = context.schema(table.name)
    if found is None or any(
        name not in found.names or type_name(found.field(name).type) != types[name]
        for name in (*columns, table.time_column)
    ):
        return wanted.empty_table()
    return context.scan(table.name, columns, where).select(list(columns)).cast(wanted)


def within(table: Table, start: datetime, end: datetime | None = None) -> Where:
    """Rows of the table from `start` on, and up to `end`, by its time column."""
    column = table.time_column
    lower = GreaterThanOrEqual(term=column, value=_literal(table, start))
    if end is None:
        return lower
    return And(lower, LessThanOrEqual(term=column, value=_literal(table, end)))


def _literal(table: Table, moment: datetime) -> str:
    if declared_types(table)[table.time_column] == "date":
        return moment.date().isoformat()
    return moment.isoformat()


def floor(moment: datetime, span: timedelta) -> datetime:
    """The beginning of the UTC hour or day that a moment is in."""
    start = moment.replace(minute=0, second=0, microsecond=0)
    return start.replace(hour=0) if span == DAY else start


def hours_of(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """The UTC hour that each time or day is in."""
    return pc.floor_temporal(times.cast(UTC_TIME), unit="hour")


def named(
    tests: Mapping[str, Mask],
    shown: Callable[[str, int], str] = lambda name, _: name,
) -> pa.Array:
    """Per row the names of the tests that are true, with commas between; null where none is.

    Args:
        tests: name -> booleans, where a null is not true; at least one.
        shown: name and number of the row -> what is shown; by default the name.
    """
    found: list[list[str]] = []
    for name, mask in tests.items():
        found = found or [[] for _ in range(len(mask))]
        for row in np.flatnonzero(np.asarray(pc.fill_null(mask, False))):
            found[row].append(shown(name, int(row)))
    return pa.array([", ".join(names) or None for names in found], pa.string())


# Two sides that must be equal: from when on, and in what they differ.

BRANCH_HOURS = "branch hours"
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

"""What a dataset must be like: expectations with stable ids, a severity and a sentence each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
from great_expectations.expectations.core import (
    ExpectColumnPairValuesToBeEqual,
    ExpectColumnValuesToBeBetween,
    ExpectColumnValuesToBeNull,
)
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

from quality.context import AuditContext

Severity = Literal["critical", "warning"]
Shape = Callable[[pa.Table], pa.Table]

PERSONAL = frozenset({"customer_id", "track_id", "value", "payload", "headers", "fixed_value"})
"""Columns that reports do not show: who buys, who is seen, and messages as they came."""


WRONG = "wrong"
"""What is wrong with a row of a sample, where the columns of the table do not show it."""


def is_missing(value: Any) -> bool:
    """Whether a value is null, NaN or NaT."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def as_is(rows: pa.Table) -> pa.Table:
    """The rows of the table, unchanged."""
    return rows


@dataclass(frozen=True)
class RowSuite:
    """Expectations on the rows that were committed to one table since they were last validated.

    Attributes:
        table: of the lake, by its name in `streaming.lake.tables`.
        name: of this suite among those of its table.
        shape: rows of the table -> what is validated: one row each, or one per element of a list.
            Pure, and right for any part of the rows: Spark calls it batch by batch.
        unit: what is counted, in the plural.
        sample: columns, after `shape`, that name an unexpected row in a report; nothing about a
            person.
    """

    table: str
    expectations: tuple[Expectation, ...]
    sample: tuple[str, ...]
    name: str = "rows"
    shape: Shape = as_is
    unit: str = "rows"


@dataclass(frozen=True)
class FactSuite:
    """Expectations on a few rows of facts that are computed of tables: counts, sums, ages.

    Attributes:
        table: that the facts are about, `namespace.table` or `postgres.table`.
        name: of this suite among those of its table.
        columns: of the facts, with their types; all of them name an unexpected row in a report.
        rows: computes the facts. No rows: nothing to expect.
        unit: what one fact is about, in the plural.
    """

    table: str
    name: str
    columns: Mapping[str, pa.DataType]
    rows: Callable[[AuditContext], Iterable[Mapping[str, Any]]]
    expectations: tuple[Expectation, ...]
    unit: str

    @property
    def sample(self) -> tuple[str, ...]:
        """As of a `RowSuite`."""
        return tuple(self.columns)

    def load(self, context: AuditContext) -> pa.Table:
        """The facts of a deployment as a table of `columns`, also without any."""
        rows = [dict(row) for row in self.rows(context)]
        return pa.Table.from_pylist(rows, schema=pa.schema(list(self.columns.items())))


Suite = RowSuite | FactSuite


def expect(
    name: str,
    meaning: str,
    kind: type[Expectation],
    severity: Severity = "critical",
    *,
    expected: str = "",
    unit: str = "",
    counts: bool = False,
    wrong: str = "",
    **arguments: Any,
) -> Expectation:
    """One expectation.

    Args:
        name: stable, unique in its suite: the id is `<table>.<suite>.<name>`, of a row rule the id
            that quarantine shows, too.
        meaning: of a failure, one sentence.
        kind: a class of `great_expectations.expectations`.
        severity: `critical` holds back the tag `validated`, `warning` is only reported.
        expected: what is expected, in columns of the table; by default the class and its arguments.
        unit: what is counted, in the plural; by default that of the suite.
        counts: whether the columns of a pair are numbers of units, so that their sums are counted.
        wrong: column that names what is wrong with a row, and is none of the table.
        **arguments: of the class.
    """
    words = {"expected": expected, "unit": unit, "counts": counts, "wrong": wrong}
    meta = {"name": name, **{key: value for key, value in words.items() if value}}
    return kind(severity=FailureSeverity(severity), meta=meta, notes=meaning, **arguments)


def equal(
    name: str, meaning: str, column: str, other: str, expected: str, *, unit: str = ""
) -> Expectation:
    """Two columns are equal in every row; with `unit`, they are numbers of it."""
    return expect(
        name,
        meaning,
        ExpectColumnPairValuesToBeEqual,
        expected=expected,
        unit=unit,
        counts=bool(unit),
        column_A=column,
        column_B=other,
    )


def null(
    name: str, meaning: str, column: str, expected: str, severity: Severity = "critical"
) -> Expectation:
    """A column that names what is wrong with a row is null in every row."""
    kind = ExpectColumnValuesToBeNull
    return expect(name, meaning, kind, severity, expected=expected, wrong=column, column=column)


def at_most(
    name: str, meaning: str, column: str, bound: float, expected: str, *, unit: str = ""
) -> Expectation:
    """No value of a column is greater; a warning."""
    return expect(
        name,
        meaning,
        ExpectColumnValuesToBeBetween,
        "warning",
        expected=expected,
        unit=unit,
        column=column,
        max_value=bound,
    )


def name_of(expectation: Expectation | Mapping[str, Any]) -> str:
    """The stable name that `expect` gave it."""
    meta = expectation["meta"] if isinstance(expectation, Mapping) else expectation.meta
    return str((meta or {})["name"])

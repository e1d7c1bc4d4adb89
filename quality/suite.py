"""What a dataset must be like: expectations with stable ids, a severity and a sentence each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

import pyarrow as pa
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

from conf.settings import Settings
from conf.stores import Stores
from streaming.lake.protocol import EVERYTHING, Where
from streaming.progress import Progress

Severity = Literal["critical", "warning"]
Shape = Callable[[pa.Table], pa.Table]

PERSONAL = frozenset({"customer_id", "track_id", "value", "payload", "headers", "fixed_value"})
"""Columns that reports do not show: who buys, who is seen, and messages as they came."""


def as_is(rows: pa.Table) -> pa.Table:
    """The rows of the table, unchanged."""
    return rows


class AuditContext(Protocol):
    """What a suite may look at beside the rows of its table; all of it is only read."""

    @property
    def settings(self) -> Settings:
        """Of the product."""

    @property
    def stores(self) -> Stores:
        """Branches and cameras."""

    @property
    def now(self) -> datetime:
        """The time that data is validated at, in UTC."""

    def scan(
        self,
        table: str,
        columns: Sequence[str],
        where: Where = EVERYTHING,
    ) -> pa.Table:
        """Rows of a table of the lake, as it is now; no rows when there is no such table."""

    def schema(self, table: str) -> pa.Schema | None:
        """The columns of a table of the lake, as it is now; None when there is no such table."""

    def touched(self, table: str) -> tuple[datetime, datetime] | None:
        """First and last time, in UTC, of the rows that have not been validated yet.

        By the table's `time_column`; a day counts as its midnight. None when nothing is new.
        """

    def progress(self, table: str) -> Progress:
        """The newest source positions that a stream has written into a table of the lake."""

    def committed_at(self, table: str) -> datetime | None:
        """When somebody last wrote into a table of the lake, in UTC; None if nobody has."""

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Rows of the serving database."""


@dataclass(frozen=True)
class RowSuite:
    """Expectations on the rows that were committed to one table since they were last validated.

    Attributes:
        table: of the lake, by its name in `streaming.lake.tables`.
        expectations: made by `expect`.
        name: of this suite among those of its table.
        shape: rows of the table -> what is validated: one row each, or one per element of a list.
            Pure, and right for any part of the rows: Spark calls it batch by batch.
        sample: columns, after `shape`, that name an unexpected row in a report; nothing about a
            person.
    """

    table: str
    expectations: tuple[Expectation, ...]
    sample: tuple[str, ...]
    name: str = "rows"
    shape: Shape = as_is


@dataclass(frozen=True)
class FactSuite:
    """Expectations on a few rows of facts that are computed of tables: counts, sums, ages.

    Attributes:
        table: that the facts are about, `namespace.table` or `postgres.table`.
        expectations: made by `expect`.
        sample: columns that name an unexpected row in a report.
        name: of this suite among those of its table.
        load: the deployment -> the facts. An empty table is one without facts: nothing to expect.
    """

    table: str
    expectations: tuple[Expectation, ...]
    sample: tuple[str, ...]
    name: str
    load: Callable[[AuditContext], pa.Table]


Suite = RowSuite | FactSuite


def expect(
    name: str,
    meaning: str,
    kind: type[Expectation],
    severity: Severity = "critical",
    **arguments: Any,
) -> Expectation:
    """One expectation.

    Args:
        name: stable, unique in its suite: the id is `<table>.<suite>.<name>`, of a row rule the id
            that quarantine shows, too.
        meaning: of a failure, one sentence.
        kind: a class of `great_expectations.expectations`.
        severity: `critical` holds back the tag `validated`, `warning` is only reported.
        **arguments: of the class.
    """
    return kind(severity=FailureSeverity(severity), meta={"name": name}, notes=meaning, **arguments)


def name_of(expectation: Expectation | Mapping[str, Any]) -> str:
    """The stable name that `expect` gave it."""
    meta = expectation["meta"] if isinstance(expectation, Mapping) else expectation.meta
    return str((meta or {})["name"])

"""What came out of an expectation, as a row of `quality.validation_results`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from great_expectations.core import ExpectationValidationResult

from quality.suite import PERSONAL, WRONG, Severity, Suite, is_missing, name_of

State = Literal["passed", "failed", "unreadable"]
SAMPLES = 5
"""So many unexpected rows are named."""

_LONGEST = 300


@dataclass(frozen=True)
class Result:
    """One expectation, validated.

    Attributes:
        table, suite, name: together the id of the expectation.
        kind: its class, in the words of Great Expectations.
        state: `unreadable` when it could not be validated, which counts as failed.
        snapshot_id: of the table's newest snapshot then; None outside of the lake.
        unexpected: of these, rows that are not as expected; None where rows are not counted.
        observed: a figure or reason, as text; how many units are wrong, where they are counted.
        samples: up to `SAMPLES` unexpected rows as JSON, named by columns without personal data.
        says: meaning of a failure, one sentence.
    """

    table: str
    suite: str
    name: str
    kind: str
    severity: Severity
    state: State
    snapshot_id: int | None
    rows: int
    unexpected: int | None
    observed: str | None
    samples: str
    says: str

    @property
    def id(self) -> str:
        """Stable over runs and versions."""
        return f"{self.table}.{self.suite}.{self.name}"

    @property
    def layer(self) -> str:
        """bronze, silver, gold, quarantine or postgres."""
        return self.table.split(".")[0]

    @property
    def success(self) -> bool:
        """Whether the data is as expected, and known to be."""
        return self.state == "passed"

    @property
    def share(self) -> float | None:
        """The unexpected share of the rows, 0..1; None where rows are not counted."""
        if self.unexpected is None or not self.rows:
            return None
        return self.unexpected / self.rows


def to_result(
    suite: Suite, snapshot_id: int | None, validated: ExpectationValidationResult, rows: int
) -> Result:
    """One result of Great Expectations, as a row."""
    config = validated.expectation_config
    assert config is not None  # noqa: S101 (always there after validation)
    reported: Mapping[str, Any] = validated.result or {}
    reason = _exception(validated)
    unexpected = reported.get("unexpected_count")
    observed = reason if reason else reported.get("observed_value")
    if observed is not None and PERSONAL & set(map(str, config.kwargs.values())):
        observed = "(personal)"  # figures and messages hold values of the column
    count = int(reported.get("element_count") or rows)
    if unexpected is not None and not reason and not validated.success:
        observed = f"{int(unexpected):,} of {count:,} {config.meta.get('unit', 'rows')}"
    return Result(
        table=suite.table,
        suite=suite.name,
        name=name_of({"meta": config.meta}),
        kind=config.type,
        severity="warning" if config.severity == "warning" else "critical",
        state="unreadable" if reason else "passed" if validated.success else "failed",
        snapshot_id=snapshot_id,
        rows=count,
        unexpected=None if unexpected is None else int(unexpected),
        observed=None if observed is None else str(observed)[:_LONGEST],
        samples=json.dumps(_samples(reported, suite.sample), default=str),
        says=str(config.notes or ""),
    )


def broken(suite: Suite, name: str, reason: str, snapshot_id: int | None = None) -> Result:
    """A suite that could not be validated at all."""
    return Result(
        table=suite.table,
        suite=suite.name,
        name=name,
        kind="suite",
        severity="critical",
        state="unreadable",
        snapshot_id=snapshot_id,
        rows=0,
        unexpected=None,
        observed=reason[:_LONGEST],
        samples="[]",
        says="The suite could not be validated.",
    )


def _exception(validated: ExpectationValidationResult) -> str | None:
    """Why it could not be validated, in one line."""
    info = validated.exception_info or {}
    # One for the expectation, or one for each metric that it needs.
    for one in [info] if "raised_exception" in info else info.values():
        if one.get("raised_exception"):
            return str(one.get("exception_message")).strip().splitlines()[0]
    return None


def _samples(reported: Mapping[str, Any], columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Unexpected rows by their key columns; values of other columns may be personal."""
    found = reported.get("partial_unexpected_index_list") or []
    return [
        {column: _plain(row[column]) for column in (*columns, WRONG) if column in row}
        for row in found[:SAMPLES]
        if isinstance(row, Mapping)
    ]


def _plain(value: Any) -> Any:
    """A value for JSON, which has no types of NumPy and neither NaN nor NaT."""
    if is_missing(value):
        return None
    return value.item() if isinstance(value, np.generic) else value

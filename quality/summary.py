"""The state of every layer, computed from rows of results; no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

State = Literal["passed", "warned", "failed", "unjudged", "empty"]

LAYERS = ("bronze", "silver", "gold", "quarantine", "postgres")
STALE_AFTER = timedelta(hours=1)
"""The page warns when the newest run is older."""


@dataclass(frozen=True)
class Quarantined:
    """Rows of one table of quarantine that failed one rule.

    Attributes:
        newest: broker timestamp of the newest row, UTC; None without timestamps.
        meaning: of the rule.
    """

    table: str
    rule: str
    rows: int
    newest: datetime | None
    meaning: str


@dataclass(frozen=True)
class Standing:
    """How far one table is validated.

    Attributes:
        validated_at: last validation, UTC; None for never.
        behind: commits without validation; None for a table without commits.
        tag: commit time of the snapshot at the tag `validated`, UTC.
        tag_newest: whether that snapshot is the newest one.
        empty: the table has no commits.
    """

    validated_at: datetime | None = None
    behind: int | None = None
    tag: datetime | None = None
    tag_newest: bool = False
    empty: bool = False


@dataclass(frozen=True)
class Failure:
    """An expectation that the newest rows do not meet.

    Attributes:
        id: `<table>.<suite>.<expectation>`.
        suite: `<table>.<suite>`.
        since: the first of the runs in a row that it failed in, UTC.
        share: 0..1; None where rows are not counted.
        samples: unexpected rows by their keys.
    """

    id: str
    suite: str
    expectation: str
    severity: str
    state: str
    meaning: str
    since: datetime
    rows: int
    unexpected: int | None
    share: float | None
    observed: str | None
    samples: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class TableResult:
    """One table on the page."""

    name: str
    state: State
    standing: Standing
    expectations: int
    met: int
    worst_share: float | None
    suites: tuple[str, ...]


@dataclass(frozen=True)
class RunPoint:
    """One layer in one run, for the trend."""

    at: datetime
    critical: int
    warning: int
    worst_share: float


@dataclass(frozen=True)
class LayerState:
    """One layer on the page."""

    name: str
    tables: tuple[TableResult, ...]
    failures: tuple[Failure, ...]
    trend: tuple[RunPoint, ...]


@dataclass(frozen=True)
class QualitySummary:
    """All of it.

    Attributes:
        ran_at: the newest run, UTC; None when there was none.
        stale: whether that is long ago.
    """

    layers: tuple[LayerState, ...]
    ran_at: datetime | None
    stale: bool

    @property
    def failures(self) -> list[Failure]:
        """Of every layer, the newest first, then by severity."""
        found = [failure for layer in self.layers for failure in layer.failures]
        return sorted(found, key=lambda f: (-f.since.timestamp(), f.severity, f.id))

    @property
    def unjudged(self) -> int:
        """Tables that nothing is known of."""
        return sum(t.state == "unjudged" for layer in self.layers for t in layer.tables)


def summarise(
    newest: Iterable[Mapping[str, Any]],
    trend: Iterable[Mapping[str, Any]],
    standings: Mapping[str, Standing],
    suites: Mapping[str, Sequence[str]],
    now: datetime,
) -> QualitySummary:
    """Sort what runs found by layer and table.

    Args:
        newest: rows of `quality_results`, of every suite those of its newest run, with `since`.
        trend: fields of `RunPoint`, and the layer, in the order of time.
        standings: by table; nothing for a table of Postgres.
        suites: names of the suites that there are, by table.
        now: in UTC.
    """
    rows = [row for row in newest if row["suite"] in suites.get(row["table_name"], ())]
    points = list(trend)
    layers = []
    for layer in LAYERS:
        tables = [table for table in suites if table.split(".")[0] == layer]
        if not tables:
            continue
        layers.append(
            LayerState(
                layer,
                tuple(
                    _table(
                        table,
                        [row for row in rows if row["table_name"] == table],
                        suites[table],
                        standings.get(table, Standing()),
                    )
                    for table in tables
                ),
                tuple(
                    _failure(row)
                    for row in rows
                    if row["layer"] == layer and row["state"] != "passed"
                ),
                tuple(
                    RunPoint(p["at"], p["critical"], p["warning"], p["worst_share"])
                    for p in points
                    if p["layer"] == layer
                ),
            )
        )
    ran_at = max((row["ran_at"] for row in rows), default=None)
    return QualitySummary(tuple(layers), ran_at, ran_at is not None and now - ran_at > STALE_AFTER)


def _table(
    table: str, rows: Sequence[Mapping[str, Any]], suites: Sequence[str], standing: Standing
) -> TableResult:
    bad = {row["severity"] for row in rows if row["state"] != "passed"}
    state: State = "failed" if "critical" in bad else "warned" if bad else "passed"
    if not rows:
        state = "empty" if standing.empty else "unjudged"
    if standing.validated_at is None and rows:  # of Postgres: there are no snapshots
        standing = replace(standing, validated_at=max(row["ran_at"] for row in rows))
    return TableResult(
        table,
        state,
        standing,
        expectations=len(rows),
        met=sum(row["state"] == "passed" for row in rows),
        worst_share=max((row["unexpected_share"] or 0.0 for row in rows), default=None),
        suites=tuple(f"{table}.{suite}" for suite in suites),
    )


def _failure(row: Mapping[str, Any]) -> Failure:
    suite = f"{row['table_name']}.{row['suite']}"
    return Failure(
        id=f"{suite}.{row['expectation']}",
        suite=suite,
        expectation=row["expectation"],
        severity=row["severity"],
        state=row["state"],
        meaning=row["says"],
        since=row["since"],
        rows=row["row_count"],
        unexpected=row["unexpected_count"],
        share=row["unexpected_share"],
        observed=row["observed"],
        samples=row["samples"],
    )

"""The state of every layer, computed from rows of results; no input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, Literal

Row = Mapping[str, Any]
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
class LayerState:
    """One layer on the page.

    Attributes:
        failures: rows of `quality_results` that the newest rows do not meet.
        trend: a row for each run; see `summarise`.
    """

    name: str
    tables: tuple[TableResult, ...]
    failures: tuple[Row, ...]
    trend: tuple[Row, ...]


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
    def failures(self) -> list[Row]:
        """Of every layer, the newest first, then by severity."""
        found = [failure for layer in self.layers for failure in layer.failures]
        key = itemgetter("severity", "table_name", "suite", "expectation")
        return sorted(found, key=lambda row: (-row["since"].timestamp(), *key(row)))

    @property
    def unjudged(self) -> int:
        """Tables that nothing is known of."""
        return sum(t.state == "unjudged" for layer in self.layers for t in layer.tables)


def summarise(
    newest: Iterable[Row],
    trend: Iterable[Row],
    standings: Mapping[str, Standing],
    suites: Mapping[str, Sequence[str]],
    now: datetime,
) -> QualitySummary:
    """Sort what runs found by layer and table.

    Args:
        newest: rows of `quality_results`, of every suite those of its newest run, with `since`: the
            first of the runs in a row that an expectation failed in, UTC.
        trend: by time, one for each layer and run: `layer`, `at` (UTC), the numbers of `critical`
            and `warning` failures, and `worst_share` of unexpected rows (0..1).
        standings: by table; nothing for a table of Postgres.
        suites: names of the suites that there are, by table.
        now: in UTC.
    """
    rows = [row for row in newest if row["suite"] in suites.get(row["table_name"], ())]
    points = list(trend)
    layers = []
    for layer in LAYERS:
        tables = tuple(
            _table(
                table,
                [row for row in rows if row["table_name"] == table],
                suites[table],
                standings.get(table, Standing()),
            )
            for table in suites
            if table.split(".")[0] == layer
        )
        failures = (row for row in rows if row["layer"] == layer and row["state"] != "passed")
        if tables:
            of_layer = tuple(point for point in points if point["layer"] == layer)
            layers.append(LayerState(layer, tables, tuple(failures), of_layer))
    ran_at = max((row["ran_at"] for row in rows), default=None)
    return QualitySummary(tuple(layers), ran_at, ran_at is not None and now - ran_at > STALE_AFTER)


def _table(
    table: str, rows: Sequence[Row], suites: Sequence[str], standing: Standing
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

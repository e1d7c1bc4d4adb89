"""Output of validation: the table of failures, and the line of totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.terminal import console
from infra.terminal_table import TextTable

if TYPE_CHECKING:
    from quality.results import Result
    from quality.run import QualityRun


def show_failures(results: Sequence[Result]) -> None:
    """Print the results that failed as a table; nothing when none did."""
    if failures := [one for one in results if not one.success]:
        failures_table(failures).show()


def failures_table(failures: Sequence[Result]) -> TextTable:
    """One row an expectation that was not met."""
    names = ("severity", "expectation", "rows", "unexpected", "what it means")
    numbers, prose = ("rows", "unexpected"), ("what it means",)
    rows = [_cells(one) for one in failures]
    return TextTable(names, rows, numbers=numbers, prose=prose, title="not as expected")


def _cells(one: Result) -> tuple[str, ...]:
    count = "" if one.unexpected is None else str(one.unexpected)
    meaning = one.says if one.state == "failed" else f"{one.says} {one.observed}"
    return one.severity, one.id, str(one.rows), count, meaning


def show_run(run: QualityRun) -> None:
    """Print the failures of a run and its totals."""
    show_failures(run.failures)
    critical = sum(one.severity == "critical" for one in run.failures)
    tables = len({one.table for one in run.results})
    console().print(
        f"{len(run.results)} expectations on {tables} tables, {len(run.failures)} not met "
        f"({critical} critical), {run.seconds:.1f} s",
        highlight=False,
    )

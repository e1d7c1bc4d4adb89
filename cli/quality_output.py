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
    names = ("severity", "expectation", "observed", "what it means")
    rows = [(one.severity, one.id, one.observed or "", one.says) for one in failures]
    return TextTable(names, rows, prose=names[2:], title="not as expected")


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

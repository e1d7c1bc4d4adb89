"""Output of validation: the table of failures, and the line of totals."""

# ruff: noqa: PLC0415 - heavy imports wait until a command runs
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from infra.terminal import console

if TYPE_CHECKING:
    from quality.results import Result
    from quality.run import QualityRun


def show_failures(results: Sequence[Result]) -> None:
    """Print the results that failed as a table; nothing when none did."""
    from rich.table import Table

    failures = [one for one in results if not one.success]
    if not failures:
        return
    table = Table(title="not as expected", title_justify="left")
    for name in ("severity", "expectation", "observed", "what it means"):
        table.add_column(name)
    for one in failures:
        table.add_row(one.severity, one.id, one.observed or "", one.says)
    console().print(table)


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

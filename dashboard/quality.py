"""What the newest quality runs found, by layer, and where the pages about it are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

REPORTS = "/reports"
"""The address below which the console shows the files of `report_folder`, and no others."""
LAYERS = ("bronze", "silver", "gold", "postgres")


@dataclass(frozen=True)
class LayerNow:
    """One layer: expectations of the newest run of each of its suites."""

    name: str
    tables: int
    met: int
    critical: int
    warnings: int
    unreadable: int
    ran_at: datetime


@dataclass(frozen=True)
class QualityOverview:
    """The pages that `storelake quality report` wrote.

    Attributes:
        made_at: UTC.
        suites: those with a page of Data Docs: `<table>.<suite>`.
    """

    made_at: datetime
    suites: frozenset[str]


def report_folder(var_dir: Path) -> Path:
    """Where the pages are."""
    return var_dir / "quality" / "report"


def read_report(var_dir: Path) -> QualityOverview | None:
    """What is there; None before the first report."""
    folder = report_folder(var_dir)
    try:
        made = (folder / "index.html").stat().st_mtime
    except OSError:
        return None
    suites = frozenset(page.stem for page in (folder / "data-docs").glob("*.html"))
    return QualityOverview(datetime.fromtimestamp(made, timezone.utc), suites)


def layers_now(expectations: Sequence[Any]) -> list[LayerNow]:
    """Every layer in rows of `quality_results`, from the raw to the served."""
    names = {e.layer for e in expectations}
    ordered = [*(name for name in LAYERS if name in names), *sorted(names - set(LAYERS))]
    return [_layer(name, [e for e in expectations if e.layer == name]) for name in ordered]


def _layer(name: str, mine: Sequence[Any]) -> LayerNow:
    failed = [e for e in mine if e.state == "failed"]
    return LayerNow(
        name=name,
        tables=len({e.table_name for e in mine}),
        met=sum(e.state == "passed" for e in mine),
        critical=sum(e.severity == "critical" for e in failed),
        warnings=sum(e.severity == "warning" for e in failed),
        unreadable=sum(e.state == "unreadable" for e in mine),
        ran_at=max(e.ran_at for e in mine),
    )

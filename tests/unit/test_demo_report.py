"""The report of a demo, whatever the lake is made of."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from rich.console import Console

from verification.demo.report import Samples, show, write_html

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
SEEN = {"p50": 0.9, "p95": 1.4, "max": 2.0, "events": 3}
HOUR = {
    "branch_id": "B01",
    "hour": NOON,
    "local_hour": NOON + timedelta(hours=2),
    "visitors": None,
    "orders": 4,
    "conversion_rate": None,
    "revenue": Decimal("12.50"),
    "revenue_per_visitor": None,
    "camera_coverage": 0.5,
}


def report_of(table_format: str = "iceberg", **changes: object) -> dict[str, object]:
    """A report of a run that went well."""
    return {
        "started_at": NOON,
        "footage": "a shop",
        "baskets": "baskets",
        "lake_format": table_format,
        "orders": {"sent": 4},
        "detections": {"sent": 0},
        "shop": None,
        "latency_seconds": {"postgres": SEEN, table_format: SEEN | {"p95": 2.2}, "warm_up": 5.0},
        "store_hourly": [HOUR],
        "balanced": True,
        "faults": [],
        "spark_peak_mib": 900,
        "versions": {"python": "3.11"},
        "duration_seconds": 60.0,
        **changes,
    }


def page_of(report: dict[str, object], folder: Path) -> str:
    footfall = [{"minute": NOON, "camera_id": "B01-entrance", "entries": 1, "exits": 0}]
    samples = Samples([(NOON, 0.9)], [(NOON, 1.4)], footfall, NOON)
    write_html(report, samples, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def test_names_with_markup_are_text_in_the_report_and_its_pictures_are_pictures(
    tmp_path: Path,
) -> None:
    evil = "<script>alert(1)</script>"
    hour = HOUR | {"branch_id": evil}
    page = page_of(
        report_of(footage=evil, store_hourly=[hour], balanced=False, faults=[evil]), tmp_path
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    assert page.count("<svg") == 2


@pytest.mark.parametrize("table_format", ["iceberg", "delta"])
def test_the_report_names_the_format_that_its_second_reader_read(
    table_format: str, tmp_path: Path
) -> None:
    report = report_of(table_format)
    page = " ".join(page_of(report, tmp_path).split())
    assert f"2.2 s for a second {table_format.capitalize()} reader" in page

    terminal = Console(record=True, width=120)
    show(report, terminal)
    assert table_format in terminal.export_text()

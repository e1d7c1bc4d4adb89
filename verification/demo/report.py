"""What came out of a run: report.json, a self-contained report.html with plots, and tables."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import psutil
from jinja2 import Environment, PackageLoader
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from verification.demo.days import Days
from verification.demo.plots import Crossings, Pairs, footfall_plot, hours_plot, latency_plot

PACKAGES = (
    "pyspark",
    "pyarrow",
    "pyiceberg",
    "confluent-kafka",
    "psycopg",
    "opencv-python-headless",
)


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    return {
        "storelake": version("storelake"),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def measured_on() -> dict[str, Any]:
    """Load, machine and versions, for a file of results."""
    return {
        "load": psutil.getloadavg(),
        "machine": {"cores": psutil.cpu_count(), "system": platform.platform()},
        "versions": versions(),
    }


def write_json(report: Mapping[str, Any], path: Path) -> None:
    """Write report.json; money as text, times in ISO 8601."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(report, indent=2).decode() + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Pictures:
    """What the plots and stills of a report are made of.

    Attributes:
        readers: name of a reader -> latencies of the events that the demo sent.
        crossings: of entrance lines in the run, by time.
        days: the hours before the run.
        stills: of `stills.stills`; empty for footage of people.
    """

    readers: Mapping[str, Pairs]
    crossings: Crossings
    days: Days
    stills: Sequence[Mapping[str, Any]]


def write_html(report: Mapping[str, Any], pictures: Pictures, path: Path) -> None:
    """Write report.html: one file, pictures inside, nothing loaded from elsewhere."""
    environment = Environment(
        loader=PackageLoader("verification.demo"), autoescape=True, trim_blocks=True
    )
    by_branch = groupby(sorted(pictures.days.items()), key=lambda one: one[0][0])
    html = environment.get_template("report.html.j2").render(
        report=report,
        run_hours=run_hours(report),
        latency=latency_plot(pictures.readers),
        footfall=footfall_plot(pictures.crossings, report["started_at"]),
        branches={
            branch: hours_plot([(day, hours) for (_, day), hours in days])
            for branch, days in by_branch
        },
        stills=pictures.stills,
    )
    path.write_text(html, encoding="utf-8")


def run_hours(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The hours of store_hourly in which the demo sent something."""
    first = report["started_at"].replace(minute=0, second=0, microsecond=0)
    return [hour for hour in report["store_hourly"] if hour["hour"] >= first]


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the tables."""
    for title, numbers in (("Orders", report["orders"]), ("Cameras", report["detections"])):
        counts = [(name.replace("_", " "), f"{number:,}") for name, number in numbers.items()]
        console.print(_table(title, (), counts))
    figures = ("p50", "p95", "max", "events")
    latencies = [
        (reader, *(str(row[figure]) for figure in figures))
        for reader, row in report["latency_seconds"].items()
        if reader != "warm_up"
    ]
    console.print(_table("Event time to visible, seconds", ("reader", *figures), latencies))
    if report["shop"] is not None:
        shop = [(r["what"], _or_dash(r["measured"]), _or_dash(r["true"])) for r in report["shop"]]
        console.print(_table("The shop: measured beside true", ("what", "measured", "true"), shop))
    columns = ("branch", "hour", "visitors", "orders", "conversion", "revenue", "coverage")
    hours = [_hour(row) for row in run_hours(report)]
    console.print(_table("Conversion rate of this hour (UTC) by branch", columns, hours))


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """The first column is left-justified; without names there is no header."""
    table = Table(title=title, show_header=bool(columns))
    for number, name in enumerate(columns or ("", "")):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _hour(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["branch_id"],
        f"{row['hour']:%Y-%m-%d %H:%M}",
        _or_dash(row["visitors"], ","),
        f"{row['orders']:,}",
        row["conversion_withheld"] or format(row["conversion_rate"], ".2f"),
        f"{row['revenue']:,.2f} {row['currency']}",
        f"{row['camera_coverage']:.1%}",
    )


def _or_dash(value: Any, form: str = "") -> str:
    return "-" if value is None else format(value, form)

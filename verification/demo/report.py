"""What came out of a run: report.json, a self-contained report.html with plots, and tables."""

from __future__ import annotations

import io
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import psutil
from jinja2 import Environment, PackageLoader
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from verification.watch import EVER

mpl.use("svg")
from matplotlib import pyplot as plt

INK, ACCENT, SECOND = "#1d2b36", "#0b7285", "#e8590c"
PACKAGES = (
    "pyspark",
    "pyarrow",
    "pyiceberg",
    "confluent-kafka",
    "psycopg",
    "opencv-python-headless",
)


Pairs = Sequence[tuple[datetime, float]]
"""(event time, seconds until visible) of each event."""


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


def write_html(
    report: Mapping[str, Any],
    readers: Mapping[str, Pairs],
    footfall: Sequence[Mapping[str, Any]],
    path: Path,
) -> None:
    """Write report.html: one file, pictures inside, nothing loaded from elsewhere.

    Args:
        report: the content of report.json.
        readers: name of a reader -> latencies of the events that it saw.
        footfall: rows of footfall_minute of the run.
        path: of the file.
    """
    environment = Environment(
        loader=PackageLoader("verification.demo"), autoescape=True, trim_blocks=True
    )
    html = environment.get_template("report.html.j2").render(
        report=report, latency=_latency_plot(readers), footfall=_footfall_plot(footfall)
    )
    path.write_text(html, encoding="utf-8")


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True)
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _axes(height: float = 3.0) -> tuple[Any, Any]:
    plt.rcParams.update({"font.size": 10, "font.family": "sans-serif", "svg.fonttype": "none"})
    figure, axes = plt.subplots(figsize=(8.0, height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK)
    axes.grid(axis="y", color="#dfe5e9", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _latency_plot(readers: Mapping[str, Pairs]) -> str:
    figure, axes = _axes()
    start = min((t for pairs in readers.values() for t, _ in pairs), default=EVER)
    for (label, pairs), color in zip(readers.items(), (ACCENT, SECOND), strict=True):
        x = [(t - start).total_seconds() for t, _ in pairs]
        axes.scatter(x, [s for _, s in pairs], s=5, alpha=0.45, color=color, label=label)
    axes.set(
        xlabel="event time, seconds into the run", ylabel="seconds until visible", ylim=(0, None)
    )
    axes.legend(frameon=False, loc="upper right", markerscale=3)
    return _svg(figure)


def _footfall_plot(footfall: Sequence[Mapping[str, Any]]) -> str:
    rows = sorted(footfall, key=lambda r: r["minute"])
    figure, axes = _axes(height=2.6)
    for shift, direction, color in ((-0.17, "entries", ACCENT), (0.17, "exits", SECOND)):
        positions = [position + shift for position in range(len(rows))]
        bars = axes.bar(positions, [r[direction] for r in rows], 0.3, color=color, label=direction)
        axes.bar_label(bars, padding=2)
    labels = [f"{r['minute']:%H:%M}\n{r['camera_id']}" for r in rows]
    axes.set_xticks(list(range(len(rows))), labels)
    axes.set(ylabel="people", xlabel="minute (UTC) and camera", xlim=(-1, max(len(rows), 4)))
    axes.margins(y=0.15)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, loc="upper right")
    return _svg(figure)


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
    hours = [_hour(row) for row in report["store_hourly"]]
    console.print(_table("Conversion rate per branch and hour (UTC)", columns, hours))


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

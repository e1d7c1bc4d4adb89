"""Plots of a report as SVG whose colours follow the page, light or dark."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

import matplotlib as mpl

from verification.demo.days import Hour
from verification.watch import EVER

mpl.use("svg")
from matplotlib import pyplot as plt

INK, LINE, ACCENT, SECOND, SOFT = "#010101", "#020202", "#030303", "#040404", "#050505"
COLOURS = {
    INK: "var(--ink)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    SOFT: "var(--soft)",
}
"""Stands in a figure -> variable of the page."""

Pairs = Sequence[tuple[datetime, float]]
"""(event time, seconds until visible) of each event."""
Crossings = Sequence[Mapping[str, Any]]
"""Rows with camera_id, direction and crossed_at, by time."""


def _axes(width: float = 5.4, height: float = 2.8) -> tuple[Any, Any]:
    plt.rcParams.update(
        {"font.size": 10, "font.family": "sans-serif", "svg.fonttype": "none", "text.color": INK}
    )
    figure, axes = plt.subplots(figsize=(width, height))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(colors=INK)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Any, title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True)
    plt.close(figure)
    text = buffer.getvalue()
    for colour, variable in COLOURS.items():
        text = text.replace(colour, variable)
    text = text[text.index("<svg") :].replace("<svg", '<svg role="img"', 1)
    return text.replace(">", f"><title>{title}</title>", 1)


def latency_plot(readers: Mapping[str, Pairs]) -> str:
    """A dot for each event: when it happened, and how long until a reader saw it."""
    figure, axes = _axes()
    start = min((t for pairs in readers.values() for t, _ in pairs), default=EVER)
    for (label, pairs), color in zip(readers.items(), (ACCENT, SECOND), strict=True):
        x = [(t - start).total_seconds() for t, _ in pairs]
        axes.scatter(x, [s for _, s in pairs], s=5, alpha=0.45, color=color, label=label)
    axes.set(xlabel="event time, seconds into the run", ylabel="seconds until visible")
    axes.set_ylim(0, None)
    _legend(axes, markerscale=3)
    return _svg(figure, "Seconds from an order event until it was visible")


def footfall_plot(crossings: Crossings, start: datetime) -> str:
    """Who came in and left so far: one line for each camera and direction over the run."""
    figure, axes = _axes()
    by_series = sorted(crossings, key=lambda row: (row["camera_id"], row["direction"]))
    for number, ((camera, way), rows) in enumerate(
        groupby(by_series, key=lambda row: (row["camera_id"], row["direction"]))
    ):
        at = sorted((row["crossed_at"] - start).total_seconds() for row in rows)
        style = "-" if way == "entry" else "--"
        what = "came in" if way == "entry" else "left"
        counts = range(len(at) + 1)
        axes.step(
            [0.0, *at], counts, style, where="post", color=(ACCENT, SECOND)[number % 2],
            label=f"{camera}: {what}",
        )  # fmt: skip
    axes.set(xlabel="seconds into the run", ylabel="people so far")
    axes.set_ylim(0, None)
    axes.yaxis.get_major_locator().set_params(integer=True)
    _legend(axes)
    return _svg(figure, "People who came in and left, by camera")


def hours_plot(days: Iterable[tuple[date, Sequence[Hour]]]) -> str:
    """Visitors of a branch by hour of its own clock; the newest day strong, older ones fainter."""
    figure, axes = _axes(4.2, 2.4)
    newest_first = sorted(days, key=lambda day: day[0], reverse=True)[:3]
    styles = ((ACCENT, "-", 2.4), (SECOND, "-", 1.4), (SOFT, ":", 1.4))
    for (day, hours), (color, style, width) in reversed(
        list(zip(newest_first, styles, strict=False))
    ):
        open_hours = [hour for hour in hours if hour["visitors"] or hour["orders"]]
        x = [hour["local_hour"].hour + hour["local_hour"].minute / 60 for hour in open_hours]
        y = [hour["visitors"] or 0 for hour in open_hours]
        axes.plot(
            x, y, style, marker="o", markersize=3, color=color, linewidth=width,
            label=f"{day:%a %d %b}",
        )  # fmt: skip
    axes.set(xlabel="hour at the branch", ylabel="visitors")
    axes.set_ylim(0, None)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(axes)
    return _svg(figure, "Visitors by hour")


def _legend(axes: Any, **options: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="best", fontsize=8, labelcolor=INK, **options)

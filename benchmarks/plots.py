"""Growth curves as one picture: `python -m benchmarks.plots`, from the files of full size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import RESULTS
from benchmarks.parts import read_result

CURVES = (
    ("growth_status", "Order status: a batch", "orders in the state", "seconds"),
    ("growth_upsert", "Postgres: upsert of 1,000 orders", "rows in the tables", "seconds"),
    ("growth_commits", "Lake: a commit", "commits since maintenance", "seconds"),
    ("growth_batches", "Drain", "rows a batch", "events_a_second"),
)
PICTURE = RESULTS.parents[1] / "docs" / "images" / "growth.png"
OURS, FLOOR = "tab:blue", "tab:gray"


def draw(folder: Path, file: Path) -> None:
    """Draw the curves whose results are in a folder, next to their floors."""
    mpl.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes: Sequence[Axes] = figure.subplots(2, 2).flat
    for (name, title, x, y), axis in zip(CURVES, axes, strict=True):
        result = read_result(folder, name)
        axis.set(title=title if result else f"{title}: not measured")
        axis.set(xlabel=x, ylabel=y.replace("_", " "))
        if result:
            _draw_curve(axis, result, y)
    figure.savefig(file, dpi=110)


def _draw_curve(axis: Axes, result: dict[str, Any], y: str) -> None:
    points = result["points"]
    x = [point["x"] for point in points]
    axis.plot(x, [point[y] for point in points], "o-", color=OURS, ms=3, label="storelake")
    if "low" in points[0]:
        low, high = ([point[end] for point in points] for end in ("low", "high"))
        axis.fill_between(x, low, high, color=OURS, alpha=0.2, lw=0)
    if "floor_seconds" in points[0]:
        least = [point["floor_seconds"] for point in points]
        axis.plot(x, least, "o-", color=FLOOR, ms=3, label="floor")
    elif "same_tables_seconds" in result:
        for name, style in (("floor", "--"), ("same_tables", ":")):
            rate = result["events"] / result[f"{name}_seconds"]
            label = "floor" if name == "floor" else "floor, our tables"
            axis.axhline(rate, color=FLOOR, ls=style, label=label)
    if x[-1] >= 10 * x[0] and len(x) < 10:
        axis.set_xscale("log")
        axis.set_xticks(x, [f"{size:,}" for size in x])
        axis.minorticks_off()
    else:
        axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False)


if __name__ == "__main__":
    draw(RESULTS, PICTURE)

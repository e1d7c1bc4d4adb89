"""The trend of a layer as pictures in the page: lines in the colours that the page has just now."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from quality.summary import Row

# Stand-ins: what the page has for them depends on the reader's light or dark.
_COLOURS = {"#010101": "var(--soft)", "#020202": "var(--bad)", "#030303": "var(--warn)"}
_SOFT, _BAD, _WARN = _COLOURS
_STYLE: Any = {
    "date.converter": "concise",
    "svg.fonttype": "none",
    "font.size": 10,
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), _SOFT),
    **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), _SOFT),
}


def failures_plot(trend: Sequence[Row]) -> str:
    """Expectations not met, run by run: SVG."""
    lines = (
        ([point["critical"] for point in trend], _BAD, "critical", ".-"),
        ([point["warning"] for point in trend], _WARN, "warning", ".:"),
    )
    return _plot(trend, lines, whole=True)


def share_plot(trend: Sequence[Row]) -> str:
    """The largest share of unexpected rows in percent, run by run: SVG."""
    return _plot(
        trend, (([100 * point["worst_share"] for point in trend], _BAD, None, ".-"),), whole=False
    )


def _plot(trend: Sequence[Row], lines: Sequence[Any], *, whole: bool) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 2.0))
        axes: Any = figure.subplots()
        for values, colour, label, line in lines:
            axes.plot([point["at"] for point in trend], values, line, color=colour, label=label)
        axes.set_ylim(0, max(1, *(1.1 * value for values, *_ in lines for value in values)))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", linewidth=0.4, alpha=0.4)
        if whole:
            axes.locator_params(axis="y", integer=True)
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        text = io.StringIO()
        figure.savefig(text, format="svg", bbox_inches="tight", transparent=True)
    svg = text.getvalue()[text.getvalue().index("<svg") :]
    for stand_in, colour in _COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg

"""The report of a soak: one page with a plot for each measure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from verification.soak.samples import Sample

Injected = Sequence[tuple[datetime, str]]
"""(UTC, name of a fault), in order of time."""
LARGEST = 8
"""So many lines a plot, those with the largest values."""


def write_page(
    report: Mapping[str, Any],
    taken: Sequence[tuple[datetime, Sample]],
    injected: Injected,
    path: Path,
) -> None:
    """Write the page: one file, pictures inside, nothing loaded from elsewhere.

    Args:
        report: the result of the soak.
        taken: (UTC, sample), in order of time.
        injected: the faults, drawn as vertical lines.
        path: of the file.
    """
    environment = Environment(
        loader=PackageLoader("verification.soak"), autoescape=True, trim_blocks=True
    )
    measures = dict.fromkeys(measure for _, sample in taken for measure in sample)
    plots = {measure: _plot(measure, taken, injected) for measure in measures}
    html = environment.get_template("soak.html.j2").render(report=report, plots=plots)
    path.write_text(html, encoding="utf-8")


def _plot(measure: str, taken: Sequence[tuple[datetime, Sample]], injected: Injected) -> str:
    figure = Figure(figsize=(7.2, 3.0))
    axes = figure.subplots()
    begun = taken[0][0]
    largest = _largest(measure, taken)
    for name in largest:
        points = [(at, sample[measure][name]) for at, sample in taken if name in sample[measure]]
        minutes = [(at - begun).total_seconds() / 60 for at, _ in points]
        axes.plot(minutes, [value for _, value in points], label=name, linewidth=1.4)
    for at, _ in injected:
        axes.axvline((at - begun).total_seconds() / 60, color="#adb5bd", linewidth=0.7, zorder=0)
    axes.set(xlabel="minutes", ylabel=measure.replace("_", " "), ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    if len(largest) > 1:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", transparent=True)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _largest(measure: str, taken: Sequence[tuple[datetime, Sample]]) -> list[str]:
    peak: dict[str, float] = {}
    for _, sample in taken:
        for name, value in sample[measure].items():
            peak[name] = max(value, peak.get(name, 0.0))
    return sorted(peak, key=lambda name: -peak[name])[:LARGEST]

"""HTML of the quality report: a page of all layers, and a page of Data Docs for each suite.

Each page is one file that loads nothing; its content security policy forbids it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure

from quality.documents import Document, columns_of
from quality.results import SAMPLES
from quality.suite import PERSONAL, name_of
from quality.summary import QualitySummary, Quarantined, Row


def summary_page(
    summary: QualitySummary, quarantined: list[Quarantined], pages: Mapping[str, str], now: datetime
) -> str:
    """HTML of the first page, with its plots inside."""
    template = _environment().get_template("summary.html.j2")
    return template.render(
        summary=summary,
        quarantined=quarantined,
        pages=pages,
        now=now,
        plots={
            layer.name: (failures_plot(layer.trend), share_plot(layer.trend))
            for layer in summary.layers
            if len(layer.trend) > 1 and any(p["critical"] or p["warning"] for p in layer.trend)
        },
    )


def suite_page(document: Document) -> str:
    """HTML of the newest result of one suite: failed expectations first, then by name."""
    ran_at = datetime.fromisoformat(document["meta"]["run_id"]["run_time"])
    entries = [_entry(result) for result in document["results"]]
    template = _environment().get_template("data_docs.html.j2")
    return template.render(
        suite=document["suite_name"],
        table=document["suite_name"].rpartition(".")[0],
        success=document["success"],
        ran_at=f"{ran_at:%Y-%m-%d %H:%M:%S}",
        version=document["meta"]["great_expectations_version"],
        entries=sorted(entries, key=lambda e: (e["success"], e["severity"], e["name"])),
    )


def _entry(result: Mapping[str, Any]) -> dict[str, Any]:
    """One expectation, as the template shows it."""
    config, reported = result["expectation_config"], result["result"]
    meta, personal = config["meta"], PERSONAL & columns_of(config["kwargs"])
    samples = reported.get("partial_unexpected_index_list") or []
    return {
        "name": name_of(config),
        "success": result["success"],
        "severity": config["severity"],
        "meaning": config.get("notes") or "",
        "expected": meta.get("expected") or _arguments(config),
        "unit": meta.get("unit", "rows"),
        "errors": _errors(result),
        "personal": personal,
        "counted": reported.get("element_count"),
        "unexpected": reported.get("unexpected_count"),
        "observed": reported.get("observed_value"),
        "unexpected_values": [] if samples else reported.get("partial_unexpected_list"),
        "samples": samples[:SAMPLES],
        "columns": list(dict.fromkeys(name for row in samples[:SAMPLES] for name in row)),
    }


def _arguments(config: Mapping[str, Any]) -> str:
    """The class of an expectation and its arguments, where it has no text for people."""
    given = (f"{n}: {_as_text(v)}" for n, v in config["kwargs"].items() if n != "batch_id")
    return f"{config['type']} {', '.join(given)}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("quality"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["as_text"] = _as_text
    return environment


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _errors(result: Mapping[str, Any]) -> list[str]:
    """Distinct messages of exceptions: of the expectation, or of each metric that it needs."""
    info = result["exception_info"]
    found = [info] if "raised_exception" in info else info.values()
    messages = (str(one["exception_message"]) for one in found if one["raised_exception"])
    return list(dict.fromkeys(messages))


# The trend of a layer as pictures: lines in the colours that the page has just now.

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

"""HTML of the quality report: a page of all layers, and a page of Data Docs for each suite.

Each page is one file that loads nothing; its content security policy forbids it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader

from quality import plots
from quality.documents import Document, columns_of
from quality.suite import PERSONAL, name_of
from quality.summary import QualitySummary, Quarantined


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
            layer.name: (plots.failures_plot(layer.trend), plots.share_plot(layer.trend))
            for layer in summary.layers
            if len(layer.trend) > 1 and any(p["critical"] or p["warning"] for p in layer.trend)
        },
    )


def suite_page(document: Document) -> str:
    """HTML of the newest result of one suite: failed expectations first, then by name."""
    ran_at = datetime.fromisoformat(document["meta"]["run_id"]["run_time"])
    entries = [
        {
            **result,
            "errors": _errors(result),
            "personal": PERSONAL & columns_of(result["expectation_config"]["kwargs"]),
        }
        for result in document["results"]
    ]
    template = _environment().get_template("data_docs.html.j2")
    return template.render(
        suite=document["suite_name"],
        success=document["success"],
        ran_at=f"{ran_at:%Y-%m-%d %H:%M:%S}",
        version=document["meta"]["great_expectations_version"],
        entries=sorted(entries, key=lambda e: (e["success"], name_of(e["expectation_config"]))),
    )


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

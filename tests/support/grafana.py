"""The dashboards of Grafana, as their queries reach Prometheus and Postgres."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).parents[2] / "infra/grafana/dashboards"


def panels() -> list[tuple[str, str, str]]:
    """(dashboard, panel, expression) of every query to Prometheus."""
    return [
        (file.stem, panel["title"], target["expr"])
        for file, panel, target in _targets()
        if "expr" in target
    ]


def chosen(expression: str) -> str:
    """The expression while all values of its variable are chosen."""
    plain = re.sub(r"\$(stream|topic|camera|table)\b", ".*", expression)
    return plain.replace("$__rate_interval", "5s")


def sql_panels() -> list[tuple[str, str]]:
    """(panel, statement) of every query to Postgres: of the last week, for three branches."""
    return [
        (panel["title"], _statement(target["rawSql"]))
        for _, panel, target in _targets()
        if "rawSql" in target
    ]


def _statement(raw: str) -> str:
    week = r"\1 BETWEEN now() - interval '7 days' AND now()"
    timed = re.sub(r"\$__timeFilter\((\w+)\)", week, raw)
    return timed.replace("${branch:sqlstring}", "'B01', 'B02', 'B03'")


def _targets() -> list[tuple[Path, dict[str, Any], dict[str, Any]]]:
    return [
        (file, panel, target)
        for file in sorted(DASHBOARDS.glob("*.json"))
        for panel in json.loads(file.read_text(encoding="utf-8"))["panels"]
        for target in panel["targets"]
    ]

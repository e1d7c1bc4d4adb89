"""Severity and action of each alert: of the rules of Prometheus, and of the console's own file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

import infra

RULES = Path(infra.__file__).parent / "prometheus" / "rules"
OWN = Path(__file__).with_name("alerts.yml")
Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class AlertRule:
    """What alerts of one name share. Key: name.

    Attributes:
        severity: critical: act now; warning: act today.
        action: what to do, in one sentence.
        in_prometheus: whether Prometheus has a rule of this name.
    """

    name: str
    severity: Severity
    action: str
    in_prometheus: bool


@cache
def alert_rules() -> Mapping[str, AlertRule]:
    """Every alert of the product by its name, those of Prometheus first."""
    return {rule.name: rule for rule in (*_of_prometheus(), *_of_console())}


def _of_prometheus() -> Iterator[AlertRule]:
    for file in sorted(RULES.glob("*.yml")):
        for group in _load(file)["groups"]:
            for rule in group["rules"]:
                severity, action = rule["labels"]["severity"], rule["annotations"]["action"]
                yield AlertRule(rule["alert"], severity, action, in_prometheus=True)


def _of_console() -> Iterator[AlertRule]:
    for rule in _load(OWN):
        yield AlertRule(rule["alert"], rule["severity"], rule["action"], in_prometheus=False)


def _load(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))

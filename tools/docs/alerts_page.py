"""docs/ALERTS.md: every alert by its severity, with what to do, read from the rules."""

from __future__ import annotations

from typing import get_args

from dashboard.alert_rules import Severity, alert_rules
from tools.docs.markdown import render


def alerts_page() -> str:
    """The page without the notice that it is generated."""
    rules = [rule for rule in alert_rules().values() if rule.name != "TestAlert"]
    severities = {s: [r for r in rules if r.severity == s] for s in get_args(Severity)}
    return render("ALERTS", severities=severities)
